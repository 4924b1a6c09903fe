"""Rows of a data set, from a file of any common kind or from the Hub: the one reader of training and analysis."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ..run.user_errors import UserError
from ..writing.files import read_json_lines


Row = dict[str, Any]


def read_rows(source: str, config: str | None = None, split: str = "train") -> Iterator[Row]:
    """
    Read rows, one at a time.

    Args:
        source (`str`):
            A file that ends in `.jsonl` (one object per line), `.json` (a list of objects), `.csv`, `.parquet` or
            `.txt` (each line that is not empty is a row with one column, `prompt`). Any other name is a data set of
            the Hub, or a folder that `datasets` can load.
        config (`str`, *optional*):
            Configuration of the data set of the Hub.
        split (`str`, *optional*, defaults to `"train"`):
            Split of the data set of the Hub.

    Returns:
        `Iterator[dict]`: rows, columns by name.

    Raises:
        [`UserError`]: if the file does not exist or cannot be read. Where one line is wrong, the message has its number.

    Example:
    ```python
    >>> from pathlib import Path
    >>> from trl_forking.data.rows import read_rows
    >>> size = Path("problems.csv").write_text("question,answer\\n1 + 1?,2\\n")
    >>> list(read_rows("problems.csv"))
    [{'question': '1 + 1?', 'answer': '2'}]
    ```
    """
    path = Path(source)
    reader = _READERS.get(path.suffix.lower())
    if reader is not None:
        if not path.is_file():
            raise UserError(
                f"There is no file {source}. Check the name; examples/make_gsm_data.py writes a data file."
            )
        yield from reader(path)
        return
    if path.is_file():
        raise UserError(f"{source}: the name of a data file must end in {', '.join(_READERS)}: convert the file.")
    from datasets import load_dataset

    yield from load_dataset(source, config, split=split)


def _read_json_lines(path: Path) -> Iterator[Row]:
    try:
        yield from read_json_lines(path)
    except ValueError as error:
        raise UserError(str(error)) from error


def _read_json(path: Path) -> Iterator[Row]:
    message = f"{path}: not a JSON list of objects: write [{{...}}, ...], or a .jsonl file with one object per line."
    rows = _parse(path.read_text(encoding="utf-8"), list, message)
    if not all(isinstance(row, dict) for row in rows):
        raise UserError(message)
    yield from rows


def _parse(text: str, kind: type, message: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UserError(message) from error
    if not isinstance(value, kind):
        raise UserError(message)
    return value


def _read_csv(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        yield from csv.DictReader(file)


def _read_parquet(path: Path) -> Iterator[Row]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=1024):
            yield from batch.to_pylist()


def _read_lines(path: Path) -> Iterator[Row]:
    # Only "\n" ends a line: other line separators of Unicode may stand in a prompt.
    return ({"prompt": line} for line in path.read_text(encoding="utf-8").split("\n") if line.strip())


_READERS: dict[str, Callable[[Path], Iterable[Row]]] = {
    ".jsonl": _read_json_lines,
    ".json": _read_json,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
    ".txt": _read_lines,
}
