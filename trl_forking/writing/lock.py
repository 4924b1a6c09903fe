"""One writer at a time in a folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class FolderInUse(ValueError):
    """
    Another process writes to a folder.

    Example:
    ```python
    >>> from trl_forking.writing.lock import FolderInUse
    >>> raise FolderInUse("Another process is writing to runs/analysis.")
    Traceback (most recent call last):
        ...
    trl_forking.writing.lock.FolderInUse: Another process is writing to runs/analysis.
    ```
    """


@contextmanager
def lock_folder(folder: str | Path) -> Iterator[None]:
    """
    Keep other processes that lock the same folder out of it. No file is left, also if the process is killed.

    The operating system holds the lock on the folder itself, and takes it back when the process ends. On Windows, and on
    file systems without such locks, nothing is locked.

    Args:
        folder (`str` or `Path`):
            Folder; it is made.

    Raises:
        [`FolderInUse`]: if another process holds the lock.

    Example:
    ```python
    >>> from trl_forking.writing.lock import lock_folder
    >>> with lock_folder("runs/analysis"):
    ...     with lock_folder("runs/analysis"):
    ...         pass
    Traceback (most recent call last):
        ...
    trl_forking.writing.lock.FolderInUse: Another process is writing to runs/analysis: wait until it ends, or choose ...
    ```
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FolderInUse(
                f"Another process is writing to {folder}: wait until it ends, or choose another folder (--output_dir)."
            ) from error
        except OSError:  # a file system without locks
            yield
            return
        try:
            yield
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a forked process may have the descriptor too
    finally:
        os.close(descriptor)
