"""What a checkpoint says of itself: which run it is of, when it was saved, and which files it had."""

import time
import uuid
import zlib
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState


# Files that a resumed run reads. A checkpoint is as good without its card, tokenizer or arguments.
_READ = (".safetensors", ".bin", ".pt", ".pth", ".distcp", ".metadata", ".index.json")
_READ_TOO = ("config.json", "adapter_config.json")
_NOT_READ = ("training_args.bin",)
_CHECKED_BYTES = 8 * 2**20  # at each end of a file; what is between is too much to read at every save


class RunIdentity(TrainerCallback, ExportableState):
    """
    Writes into the trainer's state, with every checkpoint, what [`find_last_complete`] and a resumed run look at.

    Attributes:
        run (`str`): random name of the run. A resumed run has that of its checkpoint.
        saved_at (`float`): when the checkpoint was saved, in seconds since 1970. Copying does not change it.
        files (`dict[str, list[int]]`): size and checksum of the files that a resumed run reads.

    Example:
    ```python
    >>> sorted(RunIdentity().state()["attributes"])
    ['files', 'run', 'saved_at']
    ```
    """

    def __init__(self) -> None:
        self.run, self.saved_at = "", 0.0
        self.files: dict[str, list[int]] = {}

    def state(self) -> dict[str, Any]:
        """Return what Transformers writes into `trainer_state.json`."""
        return {"args": {}, "attributes": {"run": self.run, "saved_at": self.saved_at, "files": self.files}}

    def on_train_begin(self, args, state, control, **kwargs):
        saved = get_identity(state.stateful_callbacks) if state.global_step else {}
        (self.run,) = broadcast_object_list([saved.get("run") or uuid.uuid4().hex])
        # Transformers writes into this entry, and expects it to be there, with every checkpoint.
        state.stateful_callbacks[type(self).__name__] = self.state()


def get_identity(stateful_callbacks: Any) -> dict[str, Any]:
    """
    Read what [`RunIdentity`] wrote.

    Args:
        stateful_callbacks (`dict`):
            The entry of that name in a `trainer_state.json`.

    Returns:
        `dict[str, Any]`: empty for a checkpoint of another trainer.

    Example:
    ```python
    >>> get_identity({"TrainerControl": {}})
    {}
    ```
    """
    entry = stateful_callbacks.get(RunIdentity.__name__) if isinstance(stateful_callbacks, dict) else None
    attributes = entry.get("attributes") if isinstance(entry, dict) else None
    return attributes if isinstance(attributes, dict) else {}


def find_identity(callbacks: list[Any]) -> RunIdentity:
    """
    Find the callback among those of a trainer. At a resume Transformers can put another object in its place.

    Example:
    ```python
    >>> find_identity([RunIdentity()]).run
    ''
    ```
    """
    return next(callback for callback in callbacks if isinstance(callback, RunIdentity))


def note_files(identity: RunIdentity, checkpoint: str) -> None:
    """
    Note which files a checkpoint has, before the state that marks it as complete is written.

    Args:
        identity ([`RunIdentity`]):
            Callback of the run; changed in place.
        checkpoint (`str`):
            Folder of the checkpoint.

    Example:
    ```python
    >>> identity = RunIdentity()
    >>> Path("runs/a").mkdir(parents=True)
    >>> size = Path("runs/a/optimizer.pt").write_bytes(b"abc")
    >>> note_files(identity, "runs/a")
    >>> identity.files
    {'optimizer.pt': [3, 891568578]}
    ```
    """
    folder = Path(checkpoint)
    paths = [path for path in sorted(folder.rglob("*")) if _is_read(path.name) and path.is_file()]
    identity.files = {path.relative_to(folder).as_posix(): _measure(path) for path in paths}
    identity.saved_at = time.time()


def _is_read(name: str) -> bool:
    return name in _READ_TOO or (name.endswith(_READ) and name not in _NOT_READ)


def find_damaged_file(checkpoint: str | Path, files: Any) -> str | None:
    """
    Compare the files of a checkpoint with what was noted when it was saved.

    Args:
        checkpoint (`str` or `Path`):
            Folder of the checkpoint.
        files (`dict[str, list[int]]`):
            What [`note_files`] noted.

    Returns:
        `str` or `None`: what is wrong with the first file that is not as it was; `None` if all are.

    Example:
    ```python
    >>> find_damaged_file("no-such-checkpoint", {"optimizer.pt": [3, 891568578]})
    'optimizer.pt is missing'
    ```
    """
    if files is not None and not isinstance(files, dict):
        return "the list of its files is none"
    for name, noted in (files or {}).items():
        path = Path(checkpoint) / name
        if not isinstance(noted, list) or len(noted) != 2 or not all(isinstance(number, int) for number in noted):
            return f"the list of its files says {noted!r} of {name}"
        try:
            measured = _measure(path)
        except FileNotFoundError:
            return f"{name} is missing"
        except OSError as error:
            return f"{name} cannot be read ({error})"
        if measured[0] != noted[0]:
            return f"{name} has {measured[0]:,} bytes and had {noted[0]:,} when it was saved"
        if measured != noted:
            return f"{name} has other content than when it was saved"
    return None


def _measure(path: Path) -> list[int]:
    size = path.stat().st_size
    with path.open("rb") as file:
        checksum = zlib.crc32(file.read(_CHECKED_BYTES))
        if size > _CHECKED_BYTES:
            file.seek(max(_CHECKED_BYTES, size - _CHECKED_BYTES))
            checksum = zlib.crc32(file.read(), checksum)
    return [size, checksum]
