"""Files that are written completely or not at all, and files of JSON lines."""

import errno
import glob
import itertools
import os
import platform
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


_FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_numbers = itertools.count()
_being_written: set[Path] = set()


def write_atomically(path: str | Path, content: str | bytes | Callable[[BinaryIO], object]) -> None:
    """
    Write a file completely or not at all.

    The content goes into a second file in the same folder, which then takes the place of the first. Every write has a
    second file of its own, so several processes may write to the same path: the last one to finish wins. If an error comes
    in between, the second file is removed. A process that is killed in between leaves it behind; the next write to the
    same path removes it. Its name begins with `_`, so that no push to the Hub takes it along.

    Args:
        path (`str` or `Path`):
            File to write or replace. Its folder is made.
        content (`str`, `bytes` or function):
            Text, which is written as UTF-8 without any change of its line ends; bytes; or a function that writes to the
            open binary file it gets, such as `lambda file: torch.save(state, file)`.

    Raises:
        `OSError`: if the disk is full or the folder can't be written to. The old file is left as it was. Other errors of
            `content` are raised as they are, with the same guarantee.

    Example:
    ```python
    >>> import torch
    >>> write_atomically("runs/README.md", "text")
    >>> Path("runs/README.md").read_text()
    'text'
    >>> write_atomically("runs/state.pt", lambda file: torch.save({"step": 3}, file))
    >>> torch.load("runs/state.pt")
    {'step': 3}
    ```
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    with _open_unfinished(path) as unfinished:
        try:
            with unfinished.open("wb") as file:
                if callable(content):
                    content(file)
                else:
                    file.write(content.encode() if isinstance(content, str) else content)
            os.replace(unfinished, path)
        except BaseException as error:  # an interruption by the user too
            unfinished.unlink(missing_ok=True)
            if (cause := _find_full_disk(error)) is not None:
                raise cause from error
            raise


@contextmanager
def _open_unfinished(path: Path) -> Iterator[Path]:
    """Yield a path that no other write uses."""
    unfinished = path.with_name(f"_{path.name}.{_get_place()}-{os.getpid()}-{next(_numbers)}.partial")
    _being_written.add(unfinished)
    try:
        yield unfinished
    finally:
        _being_written.discard(unfinished)


def _get_place() -> str:
    """Return what tells the process numbers of this machine, or container, from those of others."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:  # not Linux
        namespace = ""
    return f"{zlib.crc32(f'{platform.node()} {namespace}'.encode()):08x}"


def _remove_leftovers(path: Path) -> None:
    """Remove what killed processes of this machine left of their writes to a path."""
    for name in glob.glob(f"_{glob.escape(path.name)}.*partial", root_dir=path.parent):
        leftover = path.with_name(name)
        place, _, rest = name.removeprefix(f"_{path.name}.").partition("-")
        process = rest.partition("-")[0]
        if leftover not in _being_written and place == _get_place() and not _is_another_alive(process):
            leftover.unlink(missing_ok=True)


def _is_another_alive(process: str) -> bool:
    if process == str(os.getpid()):
        return False
    if os.name != "posix" or not process.isdigit():
        return True
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except OSError:  # a process of another user
        return True
    return True


def _find_full_disk(error: BaseException | None) -> OSError | None:
    """Find the error of a full disk behind an error of another type, such as the RuntimeError of `torch.save`."""
    while error is not None and not (isinstance(error, OSError) and error.errno in _FULL_DISK):
        error = error.__cause__ or error.__context__
    return error
