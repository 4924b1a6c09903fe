"""What a checkpoint needs beyond Transformers' own, so that a killed run goes on as if nothing had happened."""

import json
import logging
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import send_to_device
from transformers.trainer import TRAINER_STATE_NAME


logger = logging.getLogger(__name__)


def save_progress(trainer: Any, checkpoint: str) -> None:
    """
    Save what the next step of this rank depends on: its place in the rollout and in the stream of prompts.

    Args:
        trainer ([`ForkingGRPOTrainer`]):
            Trainer between two steps.
        checkpoint (`str`):
            Folder to write to.
    """
    is_rollout_trained = trainer._step % (trainer.args.steps_per_generation * trainer.num_iterations) == 0
    progress = {
        "layout": _get_layout(trainer),
        "step": trainer._step,
        "rollout": None if is_rollout_trained else trainer._buffered_inputs,
        "selection_metrics": trainer._selection_metrics,
        "stream": None if trainer._sampler is None else trainer._sampler.stream.state_dict(),
    }
    Path(checkpoint).mkdir(parents=True, exist_ok=True)
    torch.save(progress, _get_path(trainer, checkpoint))


def load_progress(trainer: Any, checkpoint: str) -> None:
    """
    Take up what [`save_progress`] saved; a checkpoint of another trainer has nothing of the kind.

    Args:
        trainer ([`ForkingGRPOTrainer`]):
            Trainer before its first step.
        checkpoint (`str`):
            Folder to read from.
    """
    path = _get_path(trainer, checkpoint)
    if not path.is_file():
        return
    progress = torch.load(path, map_location="cpu", weights_only=True)
    if trainer._sampler is not None and progress["stream"] is not None:
        trainer._sampler.stream.load_state_dict(progress["stream"])
    if progress["layout"] != _get_layout(trainer):
        logger.warning(f"{checkpoint} is from another batch layout: what is left of its rollout is not trained.")
        return
    trainer._step, trainer._selection_metrics = progress["step"], progress["selection_metrics"]
    if progress["rollout"] is not None:
        trainer._buffered_inputs = [send_to_device(batch, trainer.accelerator.device) for batch in progress["rollout"]]


def _get_path(trainer: Any, checkpoint: str) -> Path:
    return Path(checkpoint) / f"forking_progress_{trainer.accelerator.process_index}.pt"


def _get_layout(trainer: Any) -> list[int]:
    args = trainer.args
    sizes = [args.per_device_train_batch_size, args.gradient_accumulation_steps, args.steps_per_generation]
    return [trainer.accelerator.num_processes, *sizes, trainer.num_generations, trainer.num_iterations]


def resolve_checkpoint(resume_from_checkpoint: str | bool | None, output_dir: str) -> str | bool | None:
    """
    Choose the checkpoint to resume from, and refuse one that was not written to its end.

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
        raise ValueError(f"{resume_from_checkpoint} is missing or was not written to its end: {remedy}.")
    return resume_from_checkpoint


def is_complete(checkpoint: str) -> bool:
    """
    Return whether a checkpoint was written to its end.

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
    Find the newest checkpoint of a run that was written to its end.

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
