"""The folder of a run: an error if the disk is full, and a warning if the folder holds another run."""

import errno
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .resume import find_last_complete


logger = logging.getLogger(__name__)

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# safetensors has the number of the error in its text. torch.save only says that the file has the wrong length.
_SIGNS = tuple(f"os error {number}" for number in _FULL) + (
    "inline_container",
    "PytorchStreamWriter",
    "iostream error",
)


class FullDiskError(OSError):
    """
    The disk is too full for a checkpoint or a model. The first error is the `__cause__`.

    Example:
    ```python
    >>> from trl_forking.run.run_folder import FullDiskError
    >>> issubclass(FullDiskError, OSError)
    True
    ```
    """


@contextmanager
def explaining_full_disk(folder: str, output_dir: str) -> Iterator[None]:
    """
    Raise one sentence that says how to resume the run if the body cannot write because the disk is full.

    Args:
        folder (`str`):
            Folder that the body writes to.
        output_dir (`str`):
            Folder of the run.

    Raises:
        [`FullDiskError`]: in place of the errors of the file system, safetensors and torch.

    Example:
    ```python
    >>> with explaining_full_disk("runs/full", "runs/full"):
    ...     raise OSError(28, "No space left on device")
    Traceback (most recent call last):
        ...
    trl_forking.run.run_folder.FullDiskError: runs/full could not be written completely ([Errno 28] No space left on device; ...
    ```
    """
    try:
        yield
    except FullDiskError:
        raise
    except Exception as error:
        if getattr(error, "errno", None) not in _FULL and not any(sign in str(error) for sign in _SIGNS):
            raise
        checkpoint = find_last_complete(output_dir)
        remedy = (
            f"resume from {checkpoint} with trainer.train(resume_from_checkpoint=True), or with --resume_from_checkpoint "
            "true in a shell"
            if checkpoint
            else "start again, because no checkpoint is complete yet"
        )
        raise FullDiskError(
            f"{folder} could not be written completely ({error}; {_measure_free(folder)} are free there): make room "
            f"(a lower save_total_limit needs less) and {remedy}."
        ) from error


def warn_of_other_run(output_dir: str) -> None:
    """
    Warn if a new run is about to overwrite the checkpoints of another run.

    Args:
        output_dir (`str`):
            Folder of the new run.

    Example:
    ```python
    >>> warn_of_other_run("no-such-run")
    ```
    """
    if checkpoint := find_last_complete(output_dir):
        logger.warning(
            f"{output_dir} holds another run, whose last checkpoint is {checkpoint}. This run overwrites it: resume that "
            "run with trainer.train(resume_from_checkpoint=True), or set another output_dir."
        )


def _measure_free(folder: str) -> str:
    existing = next(path for path in [Path(folder).absolute(), *Path(folder).absolute().parents] if path.is_dir())
    return f"{shutil.disk_usage(existing).free / 1e6:,.1f} MB"
