"""Slow, obvious references in float64: loops over tokens, no masks, no vectors."""

import math
from fractions import Fraction

import torch


def entropy(logits: list[float]) -> float:
    highest = max(logits)
    total = sum(math.exp(logit - highest) for logit in logits)
    probabilities = [math.exp(logit - highest) / total for logit in logits]
    return -sum(p * math.log(p) for p in probabilities if p > 0)


def kept_tokens(entropies: list[list[float]], counted: list[list[bool]], rho: float) -> set[tuple[int, int]]:
    """The ceil(rho * N) counted tokens with the largest entropies, for entropies without ties."""
    tokens = [(entropies[i][t], i, t) for i in range(len(counted)) for t in range(len(counted[i])) if counted[i][t]]
    budget = math.ceil(Fraction(str(rho)) * len(tokens))
    return {(i, t) for _, i, t in sorted(tokens, reverse=True)[:budget]}


def objective(
    log_probs: torch.Tensor,
    old_log_probs: torch.Tensor,
    advantages: list[float],
    kept: set[tuple[int, int]],
    num_divided_by: int,
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.28,
) -> torch.Tensor:
    """Eq. 6 of the paper (version 2): the clipped surrogate summed over kept tokens, over a number of tokens."""
    total = torch.zeros((), dtype=torch.float64)
    for i, t in kept:
        ratio = torch.exp(log_probs[i, t] - old_log_probs[i, t])
        clipped = torch.clamp(ratio, 1 - epsilon_low, 1 + epsilon_high)
        total = total + torch.minimum(ratio * advantages[i], clipped * advantages[i])
    return total / num_divided_by
