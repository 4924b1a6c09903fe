"""One process of a saved step on the fixed answers: writes the record of the run, and the card, into a folder.

Run: torchrun --nproc_per_node 2 tests/workers/card_worker.py FOLDER NUM_PROCESSES
"""

import sys

from helpers.processes import leave_together
from helpers.tiny import build_trainer


def train_and_save(folder: str, num_processes: int = 1) -> None:
    trainer = build_trainer(folder, gradient_accumulation_steps=8 // num_processes)
    trainer.train()
    trainer.save_model()


if __name__ == "__main__":
    train_and_save(sys.argv[1], int(sys.argv[2]))
    leave_together()
