"""How long one of two processes waits for the other in an update, with `balance_ranks` and without.

Two processes under DDP train a made-up model on answers whose lengths differ between the processes. Each counts the
processor's time for the forward and backward passes of a step, which waiting does not move. A process that is done waits, so that its
idle share is one minus its time over that of the slower one.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/idle_time.py
"""

import argparse
import json
import os
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from answer_lengths import draw_lengths
from datasets import Dataset
from made_up_models import build_config, build_tokenizer
from transformers import Qwen3ForCausalLM

from trl_forking import ForkingGRPOConfig, ForkingGRPOTrainer
from trl_forking.writing.files import write_atomically
from trl_forking.writing.markdown import format_table
from trl_forking.writing.numbers import format_percent


RANKS, NUM_GENERATIONS, MICRO_BATCH = 2, 4, 4
SETTINGS = {
    "as TRL deals them": {"balance_micro_batches": False, "balance_ranks": False},
    "within a process": {"balance_ranks": False},
    "over both processes": {},
}


class Answers:
    """A `rollout_func` and a reward: random answers of this process."""

    def __init__(self, num_answers: int, cap: int, seed: int, zero_variance: bool):
        lengths = draw_lengths((RANKS * num_answers,), cap, np.random.default_rng(seed))
        rank = int(os.environ["RANK"])
        generator = torch.Generator().manual_seed(rank)
        own = lengths[rank * num_answers : (rank + 1) * num_answers].tolist()
        self.answers = [torch.randint(3, 9000, (length,), generator=generator).tolist() for length in own]
        self.is_zero_variance = zero_variance and rank == 0

    def roll_out(self, prompts: list[str], trainer: Any) -> dict[str, Any]:
        return {"prompt_ids": [[3] * 16] * len(prompts), "completion_ids": self.answers, "logprobs": None}

    def reward(self, completions: list, **kwargs: Any) -> list[float]:
        return [1.0 if self.is_zero_variance else float(index % 2) for index in range(len(completions))]


def measure(settings: dict[str, bool], arguments: argparse.Namespace, zero_variance: bool) -> list[float]:
    """Return the median seconds of processor time that each process takes for the passes of a step."""
    answers = Answers(arguments.answers, arguments.tokens, arguments.seed, zero_variance)
    torch.manual_seed(0)
    num_parts = arguments.answers // MICRO_BATCH
    trainer = ForkingGRPOTrainer(
        model=Qwen3ForCausalLM(build_config("Qwen3-0.6B, equal shares", scale_down=True)),
        reward_funcs=answers.reward,
        args=ForkingGRPOConfig(
            tempfile.mkdtemp(),
            max_steps=1,
            per_device_train_batch_size=MICRO_BATCH,
            gradient_accumulation_steps=num_parts,
            num_generations=NUM_GENERATIONS,
            max_completion_length=arguments.tokens,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            **settings,
        ),
        train_dataset=Dataset.from_dict({"prompt": ["?"] * arguments.answers * RANKS}),
        processing_class=build_tokenizer(),
        rollout_func=answers.roll_out,
    )
    trainer.current_gradient_accumulation_steps = num_parts
    trainer.model.train()
    rows = list(trainer.train_dataset.select(range(arguments.answers)))
    seconds = []
    for _ in range(arguments.repeats + 1):
        trainer._step, trainer._buffered_inputs = 0, None
        first, begun = trainer._prepare_inputs(rows), time.process_time()
        for step in range(num_parts):
            trainer._step = step
            inputs = first if step == 0 else trainer._prepare_inputs(rows)
            trainer.accelerator.backward(trainer.compute_loss(trainer.model, inputs))
        seconds.append(time.process_time() - begun)
    own = torch.tensor([statistics.median(seconds[1:])])  # the first is a warm-up
    return trainer.accelerator.gather(own).tolist()


def run_process(rank: int, arguments: argparse.Namespace, output: str) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(RANKS)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(arguments.port)}
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    transformers.utils.logging.set_verbosity_error()
    results = [
        {"answers": name, "zero_variance": zero_variance, "seconds": measure(settings, arguments, zero_variance)}
        for zero_variance in (False, True)
        for name, settings in SETTINGS.items()
    ]
    if rank == 0:
        write_atomically(Path(output), json.dumps(results))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, default=32, help="answers of a process in a step")
    parser.add_argument("--tokens", type=int, default=256, help="longest answer")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--port", type=int, default=29_519)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        output = f"{folder}/result.json"
        torch.multiprocessing.spawn(run_process, args=(arguments, output), nprocs=RANKS)
        text = Path(output).read_text()
    rows = []
    for result in json.loads(text):
        seconds = result["seconds"]
        groups = "those of the first process are all zero-variance" if result["zero_variance"] else "all informative"
        idle = format_percent(1 - min(seconds) / max(seconds), 1)
        rows.append(
            [groups, result["answers"], *(f"{value:.2f} s" for value in seconds), f"{max(seconds):.2f} s", idle]
        )
    print(format_table(["groups", "answers are dealt", "first process", "second", "step", "idle"], rows))
    if arguments.json:
        write_atomically(arguments.json, text)


if __name__ == "__main__":
    main()
