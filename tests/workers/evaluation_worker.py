"""One process of an evaluation on the fixed answers; `torchrun` starts as many as a test asks for.

Run: torchrun --nproc_per_node 2 tests/workers/evaluation_worker.py OUTPUT_FILE '[{"per_device_eval_batch_size": 8, ...}, ...]'
"""

import json
import os
import sys
import tempfile

import torch

from helpers.processes import leave_together
from helpers.tiny import build_dataset, build_trainer


def main() -> None:
    output_file, all_settings = sys.argv[1], json.loads(sys.argv[2])
    records = [run_step(settings) for settings in all_settings]
    if int(os.environ.get("RANK", 0)) == 0:
        torch.save(records, output_file)
    leave_together()


def run_step(settings: dict) -> dict:
    """Evaluate, and return what was logged; with `trains` train one step, and return the log of that."""
    size, trains = settings.pop("num_problems"), settings.pop("trains", False)
    trainer = build_trainer(tempfile.mkdtemp(), trainer_kwargs={"eval_dataset": build_dataset(size)}, **settings)
    if trains:
        trainer.train()
        return trainer.state.log_history[0]
    return trainer.evaluate()


if __name__ == "__main__":
    main()
