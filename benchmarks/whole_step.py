"""What a whole step costs, generation included: with this library and with TRL's own mask.

The trainers take turns in one process, step by step, on the same prompts, so that a change of the machine's speed affects all
of them. Each trains a copy of the model. Sampling begins every step with the same seed, so that the answers of a step are the
same as long as the weights are; the tiny learning rate keeps them close. The time is split into generation, scoring pass, and
the rest, which is rewards, selection, forward, backward and optimizer.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/whole_step.py --task countdown --steps 12
    OMP_WAIT_POLICY=PASSIVE python benchmarks/whole_step.py --task smollm2 --steps 3
"""

import argparse
import json
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
import trl
from real_tasks import TASKS, build_trainer
from timing import synchronize

from trl_forking.rollout.sampled_entropies import SampledEntropies
from trl_forking.writing.files import write_atomically
from trl_forking.writing.markdown import format_table
from trl_forking.writing.numbers import format_percent


# By name: whether it is this library, and its settings.
KINDS: dict[str, tuple[bool, dict[str, Any]]] = {
    "TRL's mask": (False, {}),
    "scoring pass": (True, {"entropy_from_generation": False}),
    "no scoring pass": (True, {}),
}


PARTS = ("step", "generation", "scoring", "rest")


class Stopwatch:
    """Adds up the seconds that methods take."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def watch(self, owner: Any, method: str) -> None:
        original: Callable = getattr(owner, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = synchronize()
            try:
                return original(*args, **kwargs)
            finally:
                self.seconds[method] = self.seconds.get(method, 0.0) + synchronize() - start

        setattr(owner, method, timed)


def prepare(task: str, kind: str, steps: int, watch: Stopwatch) -> Any:
    is_forking, settings = KINDS[kind]
    trainer = build_trainer(task, is_forking, steps, torch.float32, **settings)
    watch.watch(trainer, "_generate_single_turn")
    if is_forking:
        watch.watch(trainer, "score_rollout")
    trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
    trainer.create_optimizer_and_scheduler(steps)
    trainer.model.train()
    return trainer


def run_step(trainer: Any, watch: Stopwatch, prompts: list[dict[str, Any]]) -> dict[str, float]:
    """Make one optimizer step. Return the seconds of all of it and of its parts."""
    watch.seconds.clear()
    torch.manual_seed(trainer._step)
    rows = [dict(row) for row in prompts for _ in range(trainer.num_generations)]
    start = synchronize()
    for _ in range(trainer.args.gradient_accumulation_steps):
        trainer.training_step(trainer.model, rows, num_items_in_batch=None)
    trainer.optimizer.step()
    trainer.optimizer.zero_grad()
    seconds = synchronize() - start
    generation, scoring = (watch.seconds.get(name, 0.0) for name in ("_generate_single_turn", "score_rollout"))
    noting, splitting = (watch.seconds.get(name, 0.0) for name in ("note", "split"))
    parts = {"step": seconds, "generation": generation, "scoring": scoring, "rest": seconds - generation - scoring}
    return parts | {"entropies": (noting + splitting) / (generation - noting)}


def measure(task: str, steps: int, warm_up: int = 1) -> dict[str, dict[str, float]]:
    watch = Stopwatch()
    watch.watch(SampledEntropies, "note")
    watch.watch(SampledEntropies, "split")
    trainers = {kind: prepare(task, kind, steps + warm_up, watch) for kind in KINDS}
    records: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    for step in range(steps + warm_up):
        for kind, trainer in trainers.items():
            size = trainer.args.generation_batch_size // trainer.num_generations
            prompts = list(trainer.train_dataset.select(range(size * step, size * (step + 1))))
            record = run_step(trainer, watch, prompts)
            if step >= warm_up:
                records[kind].append(record)
    return {kind: {name: statistics.median(r[name] for r in rs) for name in rs[0]} for kind, rs in records.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=TASKS, default="countdown")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    transformers.utils.logging.set_verbosity_error()
    start = time.perf_counter()
    result = measure(arguments.task, arguments.steps)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    versions = f"torch {torch.__version__}, trl {trl.__version__}, transformers {transformers.__version__}"
    print(f"{device}; Python {platform.python_version()}, {versions}; medians of {arguments.steps} steps")
    print(f"{arguments.task}, float32; {time.perf_counter() - start:.0f} s in all\n")
    columns = ["trainer", *PARTS, "TRL's step over it"]
    theirs = result["TRL's mask"]["step"]
    rows = [
        [kind, *(f"{parts[name]:.2f} s" for name in PARTS), f"{theirs / parts['step']:.2f}"]
        for kind, parts in result.items()
    ]
    print(format_table(columns, rows))
    extra = result["no scoring pass"]["entropies"]
    print(f"\nTaking the entropies adds {format_percent(extra, 2)} to generation.")
    if arguments.json:
        content = {"task": arguments.task, "device": device, "versions": versions, "result": result}
        write_atomically(arguments.json, json.dumps(content, indent=2))


if __name__ == "__main__":
    main()
