"""The folder of a collection: its settings, and which of its shards are there.

    folder/run.json                 settings that the answers come from, and `num_shards`
    folder/answers/00000.parquet    a shard: one row per answer

A file gets its name when it is complete. If the writer is killed, shards may be missing, but none is broken. A shard that
was damaged later, which its checksum tells, counts as missing.
"""

import io
import json
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..writing.files import write_atomically


if TYPE_CHECKING:
    import pyarrow


_MARK, _NO_CHECKSUM = b"trl-forking crc32 ", b"00000000"


def write_settings(folder: str | Path, settings: dict[str, Any]) -> None:
    """
    Write `run.json` and make the folder of the shards.

    Args:
        folder (`str` or `Path`):
            Folder of a collection.
        settings (`dict`):
            Values that JSON can hold. `num_shards` (`int`) is the number of shards of the complete collection.

    Example:
    ```python
    >>> from trl_forking.analysis import read_settings, write_settings
    >>> write_settings("analysis", {"model": "tiny", "num_shards": 1})
    >>> read_settings("analysis")["model"]
    'tiny'
    ```
    """
    path = Path(folder)
    (path / "answers").mkdir(parents=True, exist_ok=True)
    write_atomically(path / "run.json", json.dumps(settings, indent=2, ensure_ascii=False) + "\n")


def read_settings(folder: str | Path) -> dict[str, Any]:
    """
    Read the settings that the answers of a folder come from.

    Args:
        folder (`str` or `Path`):
            Folder of a collection.

    Returns:
        `dict`: content of `run.json`.

    Raises:
        `ValueError`: if there is no collection.

    Example:
    ```python
    >>> from trl_forking.analysis import read_settings
    >>> read_settings("no_such_folder")
    Traceback (most recent call last):
        ...
    ValueError: no_such_folder holds no collected answers: run.json is missing.
    ```
    """
    path = Path(folder) / "run.json"
    if not path.is_file():
        raise ValueError(f"{folder} holds no collected answers: run.json is missing.")
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON object: collect the answers again.") from error


def read_num_shards(folder: str | Path) -> int:
    """
    Read how many shards a complete collection has.

    Args:
        folder (`str` or `Path`):
            Folder of a collection.

    Returns:
        `int`: the number; 0 if the settings have none.

    Raises:
        `ValueError`: if there is no collection, or the number is none.

    Example:
    ```python
    >>> from trl_forking.analysis.shards import read_num_shards, write_settings
    >>> write_settings("analysis", {"num_shards": 2})
    >>> read_num_shards("analysis")
    2
    ```
    """
    number = read_settings(folder).get("num_shards", 0)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 10**8:
        raise ValueError(f"{Path(folder) / 'run.json'} has num_shards {number!r}: collect the answers again.")
    return number


def clear_records(folder: str | Path) -> None:
    """
    Remove the settings and shards of a folder. Other files stay.

    Args:
        folder (`str` or `Path`):
            Folder of a collection. It does not have to exist.

    Example:
    ```python
    >>> from trl_forking.analysis import clear_records
    >>> clear_records("no_such_folder")
    ```
    """
    path = Path(folder)
    # The settings go last: if this is killed, the folder is still a collection, with shards missing.
    shards = [*(path / "answers").glob("[0-9]*"), *(path / "answers").glob("_[0-9]*.partial")]
    for file in (*sorted(shards), path / "run.json"):
        file.unlink(missing_ok=True)


def get_shard_path(folder: str | Path, shard: int) -> Path:
    """
    Return the path of a shard.

    Example:
    ```python
    >>> from trl_forking.analysis.shards import get_shard_path
    >>> get_shard_path("analysis", 3).as_posix()
    'analysis/answers/00003.parquet'
    ```
    """
    return Path(folder) / "answers" / f"{shard:05d}.parquet"


def write_table(path: str | Path, table: "pyarrow.Table") -> None:
    """
    Write a table as a Parquet file with a checksum of the whole file, completely or not at all.

    Args:
        path (`str` or `Path`):
            File to write or replace.
        table (`pyarrow.Table`):
            The table.

    Example:
    ```python
    >>> import pyarrow
    >>> from trl_forking.analysis.shards import is_readable, write_table
    >>> write_table("answers.parquet", pyarrow.table({"reward": [1.0]}))
    >>> is_readable("answers.parquet")
    True
    ```
    """
    import pyarrow.parquet as pq

    # A place for the checksum in the metadata, which Parquet writes at the end of a file.
    marked = table.replace_schema_metadata({**(table.schema.metadata or {}), b"checksum": _MARK + _NO_CHECKSUM})
    buffer = io.BytesIO()
    pq.write_table(marked, buffer, compression="zstd")
    before, after = buffer.getvalue().rsplit(_MARK + _NO_CHECKSUM, 1)
    write_atomically(path, before + _MARK + _compute_checksum(before, after) + after)


def _compute_checksum(before: bytes, after: bytes) -> bytes:
    return b"%08x" % zlib.crc32(after, zlib.crc32(before))


def is_readable(path: str | Path) -> bool:
    """
    Tell whether a Parquet file is as it was written.

    Args:
        path (`str` or `Path`):
            File of [`write_table`]. A file without a checksum only has to be readable.

    Returns:
        `bool`: also `False` if there is no such file.

    Example:
    ```python
    >>> from trl_forking.analysis.shards import is_readable
    >>> is_readable("no_such_file.parquet")
    False
    ```
    """
    import pyarrow.parquet as pq

    try:
        before, mark, rest = Path(path).read_bytes().rpartition(_MARK)
        if mark:
            size = len(_NO_CHECKSUM)
            return rest[:size] == _compute_checksum(before, rest[size:])
        pq.read_table(path)
    except (OSError, ValueError):  # pyarrow's errors are of these types
        return False
    return True


def find_missing_shards(folder: str | Path) -> list[int]:
    """
    Find the shards that are not written yet, or cannot be read.

    Args:
        folder (`str` or `Path`):
            Folder of a collection.

    Returns:
        `list[int]`: their numbers; empty for a finished collection.

    Raises:
        `ValueError`: if there is no collection.

    Example:
    ```python
    >>> from trl_forking.analysis import find_missing_shards, write_settings
    >>> write_settings("analysis", {"num_shards": 2})
    >>> find_missing_shards("analysis")
    [0, 1]
    ```
    """
    num_shards = read_num_shards(folder)
    return [shard for shard in range(num_shards) if not is_readable(get_shard_path(folder, shard))]
