"""
Train one arm with one seed, evaluate it, and write its record.

    python examples/experiments/run_arm.py top_20 --seed 0
"""

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from arms import ARMS
from measuring import evaluate, follow_forks
from new_record import build_record, build_record_before
from records import BEFORE, RESULTS, locate, write
from training import NUM_STEPS, train

from trl_forking.commands.quiet import quiet_libraries
from trl_forking.countdown import NUM_PROBLEMS, load_countdown_model


def run(arm: str, seed: int, num_steps: int, num_problems: int) -> dict[str, Any]:
    """Train an arm with a seed, and return its record."""
    start = time.perf_counter()
    trainer, weights, log = train(ARMS[arm].settings, seed, num_steps)
    trained = time.perf_counter()
    figures, answers = evaluate(trainer.model, num_problems)
    seconds = {"training": trained - start, "evaluation": time.perf_counter() - trained}
    figures["forks"] = follow_forks(answers, weights)
    return build_record(arm, seed, num_steps, seconds, figures, log)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train one arm of the grid with one seed.")
    parser.add_argument("arm", choices=[*ARMS, "before"], help="arm of arms.py, or `before` for the model as it is")
    parser.add_argument("--seed", type=int, default=0, help="seed (default: 0)")
    parser.add_argument("--num_steps", type=int, default=NUM_STEPS, help=f"steps (default: {NUM_STEPS})")
    parser.add_argument("--num_problems", type=int, default=NUM_PROBLEMS["eval"], help="problems (default: all)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the records")
    arguments = parser.parse_args()

    quiet_libraries()
    # Sums depend on the number of threads, and so would the figures.
    torch.set_num_threads(1)
    if arguments.arm == "before":
        figures, _ = evaluate(load_countdown_model(), arguments.num_problems)
        write(arguments.results / BEFORE, build_record_before(figures))
        return
    record = run(arguments.arm, arguments.seed, arguments.num_steps, arguments.num_problems)
    write(locate(arguments.results, arguments.arm, arguments.seed), record)


if __name__ == "__main__":
    main()
