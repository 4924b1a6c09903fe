"""How far approximate gradients are from the exact one of the kept tokens, on a real model, over a training.

A model is trained on the exact gradient of the top 20 %. Every few steps one rollout is looked at: the gradient of the same kept tokens on
the fork path with several windows, and that of all tokens. The cosine is taken over all weights.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/gradient_cosines.py --task smollm2 --steps 8 --every 4 --json gradient_cosines.json
"""

import argparse
import copy
import json
import warnings
from pathlib import Path
from typing import Any

import torch
import transformers
from real_tasks import TASKS, build_trainer
from transformers import TrainerCallback

from trl_forking.selection.token_selector import get_loss_mask
from trl_forking.update.fork_path_mixin import ForkPathMixin
from trl_forking.writing.files import write_atomically
from trl_forking.writing.markdown import format_table


def compute_gradient(trainer: Any, parts: list[dict[str, Any]], **settings: Any) -> torch.Tensor:
    """Compute the gradient of a rollout, in its micro-batches, with other settings than those of the trainer."""
    args, trainer.args = trainer.args, copy.copy(trainer.args)
    for name, value in settings.items():
        setattr(trainer.args, name, value)
    parameters = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]
    total = torch.zeros(sum(parameter.numel() for parameter in parameters))
    try:
        for part in parts:
            gradients = torch.autograd.grad(trainer.compute_loss(trainer.model, part), parameters)
            total += torch.cat([gradient.flatten().float().cpu() for gradient in gradients])
    finally:
        trainer.args = args
    return total


def keep_all(part: dict[str, Any]) -> dict[str, Any]:
    """Keep every token of a micro-batch that carries loss; the size of the gradient does not matter here."""
    mask = get_loss_mask(part)
    return part | {"kept": mask, "counted": mask}


def compare(trainer: Any, windows: list[int]) -> dict[str, float]:
    """Compare the gradients of the rollout that is about to be trained with the exact one of its kept tokens."""
    parts, metrics = trainer._buffered_inputs, copy.deepcopy(trainer._metrics)
    exact = compute_gradient(trainer, parts)
    found = {}
    for window in windows:
        gradient = compute_gradient(trainer, parts, gradient_path="forks", gradient_path_window=window)
        found[f"fork path, window {window}"] = torch.cosine_similarity(gradient, exact, dim=0).item()
    everything = compute_gradient(trainer, [keep_all(part) for part in parts])
    found["all tokens"] = torch.cosine_similarity(everything, exact, dim=0).item()
    trainer._metrics = metrics
    return found


class CompareBefore(TrainerCallback):
    """Compares before the optimizer steps of some numbers, which trains on its own gradient as if nothing had been."""

    def __init__(self, every: int, windows: list[int]):
        self.every, self.windows, self.records, self.trainer = every, windows, [], None

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        if state.global_step % self.every:
            return
        found = compare(self.trainer, self.windows)
        self.records.append({"step": state.global_step, **found})
        print(self.records[-1], flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=TASKS, default="smollm2")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--windows", type=int, nargs="*", default=[0, 1, 4])
    parser.add_argument("--learning-rate", type=float, default=1e-5)
    parser.add_argument("--answers", type=int, help="answers of a rollout, which are one micro-batch")
    parser.add_argument("--tokens", type=int, help="longest answer")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    transformers.utils.logging.set_verbosity_error()
    settings = {"learning_rate": arguments.learning_rate}
    if arguments.answers:
        settings |= {"per_device_train_batch_size": arguments.answers, "gradient_accumulation_steps": 1}
    if arguments.tokens:
        settings |= {"max_completion_length": arguments.tokens}
    trainer = build_trainer(arguments.task, True, arguments.steps, torch.float32, **settings)
    assert isinstance(trainer, ForkPathMixin)
    callback = CompareBefore(arguments.every, arguments.windows)
    callback.trainer = trainer
    trainer.add_callback(callback)
    trainer.train()
    columns = list(callback.records[0])
    rows = [[f"{row['step']}", *(f"{row[name]:.3f}" for name in columns[1:])] for row in callback.records]
    print(f"\n{format_table(columns, rows)}")
    if arguments.json:
        write_atomically(arguments.json, json.dumps({"task": arguments.task, "records": callback.records}, indent=2))


if __name__ == "__main__":
    main()
