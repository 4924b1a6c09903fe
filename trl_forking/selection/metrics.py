"""The metrics of a selection, which are logged under `forking/`. Pure torch; `docs/metrics.md` explains them."""

import math

import torch

from .kth_largest import Reduce, compute_order_statistics, keep_local
from .tokens import compute_budget


PERCENTILES = (50, 80, 95, 99)


def compute_thresholds(entropies: torch.Tensor, counted: torch.Tensor, top_entropy_quantile: float) -> torch.Tensor:
    """
    Compute one threshold for each answer: the lowest entropy in its own top share.

    Args:
        entropies (`torch.Tensor` of shape `(B, T)`):
            Entropies in nats.
        counted (`torch.Tensor` of shape `(B, T)`):
            Tokens that compete for the budget.
        top_entropy_quantile (`float`):
            Top share of the counted tokens, a fraction in (0, 1].

    Returns:
        `torch.Tensor` of shape `(M,)`: thresholds in nats of the `M` answers that have counted tokens.

    Example:
    ```python
    >>> import torch
    >>> compute_thresholds(torch.tensor([[0.5, 2.0], [1.0, 0.0]]), torch.tensor([[1, 1], [0, 0]]), 0.5)
    tensor([2.])
    ```
    """
    counts = counted.bool().sum(1)
    answers = (counts > 0).nonzero().squeeze(1)
    ordered = entropies.masked_fill(~counted.bool(), -math.inf).sort(dim=1, descending=True).values[answers]
    budgets = [compute_budget(n, top_entropy_quantile) for n in counts[answers].tolist()]
    last = torch.tensor(budgets, dtype=torch.long, device=entropies.device).unsqueeze(1) - 1
    return ordered.gather(1, last).squeeze(1)


def compute_selection_metrics(
    entropies: torch.Tensor,
    mask: torch.Tensor,
    counted: torch.Tensor,
    kept: torch.Tensor,
    top_entropy_quantile: float,
    per_sequence: bool = False,
    reduce: Reduce = keep_local,
) -> dict[str, float]:
    r"""
    Compute the metrics of a selection over all ranks.

    Args:
        entropies (`torch.Tensor` of shape `(B, T)`):
            Entropies of this rank's tokens, in nats.
        mask (`torch.Tensor` of shape `(B, T)`):
            Completion tokens that carry loss.
        counted (`torch.Tensor` of shape `(B, T)`):
            Tokens of `mask` that compete for the budget.
        kept (`torch.Tensor` of shape `(B, T)`):
            Tokens of `counted` that are trained.
        top_entropy_quantile (`float`):
            Share of the counted tokens that reaches the threshold, \\( \rho \\), a fraction in (0, 1].
        per_sequence (`bool`, *optional*, defaults to `False`):
            Whether every answer has its own threshold. `threshold` is then their mean.
        reduce (`Callable`, *optional*):
            Sums a tensor over the ranks.

    Returns:
        `dict[str, float]`: in nats and over counted tokens: `threshold`, `entropy_p50`, `entropy_p80`, `entropy_p95`,
        `entropy_p99`, `selected_entropy_mean` and `dropped_entropy_mean`. As fractions: `kept_fraction` (of the
        counted tokens), `counted_fraction` (of the tokens that carry loss) and `entropy_share` (the kept tokens' part
        of the counted tokens' entropy). A number that does not exist, such as the mean over no token, is NaN.

    Example:
    ```python
    >>> import torch
    >>> entropies, all_tokens = torch.tensor([[3.0, 1.0]]), torch.tensor([[True, True]])
    >>> kept = torch.tensor([[True, False]])
    >>> compute_selection_metrics(entropies, all_tokens, all_tokens, kept, 0.5)["entropy_share"]
    0.75
    ```
    """
    counted, kept = counted.bool(), kept.bool()
    thresholds = entropies.new_zeros(0)
    if per_sequence:
        thresholds = compute_thresholds(entropies, counted, top_entropy_quantile)
    num_thresholds = torch.tensor(thresholds.numel(), device=entropies.device)
    counts = [mask.count_nonzero(), counted.count_nonzero(), kept.count_nonzero(), num_thresholds]
    # Indexing, not multiplying: values outside of a mask may be infinite or NaN.
    sums = [entropies[counted].sum(), entropies[kept].sum(), thresholds.sum()]
    num_tokens, num_counted, num_kept, num_thresholds = reduce(torch.stack(counts)).tolist()
    entropy_counted, entropy_kept, threshold_sum = reduce(torch.stack(sums)).tolist()

    metrics = dict.fromkeys(["threshold", *(f"entropy_p{percentile}" for percentile in PERCENTILES)], math.nan)
    if num_counted > 0:
        # The p-th percentile is the smallest entropy that at least p % of the tokens do not exceed.
        positions = [num_counted - math.ceil(num_counted * p / 100) + 1 for p in PERCENTILES]
        positions.append(compute_budget(num_counted, top_entropy_quantile))
        *percentiles, threshold = compute_order_statistics(entropies[counted], positions, reduce)
        metrics.update(zip((f"entropy_p{percentile}" for percentile in PERCENTILES), percentiles, strict=True))
        metrics["threshold"] = threshold_sum / num_thresholds if per_sequence else threshold
    return metrics | {
        "kept_fraction": _divide(num_kept, num_counted),
        "counted_fraction": _divide(num_counted, num_tokens),
        "entropy_share": _divide(entropy_kept, entropy_counted),
        "selected_entropy_mean": _divide(entropy_kept, num_kept),
        "dropped_entropy_mean": _divide(entropy_counted - entropy_kept, num_counted - num_kept),
    }


