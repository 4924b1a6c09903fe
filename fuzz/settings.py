"""Draws the settings of a run, and a tiny model of a random architecture."""

import copy
import random
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GPTNeoXConfig, LlamaConfig, MistralConfig, OlmoConfig, Phi3Config

from helpers.architectures import CONFIGS, SIZES
from helpers.tiny import LOSS_TYPES, build_model


MORE = {
    "llama": LlamaConfig(**SIZES),
    "mistral": MistralConfig(**SIZES, sliding_window=8),
    "olmo": OlmoConfig(**SIZES),
    "phi3": Phi3Config(**SIZES),
    "gpt_neox": GPTNeoXConfig(**{key: value for key, value in SIZES.items() if key != "num_key_value_heads"}),
}
ARCHITECTURES = ("qwen3", *CONFIGS, *MORE)
MAX_STEPS = 4


def build(architecture: str) -> torch.nn.Module:
    if architecture == "qwen3":
        return build_model()
    torch.manual_seed(0)
    config = copy.deepcopy((CONFIGS | MORE)[architecture])  # TRL writes into it
    if hasattr(config, "output_router_logits"):
        config.output_router_logits = False  # with it Transformers 5.23 cannot generate
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.normal_(std=0.3)
    return model.float()


def draw_settings(source: random.Random) -> dict[str, Any]:
    """Draw settings that the config takes."""
    settings: dict[str, Any] = {
        "top_entropy_quantile": source.choice([1.0, 0.2, 0.2, 0.5, 0.05, 0.9]),
        "token_selection": source.choice(["high_entropy", "high_entropy", "low_entropy", "random"]),
        "selection_scope": source.choice(["batch", "batch", "sequence", "micro_batch"]),
        "loss_normalizer": source.choice(["kept", "all"]),
        "count_zero_advantage": source.random() < 0.3,
        "sparse_update": source.random() < 0.7,
        "loss_type": source.choice(LOSS_TYPES),
        "importance_sampling_level": source.choice(["token", "token", "sequence"]),
        "scale_rewards": source.choice(["group", "batch", "none"]),
        "multi_objective_aggregation": source.choice(
            ["sum_then_normalize", "sum_then_normalize", "normalize_then_sum"]
        ),
        "mask_truncated_completions": source.random() < 0.3,
        "shuffle_dataset": source.random() < 0.7,
        "temperature": source.choice([1.0, 0.7, 1.3]),
        "dynamic_sampling": source.random() < 0.3,
        "optim": source.choice(["sgd", "adamw_torch"]),
        "learning_rate": source.choice([1e-3, 1e-2]),
        "max_grad_norm": source.choice([0.0, 1.0]),
        "epsilon_high": source.choice([None, 0.28]),
        "seed": source.randrange(100),
        "max_steps": MAX_STEPS,
        **draw_sizes(source),
    }
    if settings["top_entropy_quantile"] == 1.0 and settings["token_selection"] == "low_entropy":
        settings["token_selection"] = "high_entropy"
    if settings["importance_sampling_level"] == "sequence" and settings["selection_scope"] == "micro_batch":
        settings["selection_scope"] = "batch"
    return settings


def draw_sizes(source: random.Random) -> dict[str, int]:
    """Draw batch sizes that hold whole groups: an optimizer step may take a part of a rollout or several of them."""
    while True:
        sizes = {
            "per_device_train_batch_size": source.choice([2, 4, 8]),
            "gradient_accumulation_steps": source.choice([1, 2, 3, 4]),
            "steps_per_generation": source.choice([1, 2, 4, 6]),
            "num_generations": source.choice([2, 4]),
            "num_iterations": source.choice([1, 1, 2]),
        }
        answers = sizes["per_device_train_batch_size"] * sizes["steps_per_generation"]
        if answers % sizes["num_generations"] == 0 and answers // sizes["num_generations"] <= 16 and answers <= 32:
            return sizes
