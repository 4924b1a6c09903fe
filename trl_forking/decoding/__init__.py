"""Drawing answers: samplers, and one temperature for forking tokens and another for the rest, in Transformers and vLLM."""

import importlib
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from ..selection.entropies import compute_entropies
    from .transformers import ForkTemperature, apply_fork_temperature, check_fork_temperature


__all__ = ["ForkTemperature", "apply_fork_temperature", "check_fork_temperature", "compute_entropies"]


# Imported when a name is asked for: a command that answers a mistake needs the settings of a sampler, and not torch.
_PLACES = {
    **dict.fromkeys(("compute_entropies",), ".selection.entropies"),
    **dict.fromkeys(("ForkTemperature", "apply_fork_temperature", "check_fork_temperature"), "transformers"),
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_PLACES[name]}", __name__), name)
