"""Rows of tables: Parquet files, and data sets of the package `datasets`."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ..run.user_errors import UserError


if TYPE_CHECKING:
    from datasets import Dataset

_BATCH = 1024


def read_parquet(file: BinaryIO, path: Path) -> Iterator[dict[str, Any]]:
    """
    Read rows from a Parquet file.

    Args:
        file (`BinaryIO`):
            The open file. If it is compressed as a whole, its content is read into memory, because the table of contents
            of a Parquet file stands at its end.
        path (`Path`):
            Its name, for messages.

    Returns:
        `Iterator[dict]`: rows.

    Raises:
        [`UserError`]: if it is no Parquet file.

    Example:
    ```python
    >>> from pathlib import Path
    >>> import pyarrow as pa, pyarrow.parquet as pq
    >>> from trl_forking.data.table_rows import read_parquet
    >>> pq.write_table(pa.table({"answer": pa.array([0.1], pa.float32())}), "a.parquet")
    >>> with open("a.parquet", "rb") as file:
    ...     list(read_parquet(file, Path("a.parquet")))
    [{'answer': 0.1}]
    ```
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    is_plain = isinstance(file, io.BufferedReader) and isinstance(file.raw, io.FileIO)
    source = file if is_plain else io.BytesIO(file.read())
    try:
        with pq.ParquetFile(source) as table:
            shorts = [field.name for field in table.schema_arrow if pa.types.is_float32(field.type)]
            for batch in table.iter_batches(batch_size=_BATCH):
                for row in batch.to_pylist():
                    yield _mend_short_floats(row, shorts)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a Parquet file that can be read ({error}).") from error


def read_dataset(dataset: "Dataset") -> Iterator[dict[str, Any]]:
    """
    Read rows from a data set that is loaded.

    Args:
        dataset ([`~datasets.Dataset`]):
            The data set.

    Returns:
        `Iterator[dict]`: rows.

    Example:
    ```python
    >>> from datasets import Dataset
    >>> from trl_forking.data.table_rows import read_dataset
    >>> list(read_dataset(Dataset.from_dict({"question": ["1 + 1?"], "answer": [2]})))
    [{'question': '1 + 1?', 'answer': 2}]
    ```
    """
    features = dataset.features.items()
    shorts = [name for name, feature in features if getattr(feature, "dtype", None) == "float32"]
    for row in dataset.with_format(None):
        yield _mend_short_floats(dict(row), shorts)


def _mend_short_floats(row: dict[str, Any], columns: list[str]) -> dict[str, Any]:
    """Write the shortest digits that give the same 32-bit number: 0.1, where Python sees 0.10000000149011612."""
    import numpy as np

    return row | {name: float(str(np.float32(row[name]))) for name in columns if isinstance(row[name], float)}
