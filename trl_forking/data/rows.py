"""Rows of a data set, from files of any common kind or from the Hub: the one reader of training, analysis and evaluation."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from .compression import open_decompressed
from .json_rows import read_json, read_json_lines
from .sources import find_source, get_ending
from .table_rows import read_dataset, read_parquet
from .text_rows import read_csv, read_text_lines


@dataclass(frozen=True)
class Row:
    """
    A row of a data set.

    Attributes:
        values (`dict[str, Any]`): values by the name of their column.
        file (`str`): file or data set that the row is from.
        number (`int`): number of the row in that file, from 1. Lines without text are not counted.
    """

    values: dict[str, Any]
    file: str
    number: int

    @property
    def place(self) -> str:
        """File and number of the row, for messages."""
        return f"{self.file}, row {self.number}"


def read_rows(source: str, config: str | None = None, split: str = "train") -> Iterator[Row]:
    r"""
    Read rows, one at a time. A value keeps the type that it has in its own row.

    Args:
        source (`str`):
            - A file that ends in `.jsonl` (one object per line), `.json` (a list of objects), `.csv`, `.parquet` or `.txt`
              (each line that is not empty is a row with one column, `prompt`). The file may be compressed and end in `.gz`
              or `.zst` behind that.
            - A folder of such files, or one that `Dataset.save_to_disk` wrote.
            - The name of a data set of the Hub.
        config (`str`, *optional*):
            Configuration of the data set.
        split (`str`, *optional*, defaults to `"train"`):
            Split of the data set, or of the folder: its files whose name or folder has this word.

    Returns:
        `Iterator[Row]`: rows.

    Raises:
        [`UserError`]: if the file does not exist or cannot be read. Where one line is wrong, the message has its number.

    Example:
    ```python
    >>> from pathlib import Path
    >>> from trl_forking.data.rows import read_rows
    >>> size = Path("problems.csv").write_text("question,answer\n1 + 1?,2\n")
    >>> list(read_rows("problems.csv"))
    [Row(values={'question': '1 + 1?', 'answer': '2'}, file='problems.csv', number=1)]
    ```
    """
    found = find_source(source, config, split)
    if not isinstance(found, list):
        for number, values in enumerate(read_dataset(found), start=1):
            yield Row(values, source, number)
        return
    for path in found:
        with open_decompressed(path) as file:
            for number, values in enumerate(_READERS[get_ending(path)](file, path), start=1):
                yield Row(values, str(path), number)


_READERS: dict[str, Callable[[BinaryIO, Path], Iterator[dict[str, Any]]]] = {
    ".jsonl": read_json_lines,
    ".json": read_json,
    ".csv": read_csv,
    ".parquet": read_parquet,
    ".txt": read_text_lines,
}
