"""Adapters on a tiny model, and what of it a training changes."""

from collections.abc import Callable

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from trl import GRPOConfig, GRPOTrainer

from helpers.tiny import build_model


TRL = {"trainer_class": GRPOTrainer, "config_class": GRPOConfig, "epsilon_high": 0.28}
PLAIN = {"top_entropy_quantile": 1.0, "sparse_update": False}  # GRPO, with TRL's tensors
SAMPLED = {"rollout_func": None, "max_completion_length": 6, "max_steps": 2, "learning_rate": 0.1}


def lora(**settings) -> LoraConfig:
    """Adapters that do something from the start: zeros, as LoRA begins with, would leave half of the gradient zero."""
    defaults = {"r": 4, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM", "init_lora_weights": False}
    return LoraConfig(**(defaults | settings))


def build_base(**config):
    return build_model(scale=0.2, **config)


def adapt(build: Callable, config: LoraConfig) -> PeftModel:
    torch.manual_seed(1)
    model = get_peft_model(build(), config)
    with torch.no_grad():  # copies of whole modules begin as the modules are; these are other ones
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and "lora" not in name:
                parameter += 0.1 * torch.randn(parameter.shape)
    return model


def copy_parameters(trainer) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}


def list_changed(trainer, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, value in trainer.model.named_parameters() if not torch.equal(value, before[name])}
