"""Opens a file, compressed or not."""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from ..run.user_errors import UserError


COMPRESSED = (".gz", ".zst")
"""Endings of compressed files."""

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


@contextmanager
def open_decompressed(path: Path) -> Iterator[BinaryIO]:
    """
    Open a file to read its bytes. Its first bytes, and not its name, say whether it is compressed.

    A browser may decompress a file while it downloads it, and leave the ending `.gz`.

    Args:
        path (`Path`):
            File, plain or compressed by gzip or zstd.

    Returns:
        `Iterator[BinaryIO]`: context with the open file.

    Raises:
        [`UserError`]: if a compressed file is damaged, or not complete.
        `OSError`: if the file can't be read.

    Example:
    ```python
    >>> import gzip
    >>> from pathlib import Path
    >>> from trl_forking.data.compression import open_decompressed
    >>> size = Path("problems.txt.gz").write_bytes(gzip.compress(b"1 + 1?"))
    >>> with open_decompressed(Path("problems.txt.gz")) as file:
    ...     file.read()
    b'1 + 1?'
    ```
    """
    with path.open("rb") as plain:
        start = plain.read(4)
        plain.seek(0)
        if start.startswith(_GZIP):
            file: Any = gzip.GzipFile(fileobj=plain)
        elif start == _ZSTD or _is_skippable_frame(start):
            file = _open_zstd(path)
        else:
            yield plain
            return
        with file:
            try:
                yield cast(BinaryIO, file)
            except (EOFError, zlib.error, OSError) as error:
                raise UserError(f"{path}: the file is damaged or not complete ({error}): copy it again.") from error


def _is_skippable_frame(start: bytes) -> bool:
    """Whether the bytes begin a frame without data, which `pzstd` writes first."""
    return len(start) == 4 and start[0] & 0xF0 == 0x50 and start[1:] == b"\x2a\x4d\x18"


def _open_zstd(path: Path) -> io.BufferedReader:
    import pyarrow as pa  # a dependency of TRL, and with zstd in all of its builds on PyPI

    if not pa.Codec.is_available("zstd"):
        raise UserError(f"{path}: this build of pyarrow can't read zstd: pip install --force-reinstall pyarrow")
    return io.BufferedReader(cast(Any, pa.CompressedInputStream(pa.OSFile(str(path)), "zstd")))
