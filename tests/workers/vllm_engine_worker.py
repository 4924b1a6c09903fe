"""Trains the built-in task with a real vLLM engine beside it; started by test_vllm_engine.py, one process a scenario.

Run: python tests/workers/vllm_engine_worker.py FOLDER SCENARIO; prints what it saw as its last line, in JSON.
"""

import json
import os
import sys


os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"

import torch  # noqa: E402

from trl_forking import ForkingGRPOConfig, ForkingGRPOTrainer  # noqa: E402
from trl_forking.countdown import (  # noqa: E402
    countdown_reward,
    load_countdown_model,
    load_countdown_tokenizer,
    make_countdown_dataset,
)


SCENARIOS = {
    "full": {},
    "lora": {"adapter": True},
    "stale": {"syncs": False},  # how far policy and engine drift apart where no weights arrive
    "dynamic_sampling": {"dynamic_sampling": True, "steps_per_generation": 4},
    "token_mask": {"vllm_importance_sampling_mode": "token_mask"},
    "token_truncate": {"vllm_importance_sampling_mode": "token_truncate"},
    "sequence_truncate": {"vllm_importance_sampling_mode": "sequence_truncate"},
    "all_tokens": {"top_entropy_quantile": 1.0},
}


def let_weights_be_replaced() -> None:
    """vLLM's build for CPUs packs the weights of linear layers once they are loaded, and takes no others afterwards."""
    from vllm.model_executor.layers import utils

    def keep_plain(layer, remove_weight):
        layer.cpu_linear = lambda x, weight, bias: torch.nn.functional.linear(x, weight, bias)

    utils.dispatch_cpu_unquantized_gemm = keep_plain


def build_trainer(folder: str, adapter: bool = False, syncs: bool = True, **config) -> ForkingGRPOTrainer:
    load_countdown_model().save_pretrained(f"{folder}/model")
    load_countdown_tokenizer().save_pretrained(f"{folder}/model")
    settings = {"per_device_train_batch_size": 32, "num_generations": 8, "max_completion_length": 52, "max_steps": 6}
    settings |= {"use_vllm": True, "vllm_mode": "colocate", "vllm_max_model_length": 128, "learning_rate": 5e-4}
    settings |= {"use_cpu": not torch.cuda.is_available(), "bf16": False, "gradient_checkpointing": False}
    settings |= {"model_init_kwargs": {"dtype": "float32"}, "lr_scheduler_type": "constant", "save_strategy": "no"}
    settings |= {"report_to": "none", "logging_steps": 1, "disable_tqdm": True, "seed": 0}
    peft_config = None
    if adapter:
        from peft import LoraConfig

        peft_config = LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = ForkingGRPOTrainer(
        model=f"{folder}/model",
        reward_funcs=countdown_reward,
        args=ForkingGRPOConfig(folder, **(settings | config)),
        train_dataset=make_countdown_dataset("train", num_problems=512, seed=0),
        processing_class=load_countdown_tokenizer(),
        peft_config=peft_config,
    )
    if not syncs:
        trainer.vllm_generation.sync_weights = lambda: None
    return trainer


def main() -> None:
    folder, scenario = sys.argv[1:]
    if not torch.cuda.is_available():
        let_weights_be_replaced()
    trainer = build_trainer(folder, **SCENARIOS[scenario])
    trainer.train()
    print(json.dumps([row for row in trainer.state.log_history if "loss" in row], default=float))


if __name__ == "__main__":
    main()
