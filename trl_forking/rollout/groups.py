"""Which groups are informative: the rewards of their answers differ."""

import math

import torch


RELATIVE_TOLERANCE = 1e-5
"""Rewards of a group that differ by less than this share of their terms are equal: about 80 times fp32's rounding."""


def find_informative_groups(
    rewards_per_func: torch.Tensor,
    reward_weights: torch.Tensor,
    num_generations: int,
    aggregation: str = "sum_then_normalize",
) -> torch.Tensor:
    r"""
    Find the informative groups: those whose rewards are not all equal, \\( 0 < \#\text{correct} < G \\) in Eq. 11 of
    [DAPO](https://huggingface.co/papers/2503.14476). All other groups are zero-variance groups; their advantages are zero.

    The reward of an answer is the weighted sum of its functions, as TRL aggregates it; functions that returned `None`
    (NaN here) are left out, and so are answers that no function could judge. Rewards are equal if they differ by less
    than [`RELATIVE_TOLERANCE`] of the terms they are summed from, which rounding in fp32 does not reach.

    Args:
        rewards_per_func (`torch.Tensor` of shape `(N * G, F)`):
            Rewards of all ranks by function, the `G` answers of a group one after the other.
        reward_weights (`torch.Tensor` of shape `(F,)`):
            Weights of the functions.
        num_generations (`int`):
            Answers in a group, `G`.
        aggregation (`str`, *optional*, defaults to `"sum_then_normalize"`):
            TRL's `multi_objective_aggregation`. With `"normalize_then_sum"` a function in which a group does not
            differ has no part in it, and the others are normalized within the group before they are summed.

    Returns:
        `torch.Tensor` of shape `(N,)`: `True` for informative groups.

    Example:
    ```python
    >>> import torch
    >>> rewards = torch.tensor([[1.0], [1.0], [0.0], [1.0], [torch.nan], [1.0]])
    >>> find_informative_groups(rewards, torch.ones(1), num_generations=2)
    tensor([False,  True, False])
    ```
    """
    weights = reward_weights.cpu().double()  # in this order: Apple's GPUs have no float64
    groups = rewards_per_func.cpu().double().view(-1, num_generations, len(weights))  # (N, G, F)
    terms = groups * weights
    if aggregation == "normalize_then_sum":
        differs = _differs(terms, terms.abs())  # (N, F)
        mean = groups.nanmean(1, keepdim=True)
        deviation = (groups - mean).square().nanmean(1, keepdim=True).sqrt()
        normalized = (groups - mean) / deviation * weights
        terms = torch.where(differs.unsqueeze(1) | terms.isnan(), normalized, torch.zeros_like(terms))
    unknown = groups.isnan().all(2)  # (N, G)
    return _differs(terms.nansum(2).masked_fill(unknown, math.nan), terms.abs().nansum(2))


def _differs(values: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Return where values `(N, G, ...)` of a group spread by more than rounding; NaN has no part in it."""
    largest = values.nan_to_num(-math.inf, posinf=math.inf, neginf=-math.inf).amax(1)
    smallest = values.nan_to_num(math.inf, posinf=math.inf, neginf=-math.inf).amin(1)
    return largest - smallest > RELATIVE_TOLERANCE * scales.nan_to_num(0.0).amax(1)
