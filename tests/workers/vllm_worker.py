"""One process of training steps with the stand-in for vLLM; `torchrun` starts as many as a test asks for.

Run: torchrun --nproc_per_node 2 tests/workers/vllm_worker.py OUTPUT_FILE '[{"vllm_mode": "colocate", "noise": 0.4, ...}, ...]'
"""

import json
import os
import sys
import tempfile
from contextlib import nullcontext

import pytest
import torch

from helpers.processes import leave_together
from helpers.tiny import compute_gradients
from helpers.vllm_stand_in import build_vllm_trainer, put_in_place, serve


def main() -> None:
    output_file, all_settings = sys.argv[1], json.loads(sys.argv[2])
    put_in_place(pytest.MonkeyPatch())
    records = [run_step(settings) for settings in all_settings]
    if int(os.environ.get("RANK", 0)) == 0:
        torch.save(records, output_file)
    leave_together()


def run_step(settings: dict) -> dict:
    """One step: its gradient, how far the engine was from the policy, and what really ran."""
    settings = dict(settings)
    noise, nan_share = settings.pop("noise"), settings.pop("nan_share")
    with serve() if settings["vllm_mode"] == "server" else nullcontext() as server:
        trainer, engine = build_vllm_trainer(tempfile.mkdtemp(), server=server, **settings)
        engine.noise, engine.nan_share = noise, nan_share
        gradient = compute_gradients(trainer)[0]
    num_engines = torch.tensor(float("generate" in engine.events))
    return {
        "gradient": gradient,
        "difference": trainer.state.log_history[0]["sampling/sampling_logp_difference/mean"],
        "num_engines": int(trainer.accelerator.reduce(num_engines)),
        "num_processes": trainer.accelerator.num_processes,
    }


if __name__ == "__main__":
    main()
