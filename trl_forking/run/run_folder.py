"""The folder of a run: what is said when it can't be written to, or holds another run."""

import errno
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .resume import find_last_complete


logger = logging.getLogger(__name__)

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# safetensors hands the number on in its text, torch.save says that the file has not the length it should.
_SIGNS = tuple(f"os error {number}" for number in _FULL) + (
    "inline_container",
    "PytorchStreamWriter",
    "iostream error",
)


class FullDiskError(OSError):
    """
    A checkpoint or model could not be written for want of room. What was raised first is the `__cause__`.

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
    Raise one sentence, with what resumes the run, where the body can't write for want of room.

    Args:
        folder (`str`):
            Folder that the body writes to.
        output_dir (`str`):
            Folder of the run.

    Raises:
        [`FullDiskError`]: in place of the errors that the file system, safetensors and torch raise.

    Example:
    ```python
    >>> with explaining_full_disk("runs/full", "runs/full"):
    ...     raise OSError(28, "No space left on device")
    Traceback (most recent call last):
        ...
    trl_forking.run.run_folder.FullDiskError: runs/full could not be written to its end ([Errno 28] No space left on device; ...
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
            f"go on from {checkpoint} with trainer.train(resume_from_checkpoint=True), or with --resume_from_checkpoint "
            "true in a shell"
            if checkpoint
            else "start again: no checkpoint is complete yet"
        )
        raise FullDiskError(
            f"{folder} could not be written to its end ({error}; {_measure_free(folder)} are free there): make room "
            f"(a lower save_total_limit takes less) and {remedy}."
        ) from error


def warn_of_other_run(output_dir: str) -> None:
    """
    Warn before a new run writes among the checkpoints of another.

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
            f"{output_dir} holds another run, up to {checkpoint}, which this one writes over: go on with it by "
            "trainer.train(resume_from_checkpoint=True), or set another output_dir."
        )


def _measure_free(folder: str) -> str:
    existing = next(path for path in [Path(folder).absolute(), *Path(folder).absolute().parents] if path.is_dir())
    return f"{shutil.disk_usage(existing).free / 1e6:,.1f} MB"
