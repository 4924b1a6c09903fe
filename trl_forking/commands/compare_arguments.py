"""The flags of `trl-forking compare`, and the order of checkpoints. This module imports no torch."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .answer_arguments import AnswerArguments


@dataclass
class CompareArguments(AnswerArguments):
    """
    Which models `trl-forking compare` compares. The last checkpoint writes the answers, and all models score them.

    Parameters:
        base (`str`):
            Model that the training started from: a folder, a name of the Hub, a `.gguf` file, or `"countdown"`.
        checkpoints (`list[str]`):
            Checkpoints of the training, models or adapters. Those that have a step are put into the order of their steps.

    Raises:
        `ValueError`: if one of them is missing or given twice.

    Example:
    ```python
    >>> from trl_forking.commands.compare_arguments import CompareArguments
    >>> CompareArguments(prompts="countdown", base="countdown", checkpoints=["runs/a/checkpoint-10"]).checkpoints
    ['runs/a/checkpoint-10']
    ```
    """

    base: str | None = field(default=None, metadata={"help": "Model that the training started from."})
    checkpoints: list[str] | None = field(
        default=None, metadata={"help": "Checkpoints; they are ordered by step, and the last one writes the answers."}
    )
    output_dir: str = field(default="runs/comparison", metadata={"help": "Folder to write to."})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.base is None:
            raise ValueError("base is missing: give the model that training began with.")
        if not self.checkpoints:
            raise ValueError("checkpoints is missing: give one or more, in the order of training.")
        paths = [Path(name).resolve() for name in (self.base, *self.checkpoints)]
        twice = next(
            (name for name, path in zip(self.checkpoints, paths[1:], strict=True) if paths.count(path) > 1), None
        )
        if twice is not None:
            raise ValueError(
                f"{twice} is given twice: give the base and each checkpoint once, in the order of training."
            )


def find_step(checkpoint: str) -> int | None:
    """
    Find the step of training at which a checkpoint was saved, from its state or else from its name.

    Args:
        checkpoint (`str`):
            Folder of a checkpoint, or another model.

    Returns:
        `int` or `None`: the step, `None` where the model does not say.

    Example:
    ```python
    >>> from trl_forking.commands.compare_arguments import find_step
    >>> find_step("runs/a/checkpoint-12"), find_step("runs/a")
    (12, None)
    ```
    """
    try:
        step = json.loads((Path(checkpoint) / "trainer_state.json").read_text(encoding="utf-8"))["global_step"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        match = re.fullmatch(r"checkpoint-(\d+)", Path(checkpoint).name)
        return int(match[1]) if match else None
    return step if isinstance(step, int) else None


def order_by_step(checkpoints: Sequence[str]) -> list[str]:
    """
    Put checkpoints into the order of training. A shell puts `checkpoint-12` before `checkpoint-8`.

    Args:
        checkpoints (`Sequence[str]`):
            Checkpoints. A model without a step keeps its place.

    Returns:
        `list[str]`: the checkpoints in the order of their steps.

    Example:
    ```python
    >>> from trl_forking.commands.compare_arguments import order_by_step
    >>> order_by_step(["checkpoint-12", "checkpoint-8", "final"])
    ['checkpoint-8', 'checkpoint-12', 'final']
    ```
    """
    steps = [find_step(name) for name in checkpoints]
    ordered = iter(sorted((step, place) for place, step in enumerate(steps) if step is not None))
    places = [place if step is None else next(ordered)[1] for place, step in enumerate(steps)]
    return [checkpoints[place] for place in places]


def describe_order(base: str, checkpoints: Sequence[str]) -> str:
    """
    Say in which order checkpoints are compared, and which one writes the answers.

    Example:
    ```python
    >>> from trl_forking.commands.compare_arguments import describe_order
    >>> describe_order("countdown", ["runs/a/checkpoint-8", "runs/a"])
    'Order: countdown, runs/a/checkpoint-8 (step 8), runs/a. The last one writes the answers.'
    ```
    """
    steps = ["" if (step := find_step(name)) is None else f" (step {step})" for name in checkpoints]
    names = [base, *(f"{name}{step}" for name, step in zip(checkpoints, steps, strict=True))]
    return f"Order: {', '.join(names)}. The last one writes the answers."
