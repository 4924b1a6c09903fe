"""What dealing answers to micro-batches and exchanging them between processes costs, beside the step that it is for.

The rows are made up, and no model runs: each process has its part of a rollout in the tensors that training buffers, with
long-tailed lengths. The time is that of all that happens between TRL's split of a rollout and the first micro-batch: lengths,
plan, exchange (gloo, on this machine) and the new micro-batches.

A step takes six operations for each weight and each token that is no padding, at a given share of a GPU's rate: attention, the
scoring pass, generation and optimizer are left out, so that the share of the overhead is too large rather than too small.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/balance_overhead.py
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from answer_lengths import draw_lengths

from trl_forking import ForkingGRPOConfig
from trl_forking.countdown import load_countdown_model
from trl_forking.update.micro_batch_facts import MicroBatchFacts
from trl_forking.update.micro_batch_mixin import MicroBatchMixin
from trl_forking.writing.files import write_atomically
from trl_forking.writing.numbers import format_percent


PROMPT_LENGTH = 128


def build_parts(lengths: np.ndarray, num_parts: int, seed: int) -> list[dict[str, Any]]:
    """Build the parts of one process's rollout, as TRL buffers them after the tokens were selected."""
    generator = torch.Generator().manual_seed(seed)
    answers, width = torch.from_numpy(lengths), int(lengths.max())
    mask = torch.arange(width) < answers.unsqueeze(1)
    batch = {
        "prompt_ids": torch.randint(3, 9, (len(answers), PROMPT_LENGTH), generator=generator),
        "prompt_mask": torch.ones(len(answers), PROMPT_LENGTH, dtype=torch.long),
        "completion_ids": torch.randint(3, 9, mask.shape, generator=generator) * mask,
        "completion_mask": mask.long(),
        "entropies": torch.rand(mask.shape, generator=generator) * mask,
        "counted": mask,
        "kept": mask & (torch.rand(mask.shape, generator=generator) < 0.2),
        "advantages": torch.randn(len(answers), generator=generator),
        "row_ids": torch.arange(len(answers)),
    }
    size = len(answers) // num_parts
    cut = {name: value.split(size) for name, value in batch.items()}
    return [{name: parts[number] for name, parts in cut.items()} for number in range(num_parts)]


def build_arranger(arguments: argparse.Namespace, num_parts: int) -> Any:
    """Build what arranges rollouts in the trainer, without the rest of it."""
    arranger = object.__new__(MicroBatchMixin)
    arranger.args = arranger.rollout_settings = ForkingGRPOConfig(
        tempfile.mkdtemp(),
        per_device_train_batch_size=arguments.micro_batch,
        gradient_accumulation_steps=num_parts,
        max_completion_length=arguments.tokens,
        balance_ranks=not arguments.keep_ranks,
        use_cpu=True,
        report_to="none",
    )
    arranger.accelerator, arranger.model = Accelerator(cpu=True), load_countdown_model()
    arranger._is_sparse = arranger.leaves_out_padding = True
    arranger.aux_loss_enabled, arranger.pad_to_multiple_of = False, None
    arranger._tokenizer = SimpleNamespace(pad_token_id=0)
    return arranger


def run_process(rank: int, arguments: argparse.Namespace, output: str) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(arguments.ranks)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(arguments.port)}
    torch.set_num_threads(1)
    lengths = draw_lengths((arguments.answers,), arguments.tokens, np.random.default_rng(0))
    if arguments.fixed_lengths:
        lengths[:] = arguments.tokens
    num_rows = arguments.answers // arguments.ranks
    num_parts = num_rows // arguments.micro_batch
    arranger = build_arranger(arguments, num_parts)
    parts = build_parts(lengths[rank * num_rows : (rank + 1) * num_rows], num_parts, seed=rank)
    seconds = []
    for _ in range(arguments.repeats + 1):
        torch.distributed.barrier()
        start = time.perf_counter()
        arranged = arranger._arrange(list(parts))
        torch.distributed.barrier()
        seconds.append(time.perf_counter() - start)
    facts = MicroBatchFacts.read_from(arranged[0])
    if rank == 0 and facts is not None:
        step = (
            6 * arguments.weights * (lengths.sum() + PROMPT_LENGTH * len(lengths)) / arguments.ranks / arguments.rate
        )
        overhead = statistics.median(seconds[1:])  # the first is a warm-up
        result = {"overhead_s": overhead, "step_s": float(step), "share": overhead / float(step)}
        result |= {"padding_share": facts.padding_share, "rank_imbalance": facts.rank_imbalance}
        write_atomically(Path(output), json.dumps(vars(arguments) | result, default=str))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, default=512, help="answers of a rollout, over all processes")
    parser.add_argument("--tokens", type=int, default=20_480, help="longest answer")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--micro-batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--fixed-lengths", action="store_true", help="all answers have the longest length")
    parser.add_argument("--keep-ranks", action="store_true", help="no exchange between processes")
    parser.add_argument("--weights", type=float, default=8e9, help="weights of the model that a step is computed for")
    parser.add_argument("--rate", type=float, default=400e12, help="operations per second of a process's GPU")
    parser.add_argument("--port", type=int, default=29_517)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        output = f"{folder}/result.json"
        torch.multiprocessing.spawn(run_process, args=(arguments, output), nprocs=arguments.ranks)
        text = Path(output).read_text()
    result = json.loads(text)
    print(
        f"{arguments.answers} answers of at most {arguments.tokens} tokens on {arguments.ranks} processes: "
        f"{result['overhead_s']:.2f} s for a step of {result['step_s']:.1f} s, {format_percent(result['share'], 2)}; padding "
        f"{result['padding_share']:.3f}, imbalance {result['rank_imbalance']:.3f}"
    )
    if arguments.json:
        write_atomically(arguments.json, text)


if __name__ == "__main__":
    main()
