"""Drawing answers: samplers, and one temperature for forking tokens and another for the rest, in Transformers and vLLM."""

from ..selection.entropies import compute_entropies
from .transformers import ForkTemperature, apply_fork_temperature, check_fork_temperature


__all__ = ["ForkTemperature", "apply_fork_temperature", "check_fork_temperature", "compute_entropies"]
