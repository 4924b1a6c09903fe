"""Tables as files: CSV for programs, Markdown for people."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..writing.files import write_atomically
from ..writing.markdown import format_table


def write_csv(rows: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    r"""
    Write a table as CSV, with all digits of each number. `None` becomes an empty cell.

    Text with outer or invisible white space, such as `" wait"` or `"\n"`, is quoted as in JSON, so that a reader sees the
    white space. So is text that a spreadsheet would take for a formula, such as `=1`.

    Args:
        rows (sequence of `dict`):
            Rows with the same keys.
        path (`str` or `Path`):
            File to write.

    Example:
    ```python
    >>> write_csv([{"checkpoint": "base", "threshold": 0.672}, {"checkpoint": "=1", "threshold": None}], "table.csv")
    >>> list(csv.reader(Path("table.csv").open()))
    [['checkpoint', 'threshold'], ['base', '0.672'], ['"=1"', '']]
    ```
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([_show_text(column) for column in rows[0]] if rows else [])
    writer.writerows([_show_text(cell) if isinstance(cell, str) else cell for cell in row.values()] for row in rows)
    write_atomically(path, text.getvalue())


def format_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """
    Format a table as Markdown, with numbers to four digits. Text is quoted as in [`write_csv`], and none of it is read
    as markup.

    Args:
        rows (sequence of `dict`):
            Rows with the same keys.

    Returns:
        `str`: the table, or a short sentence if there are no rows.

    Example:
    ```python
    >>> print(format_markdown([{"checkpoint": "step 16", "to_first": 0.98912}]))
    | checkpoint | to_first |
    |---|---|
    | step 16 | 0.9891 |
    ```
    """
    if not rows:
        return "No rows."
    cells = [[_show_text(cell) if isinstance(cell, str) else cell for cell in row.values()] for row in rows]
    return format_table([_show_text(column) for column in rows[0]], cells)


def _show_text(text: str) -> str:
    is_plain = text.isprintable() and text == text.strip() and not text.startswith(tuple("=+-@"))
    return text if is_plain else json.dumps(text, ensure_ascii=not text.isprintable())
