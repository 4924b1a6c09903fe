"""Rows of CSV files, and of text files with one prompt per line."""

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ..run.user_errors import UserError


_BOM = b"\xef\xbb\xbf"
_LONGEST_FIELD = 2**31 - 1  # Python's own limit is 131,072 characters


def _decode_lines(file: BinaryIO, path: Path) -> Iterator[str]:
    r"""Decode the lines of a file. Only `\n` ends a line, so other line separators of Unicode may stand in a text."""
    for number, line in enumerate(file, start=1):
        try:
            yield (line.removeprefix(_BOM) if number == 1 else line).decode("utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{path}:{number}: not UTF-8: save the file as UTF-8.") from error


def read_csv(file: BinaryIO, path: Path) -> Iterator[dict[str, Any]]:
    r"""
    Read rows from a CSV file, whose first line has the names of the columns.

    Args:
        file (`BinaryIO`):
            The open file.
        path (`Path`):
            Its name, for messages.

    Returns:
        `Iterator[dict]`: rows. Every value is a text; a column that a row ends before is `None`.

    Raises:
        [`UserError`]: if the file is not UTF-8, two columns have one name, a row has more fields than the header, or a
            quote is not closed. The message has the number of the line.

    Example:
    ```python
    >>> import io
    >>> from pathlib import Path
    >>> from trl_forking.data.text_rows import read_csv
    >>> list(read_csv(io.BytesIO(b'question,answer\n"1,000 + 1?","1,001"\n'), Path("a.csv")))
    [{'question': '1,000 + 1?', 'answer': '1,001'}]
    >>> list(read_csv(io.BytesIO(b'question,answer\n1,000 + 1?,1001\n'), Path("a.csv")))
    Traceback (most recent call last):
        ...
    trl_forking.run.user_errors.UserError: a.csv:2: 3 fields, but the header has 2: put a text with a comma into quotes.
    ```
    """
    csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.reader(_decode_lines(file, path), strict=True)
    first_line = 1
    try:
        header = next((fields for fields in reader if fields), [])
        _check_header(header, path)
        first_line = reader.line_num + 1
        for fields in reader:
            if any(fields[len(header) :]):
                raise UserError(
                    f"{path}:{first_line}: {len(fields)} fields, but the header has {len(header)}: put a text with a comma "
                    "into quotes."
                )
            if fields:  # not a line without text
                yield dict(zip(header, [*fields, *[None] * (len(header) - len(fields))], strict=False))
            first_line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path}:{first_line}: not a row of CSV ({error}): check the quotes of this row.") from error


def _check_header(header: list[str], path: Path) -> None:
    """Refuse two columns of one name: it is not sure which of them has the answers."""
    twice = next((name for name, count in Counter(header).items() if count > 1 and name.strip()), None)
    if twice is not None:
        raise UserError(f"{path}: two columns have the name {twice}: rename or remove one of them.")


def read_text_lines(file: BinaryIO, path: Path) -> Iterator[dict[str, Any]]:
    r"""
    Read prompts from a text file. Each line that is not empty is a prompt.

    Args:
        file (`BinaryIO`):
            The open file.
        path (`Path`):
            Its name, for messages.

    Returns:
        `Iterator[dict]`: rows with one column, `prompt`.

    Raises:
        [`UserError`]: if a line is not UTF-8. The message has its number.

    Example:
    ```python
    >>> import io
    >>> from pathlib import Path
    >>> from trl_forking.data.text_rows import read_text_lines
    >>> list(read_text_lines(io.BytesIO(b"1 + 1?\r\n\r\n2 + 2?"), Path("a.txt")))
    [{'prompt': '1 + 1?'}, {'prompt': '2 + 2?'}]
    ```
    """
    for line in _decode_lines(file, path):
        if line.strip():
            yield {"prompt": line.removesuffix("\n").removesuffix("\r")}
