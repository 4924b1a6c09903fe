"""A run on the built-in task with dynamic sampling that is killed and resumed, and one that is not.

Run: python tests/workers/killed_worker.py FOLDER MAX_STEPS KILLS; each run is a process of its own, and leaves a result.pt.
"""

import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import torch
from transformers import TrainerCallback

from trl_forking import ForkingGRPOConfig, ForkingGRPOTrainer
from trl_forking.countdown import (
    countdown_reward,
    load_countdown_model,
    load_countdown_tokenizer,
    make_countdown_dataset,
)
from trl_forking.run.checkpoints import find_last_complete


class Announcer(TrainerCallback):
    """Says when a step ends, for whoever is to kill it."""

    def __init__(self, pipe: int):
        self.pipe = pipe

    def on_step_end(self, args, state, control, **kwargs):
        os.write(self.pipe, f"{state.global_step}\n".encode())


def train(output_dir: str, max_steps: int, pipe: int) -> None:
    """Train, from the last complete checkpoint if there is one."""
    args = ForkingGRPOConfig(
        output_dir,
        dynamic_sampling=True,
        max_steps=max_steps,
        learning_rate=3e-4,
        per_device_train_batch_size=8,
        steps_per_generation=2,  # a rollout of two steps, so that half of the kills come within one
        num_generations=4,
        max_completion_length=52,
        bf16=False,
        gradient_checkpointing=False,
        logging_steps=1,
        save_steps=1,
        save_total_limit=2,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    trainer = ForkingGRPOTrainer(
        model=load_countdown_model(),
        reward_funcs=countdown_reward,
        args=args,
        train_dataset=make_countdown_dataset("train", num_problems=24, seed=0),  # several passes
        processing_class=load_countdown_tokenizer(),
        callbacks=[Announcer(pipe)],
    )
    trainer.train(resume_from_checkpoint=find_last_complete(output_dir) is not None)
    weights = torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    kept = [entry["forking/threshold"] for entry in trainer.state.log_history if "loss" in entry]
    torch.save({"weights": weights, "losses": losses, "thresholds": kept}, Path(output_dir) / "result.pt")


def start(output_dir: Path, max_steps: int) -> tuple[int, int]:
    """Start a run in a fork. Return the number of the process and what it announces its steps in."""
    announced, pipe = os.pipe()
    process = os.fork()
    if process:
        os.close(pipe)
        return process, announced
    code = 1
    try:
        train(str(output_dir), max_steps, pipe)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def main() -> None:
    folder, max_steps, num_kills = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    source, begun = random.Random(0), 0
    whole, _ = start(folder / "whole", max_steps)
    for _ in range(num_kills):
        process, announced = start(folder / "killed", max_steps)
        target = min(begun + source.choice([1, 2, 3]), max_steps - 1)
        with os.fdopen(announced) as steps:
            begun = next(step for step in map(int, steps) if step >= target)
        time.sleep(source.random() * 0.3)
        os.kill(process, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
    last, _ = start(folder / "killed", max_steps)
    for process in (whole, last):
        assert os.waitpid(process, 0)[1] == 0


if __name__ == "__main__":
    main()
