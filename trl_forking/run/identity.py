"""What a checkpoint says of itself: which run it is of, when it was saved, and which files it had."""

import time
import uuid
from typing import Any

from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from .checkpoint_files import get_identity, measure_files


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
    >>> from pathlib import Path
    >>> Path("runs/a").mkdir(parents=True)
    >>> size = Path("runs/a/optimizer.pt").write_bytes(b"abc")
    >>> note_files(identity, "runs/a")
    >>> identity.files
    {'optimizer.pt': [3, 891568578]}
    ```
    """
    identity.files = measure_files(checkpoint)
    identity.saved_at = time.time()
