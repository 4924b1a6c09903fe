"""Runs that compute the same in different arrangements of their answers."""

import random
from typing import Any

import torch

from helpers.tiny import (
    NUM_GENERATIONS,
    VOCABULARY_SIZE,
    build_model,
    build_trainer,
    compute_gradients,
    relative_error,
    replay_fixed_answers,
)


def reward_all_informative(completion_ids: list[list[int]], **kwargs: Any) -> list[float]:
    """Every group has another reward for each of its answers, so that no answer costs nothing."""
    return [float(index % NUM_GENERATIONS) for index in range(len(completion_ids))]


def replay_long_tailed(prompts: list[str], trainer: Any) -> dict[str, Any]:
    """A `rollout_func`: as `replay_fixed_answers`, but two of seven answers are four times as long as the others."""
    rollout = replay_fixed_answers(prompts, trainer)
    for ids in rollout["completion_ids"]:
        source = random.Random(str(ids))
        length = source.choice([3, 4, 4, 5, 6, 16, 23])
        ids[:-1] = (ids[:-1] + source.choices(range(3, VOCABULARY_SIZE), k=length))[:length]
    return rollout


def train(folder: Any, build: Any = build_trainer, **settings: Any) -> tuple[list[torch.Tensor], Any]:
    """Train the tiny model and return the gradient of every step, and the trainer."""
    # Weights of 0.5 would double the rounding errors that either way has; these are closer to a real model's.
    settings = {"rollout_func": replay_long_tailed, "max_completion_length": 24} | settings
    model = settings.pop("model", lambda: build_model(scale=0.2))
    trainer = build(folder, model=model(), **settings)
    return compute_gradients(trainer), trainer


def compare_with_plain(folder: Any, tolerance: float = 1e-5, **settings: Any) -> Any:
    """Assert that every gradient is that of TRL's layout, in which no tensor is cut and no answer dealt."""
    plain, _ = train(folder, **settings, sparse_update=False)
    ours, trainer = train(folder, **settings)
    assert len(ours) == len(plain) and all(gradient.any() for gradient in plain)
    errors = [relative_error(*pair) for pair in zip(ours, plain, strict=True)]
    assert max(errors) < tolerance, errors
    return trainer


def count_rows(trainer: Any) -> list[int]:
    """Rows of each micro-batch of the newest rollout."""
    return [len(part["row_ids"]) for part in trainer._buffered_inputs]


def count_costly_rows(trainer: Any) -> list[int]:
    """Rows of each micro-batch that pass through the model."""
    return [int(part.get("kept", part["completion_mask"]).any(1).sum()) for part in trainer._buffered_inputs]


class InputRecorder:
    """Notes the inputs that reach the backbone of a trainer: those of passes with gradient, and of others."""

    def __init__(self, trainer: Any):
        self.of_update: list[dict[str, torch.Tensor]] = []
        self.of_scoring: list[dict[str, torch.Tensor]] = []
        trainer.model.base_model.register_forward_pre_hook(self._note, with_kwargs=True)

    def _note(self, module: torch.nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        inputs = {name: value for name, value in kwargs.items() if isinstance(value, torch.Tensor)}
        (self.of_update if torch.is_grad_enabled() else self.of_scoring).append(inputs)
