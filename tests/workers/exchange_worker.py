"""One process that exchanges made-up rows with another, and records what it got and how much was sent.

Run: torchrun --nproc_per_node 2 tests/workers/exchange_worker.py OUTPUT_FILE '[{"seed": 0, ...}, ...]'
"""

import json
import os
import sys

import torch

from helpers.processes import leave_together
from trl_forking.update.exchange import exchange_rows
from trl_forking.update.micro_batches import take_rows


def build_part(rank: int, seed: int, num_rows: int = 6, dtype: str = "float32") -> dict:
    """Rows of one rank, with other widths of prompts and answers than those of the other; numbers name row and column."""
    generator = torch.Generator().manual_seed(seed + rank)
    num_prompt, num_answer = (5, 9) if rank == 0 else (3, 12)
    prompts = torch.randint(1, num_prompt + 1, (num_rows,), generator=generator)
    answers = torch.randint(0, num_answer + 1, (num_rows,), generator=generator)
    answers[0] = num_answer
    prompt_mask = (torch.arange(num_prompt) >= num_prompt - prompts.unsqueeze(1)).long()
    mask = (torch.arange(num_answer) < answers.unsqueeze(1)).long()
    ids = 10_000 * rank + 100 * torch.arange(num_rows).unsqueeze(1)
    return {
        "prompt_ids": (ids + torch.arange(num_prompt)) * prompt_mask,
        "prompt_mask": prompt_mask,
        "completion_ids": (ids + 50 + torch.arange(num_answer)) * mask,
        "completion_mask": mask,
        "kept": mask.bool() & (torch.arange(num_answer) % 2 == 0),
        "entropies": torch.rand(num_rows, num_answer, generator=generator).to(getattr(torch, dtype)) * mask,
        "importance_sampling_ratio": torch.rand(num_rows, 1, generator=generator),
        "advantages": torch.randn(num_rows, generator=generator),
        "row_ids": num_rows * rank + torch.arange(num_rows),
        "num_items_in_batch": torch.tensor(7),
    }


def exchange(settings: dict) -> dict:
    rank, plan = torch.distributed.get_rank(), settings["plan"]
    parts = [build_part(r, settings["seed"], dtype=settings.get("dtype", "float32")) for r in range(2)]
    sizes = [
        torch.stack([part["prompt_mask"].sum(1), part["completion_mask"].sum(1)], dim=1).clamp(min=1) for part in parts
    ]
    sent = []
    all_to_all = torch.distributed.all_to_all_single

    def count(output, values, *splits):
        sent.append(sum(number for to, number in enumerate(splits[1]) if to != rank))
        return all_to_all(output, values, *splits)

    torch.distributed.all_to_all_single = count
    try:
        rows = exchange_rows(take_rows(parts[rank]), parts[rank], torch.stack(sizes), plan, rank)
    finally:
        torch.distributed.all_to_all_single = all_to_all
    records = [None, None]
    torch.distributed.all_gather_object(records, {"rows": rows, "bytes": sum(sent), "calls": len(sent)})
    return {"ranks": records}


def main() -> None:
    torch.distributed.init_process_group("gloo")
    records = [exchange(settings) for settings in json.loads(sys.argv[2])]
    if int(os.environ["RANK"]) == 0:
        torch.save(records, sys.argv[1])
    leave_together()


if __name__ == "__main__":
    main()
