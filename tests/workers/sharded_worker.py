"""One process of a training step on the fixed answers under DDP, ZeRO-2, ZeRO-3 or FSDP2.

Run: torchrun --nproc_per_node 2 tests/workers/sharded_worker.py OUTPUT_FILE '[{"token_selection": "random"}, ...]' zero3
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch
from accelerate import DistributedType, PartialState

from helpers.processes import leave_together
from helpers.tiny import build_trainer
from trl_forking import ForkingGRPOConfig, ForkingGRPOTrainer
from workers.layout_worker import resolve


def build_settings(strategy: str) -> dict:
    """Arguments that make Transformers use a strategy on CPUs."""
    if strategy == "ddp":
        return {}
    if strategy == "fsdp2":
        fsdp_config = {"version": 2, "auto_wrap_policy": "TRANSFORMER_BASED_WRAP"}
        fsdp_config["transformer_layer_cls_to_wrap"] = ["Qwen3DecoderLayer"]
        return {"fsdp": "full_shard", "fsdp_config": fsdp_config}
    # Not `deepspeed=config`: Transformers would then start no process group on a machine without an accelerator.
    return {"ddp_backend": "gloo", "use_cpu": False}


def set_deepspeed_environment(strategy: str) -> None:
    """Ask for DeepSpeed as `accelerate launch` does."""
    config = {
        "zero_optimization": {"stage": int(strategy[-1]), "stage3_param_persistence_threshold": 0},
        "gradient_clipping": 0.0,  # accelerate would clip to 1
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
    }
    path = Path(tempfile.mkdtemp()) / "deepspeed.json"
    path.write_text(json.dumps(config))
    os.environ |= {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_CONFIG_FILE": str(path)}
    import deepspeed

    # On a CPU it would compile kernels of its own for sums over processes, for a minute. Gloo adds them up as well.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def pretend_fsdp2() -> None:
    """Make accelerate shard: it calls any run on CPUs MULTI_CPU and would not, without a word."""
    post_init = ForkingGRPOConfig.__post_init__

    def with_fsdp(self):
        post_init(self)
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU

    ForkingGRPOConfig.__post_init__ = with_fsdp


def read_weights(model: torch.nn.Module) -> torch.Tensor:
    """All weights as one vector, gathered from the shards."""
    parameters = list(model.parameters())
    gather = nullcontext()
    if any(hasattr(parameter, "ds_id") for parameter in parameters):  # ZeRO-3
        import deepspeed

        gather = deepspeed.zero.GatheredParameters(parameters)
    with gather:
        whole = [p.full_tensor() if hasattr(p, "full_tensor") else p for p in parameters]
        return torch.cat([p.detach().flatten().clone() for p in whole])


def describe_strategy(trainer: ForkingGRPOTrainer) -> dict:
    """What Accelerate made of the strategy: see `EXPECTED` of helpers/strategies.py."""
    return {
        "distributed_type": trainer.accelerator.distributed_type.value,
        "num_processes": trainer.accelerator.num_processes,
        "zero_stage": getattr(trainer.accelerator.state.deepspeed_plugin, "zero_stage", None),
        "sharded": any(hasattr(p, "full_tensor") for p in trainer.model.parameters()),
    }


def run_step(strategy: str, settings: dict) -> dict:
    settings = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 4} | settings
    trainer = build_trainer(tempfile.mkdtemp(), **build_settings(strategy), **resolve(settings))
    before = read_weights(trainer.model)
    trainer.train()
    return {
        "gradient": before - read_weights(trainer.model),
        "loss": trainer.state.log_history[0]["loss"],
        "is_sparse": trainer._is_sparse,
        **describe_strategy(trainer),
    }


def run_all(run: Callable[[str, dict], dict]) -> None:
    """Run all settings of the command line under its strategy; the main process writes what each run returns."""
    output_file, all_settings, strategy = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
    if strategy.startswith("zero"):
        set_deepspeed_environment(strategy)
    if strategy == "fsdp2":
        pretend_fsdp2()
    records = [run(strategy, settings) for settings in all_settings]
    if int(os.environ.get("RANK", 0)) == 0:
        torch.save(records, output_file)
    leave_together()


if __name__ == "__main__":
    run_all(run_step)
