"""One process of training steps on the fixed answers; `torchrun` starts as many as a test asks for.

Run: torchrun --nproc_per_node 2 tests/workers/layout_worker.py OUTPUT_FILE '[{"per_device_train_batch_size": 8, ...}, ...]'
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable

import torch
from peft import LoraConfig

from helpers.arrangements import replay_long_tailed
from helpers.processes import leave_together
from helpers.tiny import build_trainer, compute_weight_change, reward_fixed, reward_second_half


def main() -> None:
    output_file, all_settings = sys.argv[1], json.loads(sys.argv[2])
    records = [run_step(settings) for settings in all_settings]
    if int(os.environ.get("RANK", 0)) == 0:
        torch.save(records, output_file)
    leave_together()


def resolve(settings: dict) -> dict:
    """Replace what cannot stand in JSON."""
    settings = dict(settings)
    if settings.pop("first_rank_has_zero_variance", False):
        settings["reward_funcs"] = reward_second_half
    if "fault_rank" in settings:
        settings["reward_funcs"] = build_faulty_reward(settings.pop("fault_rank"))
    if settings.pop("long_tailed", False):
        settings |= {"rollout_func": replay_long_tailed, "max_completion_length": 24}
    if settings.pop("lora", False):
        peft_config = LoraConfig(
            r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", init_lora_weights=False
        )
        settings["trainer_kwargs"] = {"peft_config": peft_config}
    return settings


def build_faulty_reward(rank: int) -> Callable:
    """A reward that fails in one process, in the second round of generation."""
    calls = []

    def reward(completion_ids, number, **kwargs):
        calls.append(number)
        if len(calls) > 1 and int(os.environ["RANK"]) == rank:
            raise RuntimeError(f"the judge of rank {rank} is gone")
        return reward_fixed(completion_ids, number)

    return reward


def run_step(settings: dict) -> dict:
    """One SGD step: the gradient, the kept tokens by (row, position) of the rollout batch, and what really ran."""
    kept = []
    trainer = build_trainer(tempfile.mkdtemp(), **resolve(settings))
    generate = trainer._generate_and_score_completions

    def record_kept(inputs):
        batch = generate(inputs)
        for row, position in batch.get("kept", batch["completion_mask"]).nonzero().tolist():
            kept.append((batch["row_ids"][row].item(), position))
        return batch

    trainer._generate_and_score_completions = record_kept
    gradient = -compute_weight_change(trainer)
    all_kept = [None] * trainer.accelerator.num_processes
    if trainer.accelerator.num_processes > 1:
        torch.distributed.all_gather_object(all_kept, kept)
    else:
        all_kept = [kept]
    return {
        "gradient": gradient,
        "kept": sorted(place for part in all_kept for place in part),
        "loss": trainer.state.log_history[0]["loss"],
        "threshold": trainer.state.log_history[0]["forking/threshold"],
        "distributed_type": str(trainer.accelerator.distributed_type),
        "num_processes": trainer.accelerator.num_processes,
    }


if __name__ == "__main__":
    main()
