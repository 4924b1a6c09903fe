"""One process of a rollout that Transformers samples, under DDP, ZeRO-2, ZeRO-3 or FSDP2, and a step on it.

Run: torchrun --nproc_per_node 2 tests/workers/sampled_entropies_worker.py OUTPUT_FILE '[{"dynamic_sampling": true}, ...]' zero3
"""

import json
import os
import sys
import tempfile
from typing import Any

import torch

from helpers.processes import leave_together
from helpers.tiny import build_trainer, record_rollouts
from workers.sharded_worker import build_settings, pretend_fsdp2, set_deepspeed_environment


NUM_ANSWERS, MAX_LENGTH = 64, 12


def draw_by_row(trainer: Any) -> None:
    """Let the token of a row and a step depend on both and the model, and not on how the rows are split over ranks."""
    uniform = torch.rand(MAX_LENGTH, NUM_ANSWERS, generator=torch.Generator().manual_seed(0))
    steps = iter(uniform)

    def draw(probabilities: torch.Tensor, num_samples: int) -> torch.Tensor:
        first = trainer.accelerator.process_index * len(probabilities)
        thresholds = next(steps)[first : first + len(probabilities)].unsqueeze(1)
        return (
            (probabilities.double().cumsum(1) < thresholds).sum(1, keepdim=True).clamp(max=probabilities.size(1) - 1)
        )

    torch.multinomial = draw


def run_step(settings: dict, **arguments: Any) -> dict:
    """Sample, select and train once. Return the kept tokens, the entropies beside those of a scoring pass, and its calls."""
    draws, settings = settings.get("draws_by_row", False), {k: v for k, v in settings.items() if k != "draws_by_row"}
    sizes = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 4, "rollout_func": None}
    trainer = build_trainer(tempfile.mkdtemp(), **(sizes | settings), **arguments)
    multinomial, score_rollout, calls, entropies = torch.multinomial, trainer.score_rollout, [], []

    def count_calls(*args):
        calls.append(args)
        return score_rollout(*args)

    trainer.score_rollout = count_calls
    rollouts, generate = record_rollouts(trainer), trainer._generate_and_score_completions

    def compare(inputs):
        batch = generate(inputs)
        entropies.append((batch["entropies"], score_rollout(batch), batch["completion_mask"].bool()))
        return batch

    trainer._generate_and_score_completions = compare
    try:
        if draws:
            draw_by_row(trainer)
        trainer.train()
    finally:
        torch.multinomial = multinomial
    ((taken, scored, mask),) = entropies
    batch = rollouts[0].batch
    places = zip(*batch["kept"].nonzero(as_tuple=True), strict=True)
    mine = {
        "kept": [(batch["row_ids"][row].item(), position.item()) for row, position in places],
        "answers": [ids[own].tolist() for ids, own in zip(batch["completion_ids"], mask, strict=True)],
        "error": (taken - scored)[mask].abs().max().item(),
        "num_scoring_passes": len(calls),
    }
    parts = [mine]
    if trainer.accelerator.num_processes > 1:
        parts = [{}] * trainer.accelerator.num_processes
        torch.distributed.all_gather_object(parts, mine)
    return {
        "kept": sorted(place for part in parts for place in part["kept"]),
        "answers": [ids for part in parts for ids in part["answers"]],
        "error": max(part["error"] for part in parts),
        "num_scoring_passes": max(part["num_scoring_passes"] for part in parts),
        "rounds": trainer.state.log_history[0].get("forking/sampling_rounds", 1),
    }


def main() -> None:
    output_file, all_settings, strategy = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
    if strategy.startswith("zero"):
        set_deepspeed_environment(strategy)
    if strategy == "fsdp2":
        pretend_fsdp2()
    records = [run_step(settings, **build_settings(strategy)) for settings in all_settings]
    if int(os.environ.get("RANK", 0)) == 0:
        torch.save(records, output_file)
    leave_together()


if __name__ == "__main__":
    main()
