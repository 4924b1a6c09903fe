"""Files that are written completely or not at all, and files of JSON lines."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


_FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_atomically(path: str | Path, content: str | bytes | Callable[[BinaryIO], object]) -> None:
    """
    Write a file completely or not at all.

    The content goes into a second file in the same folder, which then takes the place of the first. If an error comes in
    between, the second file is removed. A process that is killed in between leaves the second file behind; the next write
    to the same path uses it again. Its name begins with `_`, so that no push to the Hub takes it along.

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
    unfinished = path.with_name(f"_{path.name}.partial")
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


def _find_full_disk(error: BaseException | None) -> OSError | None:
    """Find the error of a full disk behind an error of another type, such as the RuntimeError of `torch.save`."""
    while error is not None and not (isinstance(error, OSError) and error.errno in _FULL_DISK):
        error = error.__cause__ or error.__context__
    return error
