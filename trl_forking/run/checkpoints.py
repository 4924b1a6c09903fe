"""The checkpoints in a folder: which one a run goes on from, which are complete, and whether the run is finished."""

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

from .checkpoint_files import find_damaged_file, get_identity


logger = logging.getLogger(__name__)

# As Transformers' trainer names it, whose import takes seconds; commands that train nothing read checkpoints too.
TRAINER_STATE_NAME = "trainer_state.json"


def resolve_checkpoint(resume_from_checkpoint: str | bool | None, output_dir: str) -> str | bool | None:
    """
    Choose the checkpoint to resume from, and refuse one that was not written completely.

    Args:
        resume_from_checkpoint (`str` or `bool`, *optional*):
            As in [`~transformers.Trainer.train`]; `True` is the newest complete checkpoint of the run.
        output_dir (`str`):
            Folder of the run.

    Returns:
        `str`, `bool` or `None`: what to pass to [`~transformers.Trainer.train`].

    Raises:
        `ValueError`: if there is no such checkpoint, or it is not complete.

    Example:
    ```python
    >>> resolve_checkpoint(True, "no-such-run")
    Traceback (most recent call last):
        ...
    ValueError: no-such-run has no complete checkpoint to resume from: start without resume_from_checkpoint.
    ```
    """
    newest = find_last_complete(output_dir)
    if resume_from_checkpoint is True:
        if newest is None:
            raise ValueError(
                f"{output_dir} has no complete checkpoint to resume from: start without resume_from_checkpoint."
            )
        _tell_choice(newest, output_dir)
        return newest
    if isinstance(resume_from_checkpoint, (str, Path)) and (damage := find_damage(str(resume_from_checkpoint))):
        remedy = f"resume from {newest}" if newest else "start without resume_from_checkpoint"
        raise ValueError(f"{resume_from_checkpoint} {damage}: {remedy}.")
    return resume_from_checkpoint


def _tell_choice(newest: str, output_dir: str) -> None:
    """Say what was passed over: newer checkpoints that are damaged, and those of other runs."""
    folders = [str(path) for path in Path(output_dir).glob("checkpoint-*") if path.is_dir()]
    for folder in folders:
        if _get_saved_at(folder) > _get_saved_at(newest):
            logger.warning(f"{folder} {find_damage(folder)}: the run goes on from {newest}.")
    runs = {get_identity(_read_state(folder).get("stateful_callbacks")).get("run") for folder in folders}
    if len(runs - {None}) > 1:
        logger.warning(
            f"{output_dir} holds checkpoints of {len(runs)} runs: {newest} was saved last, and its run goes on from there."
        )


def describe_finished(checkpoint: str | bool | None, max_steps: int, num_train_epochs: float) -> str | None:
    """
    Say that a run is finished, if its checkpoint is already at the last step.

    Args:
        checkpoint (`str`, *optional*):
            Folder of the checkpoint.
        max_steps (`int`):
            Number of steps of the run that goes on; -1 if the number of epochs decides.
        num_train_epochs (`float`):
            Number of epochs.

    Returns:
        `str` or `None`: a sentence; `None` if there is something left to train, or the checkpoint does not say.

    Example:
    ```python
    >>> describe_finished(None, 10, 3.0) is None
    True
    ```
    """
    saved = _read_state(checkpoint) if isinstance(checkpoint, str) else {}
    step, name = saved.get("global_step"), "max_steps"
    last = max_steps
    if max_steps <= 0:
        last = saved.get("max_steps", 0) if saved.get("num_train_epochs") == num_train_epochs else 0
        name = "num_train_epochs"
    if not isinstance(step, int) or not isinstance(last, int) or not 0 < last <= step:
        return None
    return (
        f"The run is finished: {checkpoint} is at step {step}, and {last} is the last one. Nothing is trained; raise {name} to "
        "go on."
    )


def mark_incomplete(checkpoint: str) -> None:
    """
    Take away what marks a checkpoint as complete, before it is written over.

    Example:
    ```python
    >>> mark_incomplete("no-such-checkpoint")
    ```
    """
    (Path(checkpoint) / TRAINER_STATE_NAME).unlink(missing_ok=True)


def is_complete(checkpoint: str) -> bool:
    """
    Return whether a checkpoint was written completely, and is as it was written.

    Transformers writes the trainer's state last: where it is missing or cut off, the run was killed while saving.

    Example:
    ```python
    >>> is_complete("no-such-checkpoint")
    False
    ```
    """
    return find_damage(checkpoint) is None


