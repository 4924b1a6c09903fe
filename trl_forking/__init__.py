"""GRPO on the tokens where the reasoning forks."""

from .forking_grpo_config import ForkingGRPOConfig
from .forking_grpo_trainer import ForkingGRPOTrainer


__version__ = "0.1.0"
__all__ = ["ForkingGRPOConfig", "ForkingGRPOTrainer"]
