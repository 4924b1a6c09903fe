"""The folder of a run: an error if it cannot be written, the disk is full or the folder holds another run."""

import errno
import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .checkpoints import find_any_checkpoint, find_last_complete
from .user_errors import UserError


if TYPE_CHECKING:  # commands that train nothing need no settings of TRL, whose import takes seconds
    from ..forking_grpo_config import ForkingGRPOConfig


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


def check_output_folder(folder: str | Path, name: str = "output_dir") -> None:
    """
    Check that a folder can be written to, before hours of work go into it. What the check makes is deleted again.

    Args:
        folder (`str` or `Path`):
            Folder. It may not exist yet.
        name (`str`, *optional*, defaults to `"output_dir"`):
            The field that names the folder, for the message.

    Raises:
        [`UserError`]: if the folder or one above it is a file, or cannot be written to.

    Example:
    ```python
    >>> from trl_forking.run.run_folder import check_output_folder
    >>> size = Path("notes.txt").write_text("")
    >>> check_output_folder("notes.txt/run")
    Traceback (most recent call last):
        ...
    trl_forking.run.user_errors.UserError: output_dir notes.txt/run lies in notes.txt, which is a file: name another folder.
    ```
    """
    path = Path(folder)
    try:
        existing = next(place for place in (path, *path.absolute().parents) if place.exists())
        is_folder = existing.is_dir()
    except (OSError, ValueError) as error:  # a name that is too long, or has a character that no name can have
        raise UserError(f"{name} {folder} is no name of a folder ({error}): name another one.") from error
    if not is_folder:
        where = "is a file" if existing == path else f"lies in {_shorten(existing)}, which is a file"
        raise UserError(f"{name} {folder} {where}: name another folder.")
    made = [place for place in (path, *path.parents) if not place.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{name} {folder} cannot be written to ({reason}): name another folder.") from error
    finally:
        for place in made:
            if place.is_dir() and not any(place.iterdir()):
                place.rmdir()


def _shorten(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def find_saved_model(output_dir: str | Path) -> Path | None:
    """
    Find the folder of a run if it holds a saved model or adapter.

    Args:
        output_dir (`str` or `Path`):
            Folder of the run.

    Returns:
        `Path` or `None`: the folder, or `None` where no model was saved.

    Example:
    ```python
    >>> from trl_forking.run.run_folder import find_saved_model
    >>> find_saved_model("no-such-run") is None
    True
    ```
    """
    folder = Path(output_dir)
    return folder if any((folder / name).is_file() for name in ("config.json", "adapter_config.json")) else None


def check_other_run(args: "ForkingGRPOConfig", has_saved: bool = False) -> None:
    """
    Refuse to train into a folder that holds checkpoints or the model of another run, or warn where that is allowed.

    All processes have to call it. The one that would write looks into the folder, and all raise.

    Args:
        args ([`ForkingGRPOConfig`]):
            Settings of the new run.
        has_saved (`bool`, *optional*, defaults to `False`):
            Whether this run has saved its model in the folder before, so that the model there is its own.

    Raises:
        [`UserError`]: if there is a checkpoint or a model in the folder, and `overwrite_output_dir` is not set.

    Example:
    ```python
    >>> from trl_forking import ForkingGRPOConfig
    >>> check_other_run(ForkingGRPOConfig("no-such-run", use_cpu=True))
    ```
    """
    from accelerate.utils import gather_object

    saves = args.should_save and args.save_strategy != "no"
    folder = str(args.output_dir)
    model_folder = None if has_saved else find_saved_model(folder)
    found = [find_any_checkpoint(folder) or "", str(model_folder or "")] if saves else []
    checkpoint, model = gather_object(found)[:2] or ("", "")
    resume = "resume that run with trainer.train(resume_from_checkpoint=True), " if checkpoint else ""
    if not (checkpoint or model):
        return
    if not args.overwrite_output_dir:
        other = f"{checkpoint} is of another run" if checkpoint else f"{model} holds the model of another run"
        raise UserError(
            f"{other}, and this run would write over it: {resume}set another output_dir, or allow it with "
            "overwrite_output_dir=True."
        )
    if saves:
        what = f"another run, whose last checkpoint is {checkpoint}" if checkpoint else "the model of another run"
        logger.warning(
            f"{folder} holds {what}. This run overwrites it: {resume}{'or ' * bool(resume)}set another output_dir."
        )


def _measure_free(folder: str) -> str:
    existing = next(path for path in [Path(folder).absolute(), *Path(folder).absolute().parents] if path.is_dir())
    return f"{shutil.disk_usage(existing).free / 1e6:,.1f} MB"
