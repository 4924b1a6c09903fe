"""One run of the grid: the built-in task, trained with the settings of an arm."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, TrainerCallback

from trl_forking import ForkingGRPOConfig, ForkingGRPOTrainer
from trl_forking.countdown import (
    FORK_OFFSETS,
    MAX_COMPLETION_LENGTH,
    NUM_PROBLEMS,
    VOCABULARY,
    countdown_reward,
    load_countdown_model,
    load_countdown_tokenizer,
    make_countdown_dataset,
    mark_forks,
)
from trl_forking.rollout.callback import Rollout, RolloutCallback


NUM_STEPS = 130
# Shares of the run after which a copy of the weights is kept, to follow the forks over the training.
SNAPSHOTS = (0.125, 0.25, 0.5, 0.75, 1.0)

# The settings of `trl-forking demo`: 16 problems x 8 answers a step.
COMMON_SETTINGS: dict[str, Any] = {
    "learning_rate": 3e-4,
    "lr_scheduler_type": "linear",
    "adam_beta2": 0.99,
    "per_device_train_batch_size": 128,
    "num_generations": 8,
    "max_completion_length": MAX_COMPLETION_LENGTH,
    "bf16": False,
    "gradient_checkpointing": False,
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
    # The entropies of a full pass: those of a decoding step differ in the last bits, and so would the record of a run.
    "entropy_from_generation": False,
}
LOGGED = {
    "reward": "reward",
    "entropy": "entropy",
    "mean_length": "completions/mean_length",
    "clipped_ratio": "completions/clipped_ratio",
    "zero_variance_groups": "frac_reward_zero_std",
    "threshold": "forking/threshold",
    "kept_fraction": "forking/kept_fraction",
    "clip_fraction": "forking/clip_fraction",
    "grad_norm": "grad_norm",
    "num_tokens": "num_tokens",
}


@contextmanager
def open_unfinished(folder: Path) -> Iterator[Path]:
    """Give another name for a folder until it is complete, so that a run beside this one never reads half of it."""
    unfinished = folder.with_name(f"{folder.name}.unfinished-{os.getpid()}")
    yield unfinished
    unfinished.rename(folder)


class ForkRecall(RolloutCallback):
    """
    Compares the kept tokens of each rollout with the known forks of the task.

    Args:
        words (`Sequence[str]`):
            Vocabulary, by the number of the token.
        offsets (`Sequence[int]`):
            Places of the forks in an attempt.
    """

    def __init__(self, words: Sequence[str], offsets: Sequence[int]) -> None:
        self.precision: list[float | None] = []
        self.recall: list[float | None] = []
        self._words, self._offsets = words, offsets

    def on_rollout(self, args, state, control, rollout: Rollout, **kwargs) -> None:
        batch = rollout.batch
        if "kept" not in batch:  # each micro-batch selects by itself, later
            return
        forks = torch.tensor(
            [
                mark_forks([self._words[index] for index in row], self._offsets)
                for row in batch["completion_ids"].tolist()
            ]
        )
        kept, forks = batch["kept"].cpu().bool(), forks & batch["counted"].cpu().bool()
        num_both = int((kept & forks).sum())
        self.precision.append(num_both / int(kept.sum()) if kept.any() else None)
        self.recall.append(num_both / int(forks.sum()) if forks.any() else None)

    def list_shares(self) -> dict[str, list[float | None]]:
        """Return the columns of the log: what share of the kept tokens are forks, and what share of the forks is kept."""
        return {"precision": self.precision, "recall": self.recall}


class Snapshots(TrainerCallback):
    """Keeps copies of the weights, by step."""

    def __init__(self, num_steps: int) -> None:
        self.steps = {max(round(share * num_steps), 1) for share in SNAPSHOTS}
        self.weights: dict[int, dict[str, torch.Tensor]] = {}

    def on_step_end(self, args, state, control, model=None, **kwargs) -> None:
        if state.global_step in self.steps:
            self.weights[state.global_step] = {name: value.clone() for name, value in model.state_dict().items()}


def build_trainer(
    settings: dict[str, Any], seed: int, num_steps: int, folder: str, trainer_class: type = ForkingGRPOTrainer
) -> ForkingGRPOTrainer:
    """
    Build the trainer of a run. All arms of a seed see the same problems in the same order.

    Args:
        settings (`dict`):
            Settings of the arm.
        seed (`int`):
            Seed of the problems and of the answers.
        num_steps (`int`):
            Number of steps. The learning rate falls to zero over them.
        folder (`str`):
            Output folder.
        trainer_class (`type`, *optional*, defaults to [`ForkingGRPOTrainer`]):
            Class of the trainer.

    Returns:
        [`ForkingGRPOTrainer`]: the trainer. It prints nothing.
    """
    config = ForkingGRPOConfig(
        folder, **(COMMON_SETTINGS | settings), max_steps=num_steps, seed=seed, use_cpu=not torch.cuda.is_available()
    )
    trainer = trainer_class(
        model=load_countdown_model(),
        reward_funcs=countdown_reward,
        args=config,
        train_dataset=make_countdown_dataset("train", min(16 * num_steps, NUM_PROBLEMS["train"]), seed=seed),
        processing_class=load_countdown_tokenizer(),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def read_log(trainer: ForkingGRPOTrainer) -> dict[str, list[float | None]]:
    """Return a list with a number for each step of a run, for each value of [`LOGGED`]."""
    entries = [entry for entry in trainer.state.log_history if "reward" in entry]
    return {name: [entry.get(key) for entry in entries] for name, key in LOGGED.items()}


def train(
    settings: dict[str, Any], seed: int, num_steps: int
) -> tuple[ForkingGRPOTrainer, dict[int, dict[str, torch.Tensor]], dict[str, list[float | None]]]:
    """
    Train an arm with a seed.

    Args:
        settings (`dict`):
            Settings of the arm.
        seed (`int`):
            Seed.
        num_steps (`int`):
            Number of steps.

    Returns:
        The trainer after its last step, copies of its weights by step, and the log: a list with a number for each step.
    """
    agreement, snapshots = ForkRecall(VOCABULARY, FORK_OFFSETS), Snapshots(num_steps)
    with tempfile.TemporaryDirectory() as folder:
        trainer = build_trainer(settings, seed, num_steps, folder)
        trainer.add_callback(agreement)
        trainer.add_callback(snapshots)
        trainer.train()
    return trainer, snapshots.weights, read_log(trainer) | agreement.list_shares()
