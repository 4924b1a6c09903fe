"""One random run: killed and resumed against uninterrupted, resumed in another layout, and at rho 1.0 against TRL."""

import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from helpers.tiny import build_trainer
from trl_forking import ForkingGRPOConfig

from .settings import ARCHITECTURES, MAX_STEPS, build, draw_settings


OURS = set(ForkingGRPOConfig.__annotations__) - {"loss_type", "epsilon_high", "top_entropy_quantile"}
# The gradient of these is the same on every split of a step into micro-batches.
INVARIANT = {"dapo", "cispo"}


class Killed(Exception):
    """What ends a training in the middle of a step."""


class Kill(TrainerCallback):
    """Raises in an optimizer step after `step`, in its first micro-batch or at its end."""

    def __init__(self, step: int, at_end: bool):
        self.step, self.at_end = step, at_end

    def on_substep_end(self, args, state, control, **kwargs):
        if state.global_step == self.step and not self.at_end:
            raise Killed

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise Killed


def try_run(seed: int, folder: Path) -> dict[str, int]:
    """Run the trial of a seed. Raises `AssertionError` where two runs that have to be the same are not."""
    source = random.Random(seed)
    architecture, settings = source.choice(ARCHITECTURES), draw_settings(source)
    label = f"seed {seed}: {architecture}, {settings}"
    whole = train(folder / "whole", architecture, settings)
    step = source.randint(1, MAX_STEPS - 1)
    counts = {"configurations": 1, "resumes": 0, "layouts": 0, "against TRL": 0}
    if whole["steps"] > step:  # dynamic sampling can run out of prompts
        compare(
            resume_killed(source, folder, architecture, settings, step), whole, f"killed after step {step}, {label}"
        )
        resumed = train(folder / "resumed", architecture, settings, folder / "whole" / f"checkpoint-{step}")
        compare(resumed, whole, f"resumed from step {step}, {label}")
        compare_layout(source, folder, architecture, settings, step, whole, label)
        counts |= {"resumes": 2, "layouts": 1}
    if settings["top_entropy_quantile"] == 1.0 and not settings["dynamic_sampling"]:
        compare_with_trl(folder, architecture, settings, label)
        counts["against TRL"] = 1
    return counts


def train(
    folder: Path, architecture: str, settings: dict[str, Any], checkpoint: Any = None, **more: Any
) -> dict[str, Any]:
    trainer = make(folder, architecture, settings, **more)
    torch.manual_seed(len(str(checkpoint)) if checkpoint else 0)  # a new process has another state
    trainer.train(resume_from_checkpoint=str(checkpoint) if isinstance(checkpoint, Path) else checkpoint)
    return describe(trainer)


def make(folder: Path, architecture: str, settings: dict[str, Any], **more: Any) -> Any:
    saving = {"save_strategy": "steps", "save_steps": 1, "rollout_func": None, "max_completion_length": 8}
    return build_trainer(str(folder), model=build(architecture), **(saving | settings | more))


def describe(trainer: Any) -> dict[str, Any]:
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    names = ("loss", "reward", "grad_norm", "forking/kept_fraction", "forking/threshold")
    return {
        "steps": trainer.state.global_step,
        "logs": [{name: entry.get(name) for name in names} for entry in logs],
        "weights": torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()]),
    }


def compare(run: dict[str, Any], whole: dict[str, Any], label: str) -> None:
    assert run["steps"] == whole["steps"], f"{run['steps']} steps and {whole['steps']}: {label}"
    assert str(run["logs"]) == str(whole["logs"]), f"other logs: {label}"
    assert torch.equal(run["weights"], whole["weights"]), f"other weights: {label}"


def resume_killed(source: random.Random, folder: Path, architecture: str, settings: dict, step: int) -> dict[str, Any]:
    trainer = make(folder / "killed", architecture, settings)
    trainer.add_callback(Kill(step, source.random() < 0.5))
    torch.manual_seed(0)
    with suppress(Killed):
        trainer.train()
    return train(folder / "killed", architecture, settings, True)


def compare_layout(
    source: random.Random, folder: Path, architecture: str, settings: dict, step: int, whole: dict, label: str
) -> None:
    """Resume with half of each micro-batch and twice as many: the same answers, and where the loss allows it the same weights."""
    size = settings["per_device_train_batch_size"] // 2
    layout = {"per_device_train_batch_size": size} | {
        name: 2 * settings[name] for name in ("gradient_accumulation_steps", "steps_per_generation")
    }
    checkpoint = folder / "whole" / f"checkpoint-{step}"
    resumed = train(folder / "layout", architecture, settings | layout, checkpoint)
    assert resumed["steps"] >= step + 1, f"another layout, {label}"
    assert torch.isfinite(resumed["weights"]).all(), f"another layout, {label}"
    at_boundary = torch.load(checkpoint / "forking_progress_0.pt", weights_only=True)["rollout"] is None
    if at_boundary and settings["loss_type"] in INVARIANT and settings["selection_scope"] != "micro_batch":
        rewards = [entry["reward"] for entry in resumed["logs"]], [entry["reward"] for entry in whole["logs"]]
        assert rewards[0][: step + 1] == rewards[1][: step + 1], f"other answers in another layout, {label}"


def compare_with_trl(folder: Path, architecture: str, settings: dict[str, Any], label: str) -> None:
    plain = {"sparse_update": False, "selection_scope": "batch"}
    ours = train(folder / "ours", architecture, settings | plain, save_strategy="no")
    shared = {name: value for name, value in settings.items() if name not in OURS} | {"top_entropy_quantile": 1.0}
    trl = {"trainer_class": GRPOTrainer, "config_class": GRPOConfig, "save_strategy": "no"}
    theirs = train(folder / "trl", architecture, shared, **trl)
    assert ours["steps"] == theirs["steps"], f"other steps than TRL: {label}"
    for first, second in zip(ours["logs"], theirs["logs"], strict=True):
        assert str((first["loss"], first["reward"])) == str((second["loss"], second["reward"])), (
            f"other logs than TRL: {label}"
        )
    assert torch.equal(ours["weights"], theirs["weights"]), f"other weights than TRL: {label}"
