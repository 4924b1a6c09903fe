"""
Measure the seconds of a step, apart from the grid: generation, scoring and update of each arm. Use an idle machine.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python examples/experiments/clock.py

The arms take turns, so that a slow minute of the machine meets all of them alike. The figures are medians.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from arms import ARMS
from new_record import describe_machine
from records import RESULTS, write
from training import build_trainer
from transformers import TrainerCallback

from trl_forking import ForkingGRPOTrainer
from trl_forking.commands.quiet import quiet_libraries


CLOCK = "clock.json"
NUM_SKIPPED = 2  # the first steps allocate memory


class TimedTrainer(ForkingGRPOTrainer):
    """Notes the seconds of each part of a step."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seconds: dict[str, list[float]] = {"rollout": [], "scoring": []}

    def _generate_and_score_completions(self, inputs):
        start, num_scored = time.perf_counter(), len(self.seconds["scoring"])
        batch = super()._generate_and_score_completions(inputs)
        self.seconds["rollout"].append(time.perf_counter() - start)
        if len(self.seconds["scoring"]) == num_scored:
            self.seconds["scoring"].append(0.0)
        return batch

    def score_rollout(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        start = time.perf_counter()
        entropies = super().score_rollout(*args, **kwargs)
        self.seconds["scoring"].append(time.perf_counter() - start)
        return entropies


class StepClock(TrainerCallback):
    """Notes the seconds from the beginning of a step to the end of its optimizer step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_step_begin(self, args, state, control, **kwargs) -> None:
        self._start = time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs) -> None:
        self.seconds.append(time.perf_counter() - self._start)


def time_steps(settings: dict[str, Any], seed: int, num_steps: int) -> list[dict[str, float]]:
    """
    Time the steps of an arm.

    Args:
        settings (`dict`):
            Settings of the arm.
        seed (`int`):
            Seed of the run.
        num_steps (`int`):
            Number of steps.

    Returns:
        `list[dict]`: for each step after the first two, the seconds of `generation` (with rewards), `scoring` and `update`.
    """
    clock = StepClock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = build_trainer(settings, seed, num_steps, folder, TimedTrainer)
        trainer.add_callback(clock)
        trainer.train()
    parts = zip(clock.seconds, trainer.seconds["rollout"], trainer.seconds["scoring"], strict=True)
    return [
        {"generation": rollout - scoring, "scoring": scoring, "update": step - rollout}
        for step, rollout, scoring in list(parts)[NUM_SKIPPED:]
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the seconds of a step of each arm.")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS), help="arms (default: all)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each arm (default: 3)")
    parser.add_argument("--num_steps", type=int, default=8, help="steps in a turn (default: 8)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the file")
    arguments = parser.parse_args()

    quiet_libraries()
    torch.set_num_threads(1)
    steps: dict[str, list[dict[str, float]]] = {name: [] for name in arguments.arms}
    for seed in range(arguments.rounds):
        for name in arguments.arms:
            steps[name] += time_steps(ARMS[name].settings, seed, arguments.num_steps)
    seconds = {
        name: {part: statistics.median(step[part] for step in each) for part in each[0]}
        for name, each in steps.items()
    }
    num_timed = arguments.rounds * (arguments.num_steps - NUM_SKIPPED)
    write(arguments.results / CLOCK, {**describe_machine(), "num_steps": num_timed, "seconds": seconds})
    for name, parts in seconds.items():
        print(f"{name:<24}" + "  ".join(f"{part} {value:.3f} s" for part, value in parts.items()))


if __name__ == "__main__":
    main()