def correct_clip_ratios(metrics: dict[str, list[float]], factor: float) -> None:
    """
    Turn TRL's shares of clipped tokens among all tokens into shares among kept tokens; dropped tokens never clip.

    Args:
        metrics (`dict[str, list[float]]`):
            TRL's metrics by name. The newest value of each is changed in place.
        factor (`float`):
            Number of all tokens over the number of kept tokens.

    Example:
    ```python
    >>> metrics = {"clip_ratio/low_mean": [0.5, 0.1], "clip_ratio/low_min": [0.1]}
    >>> correct_clip_ratios(metrics, factor=5.0)
    >>> metrics
    {'clip_ratio/low_mean': [0.5, 0.5], 'clip_ratio/low_min': [nan]}
    ```
    """
    for name in ("clip_ratio/low_mean", "clip_ratio/high_mean", "clip_ratio/region_mean", "cispo_clip_ratio"):
        if metrics.get(name):
            metrics[name][-1] *= factor
    for name in (
        "clip_ratio/low_min",
        "clip_ratio/high_max",
    ):  # these are numbers of single answers, which one factor cannot correct
        if metrics.get(name):
            metrics[name][-1] = math.nan


def _divide(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else math.nan


def find_clipped(
    ratio: torch.Tensor,
    advantages: torch.Tensor,
    epsilon_low: float | torch.Tensor,
    epsilon_high: float | torch.Tensor,
    loss_type: str,
) -> torch.Tensor:
    r"""
    Find the tokens whose importance ratio TRL's loss clips.

    A token with ratio \\( r \\) and advantage \\( A \\) is clipped if \\( r < 1 - \varepsilon_{low}, A < 0 \\) or
    \\( r > 1 + \varepsilon_{high}, A > 0 \\). For `cispo` it is clipped if \\( r > \varepsilon_{high}, A > 0 \\).
    `sapo` and `vespo` clip no token.

    Args:
        ratio (`torch.Tensor` of shape `(B, T)` or `(B, 1)`):
            Importance ratio of the current to the old policy.
        advantages (`torch.Tensor` of shape `(B, T)` or `(B, 1)`):
            Advantages.
        epsilon_low (`float` or `torch.Tensor` of shape `(B, T)`):
            Lower clip range.
        epsilon_high (`float` or `torch.Tensor` of shape `(B, T)`):
            Upper clip range.
        loss_type (`str`):
            TRL's loss type.

    Returns:
        `torch.Tensor` of shape `(B, T)` or `(B, 1)` and type bool.

    Example:
    ```python
    >>> import torch
    >>> find_clipped(torch.tensor([[0.5, 1.0, 2.0]]), torch.tensor([[1.0]]), 0.2, 0.28, "dapo")
    tensor([[False, False,  True]])
    ```
    """
    if loss_type in ("sapo", "vespo"):
        return torch.zeros_like(ratio * advantages, dtype=torch.bool)
    upper = epsilon_high if loss_type == "cispo" else 1 + epsilon_high
    clipped_above = (ratio > upper) & (advantages > 0)
    return clipped_above if loss_type == "cispo" else clipped_above | ((ratio < 1 - epsilon_low) & (advantages < 0))
