"""What a checkpoint needs beyond Transformers' own, so that a killed run goes on as if nothing had happened."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list, send_to_device
from transformers.trainer import TRAINER_STATE_NAME
from trl import GRPOTrainer

from ..selection.token_counts import TokenCounts
from ..selection.token_selector import TokenSelector
from .trainer_protocol import ForkingTrainer


logger = logging.getLogger(__name__)


class ResumeMixin(GRPOTrainer):
    """Resumes a run as if it had never been killed, also within a rollout, and refuses half-written checkpoints."""

    selector: TokenSelector
    resumed_at: Sequence[int] = ()

    def train(self, resume_from_checkpoint=None, *args, **kwargs):
        checkpoint = resolve_checkpoint(resume_from_checkpoint, self.args.output_dir)
        self.selector.token_counts = TokenCounts()
        self.resumed_at = ()
        return super().train(checkpoint, *args, **kwargs)

    def _save_checkpoint(self, model, trial):
        if self.args.should_save:
            mark_incomplete(f"{self._get_output_dir(trial=trial)}/checkpoint-{self.state.global_step}")
        super()._save_checkpoint(model, trial)

    def _save_rng_state(self, output_dir):
        super()._save_rng_state(output_dir)
        save_progress(self, output_dir)
        self.accelerator.wait_for_everyone()  # what is written next marks the checkpoint as complete

    def _load_optimizer_and_scheduler(self, checkpoint):
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            load_progress(self, checkpoint)


def save_progress(trainer: ForkingTrainer, checkpoint: str) -> None:
    """
    Save what the next step of this rank depends on: its place in the rollout, and the counts of its tokens.

    Args:
        trainer ([`ForkingGRPOTrainer`]):
            Trainer between two steps.
        checkpoint (`str`):
            Folder to write to.
    """
    progress = {
        "layout": _get_layout(trainer),
        "step": trainer._step,
        "rollout": None if trainer.is_rollout_trained else trainer._buffered_inputs,
        # The same on every rank, and large: the first one's is enough.
        "token_counts": trainer.selector.token_counts.state_dict() if trainer.accelerator.process_index == 0 else None,
        "resumed_at": list(trainer.resumed_at),
    }
    Path(checkpoint).mkdir(parents=True, exist_ok=True)
    torch.save(progress, _get_path(trainer, checkpoint))


def load_progress(trainer: ForkingTrainer, checkpoint: str) -> None:
    """
    Take up what [`save_progress`] saved; a checkpoint of another trainer has nothing of the kind.

    Args:
        trainer ([`ForkingGRPOTrainer`]):
            Trainer before its first step.
        checkpoint (`str`):
            Folder to read from.

    Raises:
        `ValueError`: if this process has no part of the checkpoint, and others have.
    """
    path = _get_path(trainer, checkpoint)
    own = torch.load(path, map_location="cpu", weights_only=True) if path.is_file() else None
    # What all have to agree on is what the first process saved: there may be more of them now than there were.
    (common,) = broadcast_object_list([own and {name: own[name] for name in own if name != "rollout"}])
    trainer.resumed_at = [*(common or {}).get("resumed_at", []), trainer.state.global_step]
    if common is None:
        return
    trainer.selector.token_counts.load_state_dict(common["token_counts"])
    if common["layout"] != _get_layout(trainer):
        logger.warning(f"{checkpoint} is from another batch layout: what is left of its rollout is not trained.")
        return
    trainer._step = common["step"]
    if own is None:
        raise ValueError(f"{path} is missing: every process needs its own part of the checkpoint it goes on from.")
    if own["rollout"] is not None:
        trainer._buffered_inputs = [_send(batch, trainer.accelerator.device) for batch in own["rollout"]]


def _send(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    # The selection's metrics are float64, which Apple's GPUs do not have.
    return send_to_device(batch, device, skip_keys=[name for name in batch if name.startswith("forking/")])


def _get_path(trainer: ForkingTrainer, checkpoint: str) -> Path:
    return Path(checkpoint) / f"forking_progress_{trainer.accelerator.process_index}.pt"


def _get_layout(trainer: ForkingTrainer) -> list[int]:
    args = trainer.args
    sizes = [args.per_device_train_batch_size, args.gradient_accumulation_steps, args.steps_per_generation]
    return [trainer.accelerator.num_processes, *sizes, trainer.num_generations, trainer.num_iterations]


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
        return newest
    if isinstance(resume_from_checkpoint, (str, Path)) and not is_complete(str(resume_from_checkpoint)):
        remedy = f"resume from {newest}" if newest else "start without resume_from_checkpoint"
        raise ValueError(f"{resume_from_checkpoint} is missing or was not written completely: {remedy}.")
    return resume_from_checkpoint


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
    Return whether a checkpoint was written completely.

    Transformers writes the trainer's state last: where it is missing or cut off, the run was killed while saving.

    Example:
    ```python
    >>> is_complete("no-such-checkpoint")
    False
    ```
    """
    try:
        json.loads((Path(checkpoint) / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def find_last_complete(output_dir: str) -> str | None:
    """
    Find the newest checkpoint of a run that was written completely.

    Args:
        output_dir (`str`):
            Folder of the run.

    Returns:
        `str` or `None`: its folder, or `None` where there is no complete checkpoint.

    Example:
    ```python
    >>> find_last_complete("no-such-run") is None
    True
    ```
    """
    numbers = [path.name.removeprefix("checkpoint-") for path in Path(output_dir).glob("checkpoint-*")]
    for number in sorted((int(number) for number in numbers if number.isdigit()), reverse=True):
        path = str(Path(output_dir) / f"checkpoint-{number}")
        if is_complete(path):
            return path
    return None
