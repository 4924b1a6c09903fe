"""Which groups are informative: the rewards of their answers differ, and so do the advantages that are trained."""

import math

import torch
from trl.trainer.utils import nanstd


RELATIVE_TOLERANCE = 1e-5
"""Rewards of a group that differ by less than this share of their terms are equal: about 80 times fp32's rounding."""


def find_informative_groups(
    rewards_per_func: torch.Tensor,
    reward_weights: torch.Tensor,
    num_generations: int,
    aggregation: str = "sum_then_normalize",
    scale_rewards: str = "group",
) -> torch.Tensor:
    r"""
    Find the informative groups: those whose rewards are not all equal, \\( 0 < \#\text{correct} < G \\) in Eq. 11 of
    [DAPO](https://huggingface.co/papers/2503.14476). All other groups are zero-variance groups; their advantages are zero.

    Rewards that differ are no use where float32 has no advantage for them, see [`compute_advantages`]. A group is
    informative only if its advantages are finite and one of them is a normal number of float32.

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
        scale_rewards (`str`, *optional*, defaults to `"group"`):
            TRL's `scale_rewards`: `"group"`, `"batch"` or `"none"`.

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
    advantages = compute_advantages(rewards_per_func, reward_weights, num_generations, aggregation, scale_rewards)
    sizes = advantages.abs().view(-1, num_generations)
    numbers = torch.finfo(torch.float32)
    is_trained = ((sizes >= numbers.tiny).any(1) & (sizes < numbers.max).all(1)).cpu()  # TRL turns infinity into `max`
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
    return is_trained & _differs(terms.nansum(2).masked_fill(unknown, math.nan), terms.abs().nansum(2))


def compute_advantages(
    rewards_per_func: torch.Tensor,
    reward_weights: torch.Tensor,
    num_generations: int,
    aggregation: str = "sum_then_normalize",
    scale_rewards: str = "group",
) -> torch.Tensor:
    r"""
    Compute the advantages that TRL trains, in float32 and in its order of operations:

    $$ A_i = \frac{R_i - \operatorname{mean}(R)}{\operatorname{std}(R) + 10^{-4}}, \qquad R_i = \sum_f w_f r_{i f}. $$

    The mean is that of the group. The standard deviation is that of the group or of the batch, and `"none"` divides by
    nothing. With `"normalize_then_sum"` each function is normalized within the group before the sum \\( R_i \\), which
    is then normalized over the batch ([GDPO](https://huggingface.co/papers/2601.05242)).

    Args:
        rewards_per_func (`torch.Tensor` of shape `(N * G, F)`):
            Rewards of all ranks by function; NaN where a function did not judge.
        reward_weights (`torch.Tensor` of shape `(F,)`):
            Weights of the functions.
        num_generations (`int`):
            Answers in a group, `G`.
        aggregation (`str`, *optional*, defaults to `"sum_then_normalize"`):
            TRL's `multi_objective_aggregation`.
        scale_rewards (`str`, *optional*, defaults to `"group"`):
            TRL's `scale_rewards`.

    Returns:
        `torch.Tensor` of shape `(N * G,)`: zero where no function judged.

    Example:
    ```python
    >>> compute_advantages(torch.tensor([[1.0], [0.0]]), torch.ones(1), num_generations=2, scale_rewards="none")
    tensor([ 0.5000, -0.5000])
    ```
    """
    rewards = rewards_per_func.float()
    if aggregation == "normalize_then_sum":
        groups = rewards.view(-1, num_generations, rewards.size(1))
        rewards = _scale(groups - torch.nanmean(groups, dim=1, keepdim=True), _std(groups, 1)).view_as(rewards)
    totals = (rewards * reward_weights.to(rewards.device, torch.float32).unsqueeze(0)).nansum(1)
    totals = totals.masked_fill(rewards_per_func.isnan().all(1), math.nan)
    if aggregation == "normalize_then_sum":
        return _scale(totals - torch.nanmean(totals), _std(totals)).nan_to_num(nan=0.0)
    groups = totals.view(-1, num_generations)
    centered = groups - torch.nanmean(groups, dim=1, keepdim=True)
    if scale_rewards != "none":
        centered = _scale(centered, _std(groups, 1) if scale_rewards == "group" else _std(totals))
    return centered.flatten().nan_to_num(nan=0.0)


def _scale(values: torch.Tensor, deviation: torch.Tensor) -> torch.Tensor:
    return values / (deviation + 1e-4)  # TRL's own epsilon


def _std(values: torch.Tensor, dim: int | None = None) -> torch.Tensor:
    size = values.numel() if dim is None else values.size(dim)
    if size > 1:
        return nanstd(values, dim=dim, keepdim=dim is not None)
    return torch.zeros_like(values if dim is None else values.select(dim, 0).unsqueeze(dim))


def _differs(values: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Return where values `(N, G, ...)` of a group spread by more than rounding; NaN has no part in it."""
    largest = values.nan_to_num(-math.inf, posinf=math.inf, neginf=-math.inf).amax(1)
    smallest = values.nan_to_num(math.inf, posinf=math.inf, neginf=-math.inf).amin(1)
    return largest - smallest > RELATIVE_TOLERANCE * scales.nan_to_num(0.0).amax(1)