# What Transformers relies on in the state of a trainer.
_STATE: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("global_step", "max_steps", "num_train_epochs", "num_input_tokens_seen"), (int,)),
    **dict.fromkeys(("train_batch_size", "best_global_step"), (int, type(None))),
    **dict.fromkeys(("epoch", "best_metric"), (int, float, type(None))),
    **dict.fromkeys(("logging_steps", "eval_steps", "save_steps", "total_flos"), (int, float)),
    **{"best_model_checkpoint": (str, type(None)), "log_history": (list,), "stateful_callbacks": (dict,)},
}


def find_damage(checkpoint: str) -> str | None:
    """
    Find out why a checkpoint cannot be resumed from.

    Args:
        checkpoint (`str`):
            Folder of the checkpoint.

    Returns:
        `str` or `None`: the reason, as the rest of a sentence that begins with the folder; `None` if there is none.

    Example:
    ```python
    >>> find_damage("no-such-checkpoint")
    'is missing or was not written completely'
    ```
    """
    saved = _read_state(checkpoint)
    if not saved:
        return "is missing or was not written completely"
    if not _is_valid(saved) or not _is_named(checkpoint, saved["global_step"]):
        return f"is damaged ({TRAINER_STATE_NAME} has other content than Transformers writes)"
    damage = find_damaged_file(checkpoint, get_identity(saved.get("stateful_callbacks")).get("files"))
    return None if damage is None else f"is damaged ({damage})"


def _is_valid(saved: dict[str, Any]) -> bool:
    from transformers import TrainerState

    is_known = saved.keys() <= {entry.name for entry in dataclasses.fields(TrainerState)}
    typed = (isinstance(saved[name], types) for name, types in _STATE.items() if name in saved)
    if not (is_known and all(typed) and {"global_step", "max_steps", "log_history"} <= saved.keys()):
        return False
    entries = [
        part
        for entry in saved.get("stateful_callbacks", {}).values()
        for part in (entry if isinstance(entry, list) else [entry])
    ]
    return all(isinstance(entry, dict) for entry in (*saved["log_history"], *entries))


def _is_named(checkpoint: str, step: int) -> bool:
    """Return whether the number in the name of a folder, if it has one, is that of the step."""
    number = Path(checkpoint).name.removeprefix("checkpoint-")
    return not number.isdigit() or int(number) == step


def _read_state(checkpoint: str) -> dict[str, Any]:
    try:
        saved = json.loads((Path(checkpoint) / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return saved if isinstance(saved, dict) else {}


def _get_saved_at(checkpoint: str) -> float:
    """Return when a checkpoint was saved, by its own word or, for one of another trainer, by the date of its state."""
    saved_at = get_identity(_read_state(checkpoint).get("stateful_callbacks")).get("saved_at")
    if isinstance(saved_at, (int, float)) and saved_at > 0:
        return saved_at
    path = Path(checkpoint) / TRAINER_STATE_NAME
    return path.stat().st_mtime if path.is_file() else 0.0


def find_any_checkpoint(output_dir: str) -> str | None:
    """
    Find the checkpoint that a new run in this folder would write beside or over, whether it can be resumed from or not.

    Args:
        output_dir (`str`):
            Folder of the run.

    Returns:
        `str` or `None`: the last complete checkpoint, else one that was written to its end; `None` where there is none.

    Example:
    ```python
    >>> find_any_checkpoint("no-such-run") is None
    True
    ```
    """
    written = sorted(str(path.parent) for path in Path(output_dir).glob("checkpoint-*/trainer_state.json"))
    return find_last_complete(output_dir) or (written[-1] if written else None)


def find_last_complete(output_dir: str, since: float = 0.0) -> str | None:
    """
    Find the checkpoint that was saved last, of those that were written completely.

    A folder can hold the checkpoints of several runs. A higher step is not always a newer one.

    Args:
        output_dir (`str`):
            Folder of the run.
        since (`float`, *optional*, defaults to `0.0`):
            Seconds since 1970. Checkpoints that were saved earlier are of another run.

    Returns:
        `str` or `None`: its folder, or `None` where there is no complete checkpoint.

    Example:
    ```python
    >>> find_last_complete("no-such-run") is None
    True
    ```
    """
    numbers = [path.name.removeprefix("checkpoint-") for path in Path(output_dir).glob("checkpoint-*")]
    steps = [int(number) for number in numbers if number.isdigit()]
    found = [(str(Path(output_dir) / f"checkpoint-{step}"), step) for step in steps]
    for path, _ in sorted(found, key=lambda entry: (_get_saved_at(entry[0]), entry[1]), reverse=True):
        if _get_saved_at(path) >= since and is_complete(path):
            return path
    return None
