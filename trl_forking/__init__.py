"""GRPO on the tokens where the reasoning forks."""

from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from .forking_grpo_config import ForkingGRPOConfig
    from .forking_grpo_trainer import ForkingGRPOTrainer


__version__ = "0.1.0"
__all__ = ["ForkingGRPOConfig", "ForkingGRPOTrainer"]


def __getattr__(name: str) -> Any:
    # TRL takes seconds to import: a command that only prints its help, or answers a mistyped name, does not need it.
    if name == "ForkingGRPOConfig":
        from .forking_grpo_config import ForkingGRPOConfig

        return ForkingGRPOConfig
    if name == "ForkingGRPOTrainer":
        from .forking_grpo_trainer import ForkingGRPOTrainer

        return ForkingGRPOTrainer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
