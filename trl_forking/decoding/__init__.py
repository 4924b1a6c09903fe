"""Sampling with one temperature for forking tokens and another for the rest, in Transformers and in vLLM."""

from .transformers import ForkTemperature, apply_fork_temperature, check_fork_temperature, compute_entropies


__all__ = ["ForkTemperature", "apply_fork_temperature", "check_fork_temperature", "compute_entropies"]
