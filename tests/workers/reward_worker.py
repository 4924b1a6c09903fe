"""Trains in two processes, of which the second has a reward that is not finite, and writes what each one says.

Run: torchrun --nproc_per_node 2 tests/workers/reward_worker.py FOLDER
"""

import math
import os
import sys
from pathlib import Path

from helpers.processes import leave_together
from helpers.tiny import build_trainer


def judge(completions, **kwargs):
    rank = int(os.environ["RANK"])
    return [math.inf if rank and number == 3 else float(number % 2) for number in range(len(completions))]


def main() -> None:
    folder = Path(sys.argv[1])
    trainer = build_trainer(str(folder / "run"), reward_funcs=judge, gradient_accumulation_steps=4)
    try:
        trainer.train()
        said = "nothing"
    except ValueError as error:
        said = str(error)
    (folder / f"said-{os.environ['RANK']}.txt").write_text(said)
    leave_together()


if __name__ == "__main__":
    main()
