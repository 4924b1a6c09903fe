"""What a rule decides, how it is checked, and what becomes of it."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch

from .token_stats import TokenStats


class TokenPlan(NamedTuple):
    r"""
    What a rule decides about the tokens of this rank. One of `scores` and `keep` is needed.

    Only candidates can be kept, so that anything may stand outside the mask.

    Attributes:
        scores (`torch.Tensor` of shape `(B, T)`, *optional*): the top share `top_entropy_quantile` by these scores is
            kept, exactly, over the tokens that `selection_scope` names.
        keep (`torch.Tensor` of shape `(B, T)`, *optional*): mask of the tokens to keep, in place of a budget.
        is_complement (`bool`): whether the tokens outside the top share are kept instead.
        weights (`torch.Tensor` of shape `(B, T)`, *optional*): factors of the kept tokens' loss, at least 0. A token with
            weight 0 is dropped. The normalizer is the number of kept tokens all the same.
        inclusion_probabilities (`torch.Tensor` of shape `(B, T)`, *optional*): probability \\( \pi \\) with which a token
            was kept, in (0, 1]. Kept tokens are weighted by \\( 1 / \pi \\), and the normalizer is the number of all
            tokens. The gradient is then an unbiased estimate of plain GRPO's.
        population (`torch.Tensor` of shape `(B, T)`, *optional*): with `inclusion_probabilities`, the tokens that were
            drawn from, if these were not all. The gradient is then an unbiased estimate of theirs.
        epsilon_low (`torch.Tensor` of shape `(B, T)`, *optional*): lower clip range of each token.
        epsilon_high (`torch.Tensor` of shape `(B, T)`, *optional*): upper clip range of each token.

    Example:
    ```python
    >>> import torch
    >>> TokenPlan(scores=torch.tensor([[0.5, 2.0]])).keep is None
    True
    ```
    """

    scores: torch.Tensor | None = None
    keep: torch.Tensor | None = None
    is_complement: bool = False
    weights: torch.Tensor | None = None
    inclusion_probabilities: torch.Tensor | None = None
    population: torch.Tensor | None = None
    epsilon_low: torch.Tensor | None = None
    epsilon_high: torch.Tensor | None = None

    @property
    def weighs(self) -> bool:
        """Whether tokens of one answer can have different weights or clip ranges."""
        parts = (self.weights, self.inclusion_probabilities, self.epsilon_low, self.epsilon_high)
        return any(part is not None for part in parts)


class Choice(NamedTuple):
    """
    A plan as it is carried out.

    Attributes:
        kept (`torch.Tensor` of shape `(B, T)`): kept tokens.
        weights (`torch.Tensor` of shape `(B, T)`, *optional*): factors of their loss, 0 at all others.
        population (`torch.Tensor` of shape `(B, T)`, *optional*): tokens that `loss_normalizer="kept"` counts, if it does
            not count the kept ones.
        epsilon_low (`torch.Tensor` of shape `(B, T)`, *optional*): lower clip ranges.
        epsilon_high (`torch.Tensor` of shape `(B, T)`, *optional*): upper clip ranges.

    Example:
    ```python
    >>> import torch
    >>> Choice(torch.tensor([[True, False]])).weights is None
    True
    ```
    """

    kept: torch.Tensor
    weights: torch.Tensor | None = None
    population: torch.Tensor | None = None
    epsilon_low: torch.Tensor | None = None
    epsilon_high: torch.Tensor | None = None


def find_fault(plan: object, mask: torch.Tensor) -> str | None:
    """
    Say what is wrong with a plan of this rank.

    Args:
        plan (`object`):
            What a rule returned.
        mask (`torch.Tensor` of shape `(B, T)`):
            Candidates.

    Returns:
        `str` or `None`: the rest of a sentence that begins with the name of the rule; `None` if nothing is wrong.

    Example:
    ```python
    >>> import torch
    >>> mask = torch.tensor([[True, True]])
    >>> find_fault(TokenPlan(scores=torch.tensor([[0.5, float("nan")]])), mask)
    'scores are NaN at row 0, position 1: a token without a score can be neither kept nor dropped'
    >>> find_fault(TokenPlan(keep=torch.tensor([True, True])), mask)
    'keep must have the shape (1, 2), but it has (2,)'
    ```
    """
    if not isinstance(plan, TokenPlan):
        return f"it must return a TokenPlan, but it returned a {type(plan).__name__}"
    if (plan.scores is None) == (plan.keep is None):
        found = "neither" if plan.scores is None else "both"
        return f"a plan needs either scores or keep, but it has {found}"
    if plan.population is not None and plan.inclusion_probabilities is None:
        return "population goes with inclusion_probabilities, which are missing"
    parts = {name: value for name, value in plan._asdict().items() if name != "is_complement" and value is not None}
    return next(filter(None, (_find_fault_of_part(name, value, mask) for name, value in parts.items())), None)


_MASKS = ("keep", "population")


def _find_fault_of_part(name: str, value: object, mask: torch.Tensor) -> str | None:
    if not isinstance(value, torch.Tensor):
        return f"{name} must be a tensor, but it is a {type(value).__name__}"
    if value.shape != mask.shape:
        return f"{name} must have the shape {tuple(mask.shape)}, but it has {tuple(value.shape)}"
    if value.requires_grad:
        return f"{name} has a gradient, and no gradient goes through a selection: call .detach() on it"
    if name in _MASKS:
        return None if value.dtype == torch.bool else f"{name} must be of type bool, but it is of type {value.dtype}"
    if not (value.is_floating_point() or name == "scores"):
        return f"{name} must be floating point, but it is of type {value.dtype}"
    if place := _find_place(value.isnan() & mask):
        return f"{name} are NaN at {place}: a token without a score can be neither kept nor dropped"
    if name == "scores":
        return None
    invalid = ~(value.isfinite() & (value >= 0))
    if name == "inclusion_probabilities":
        invalid = ~((value > 0) & (value <= 1))
    if place := _find_place(invalid & mask):
        bounds = "in (0, 1]" if name == "inclusion_probabilities" else "finite and at least 0"
        return f"{name} must be {bounds}, but at {place} it is {value[invalid & mask][0].item():g}"
    return None


def _find_place(invalid: torch.Tensor) -> str | None:
    if not invalid.any():
        return None
    row, position = invalid.nonzero()[0].tolist()
    return f"row {row}, position {position}"


def carry_out(plan: TokenPlan, stats: TokenStats, all_tokens: torch.Tensor) -> Choice:
    """
    Carry out a plan, all ranks together.

    Args:
        plan ([`TokenPlan`]):
            Plan without a fault, see [`find_fault`].
        stats ([`TokenStats`]):
            What it was made from.
        all_tokens (`torch.Tensor` of shape `(B, T)`):
            Tokens that carry loss, candidates or not.

    Returns:
        [`Choice`]

    Example:
    ```python
    >>> import torch
    >>> mask = torch.tensor([[True, True, True]])
    >>> stats = TokenStats(mask, torch.zeros(1, 3), torch.ones(1, 3), torch.zeros(1, 3).long(), share=1 / 3)
    >>> carry_out(TokenPlan(scores=torch.tensor([[0.1, 0.3, 0.2]])), stats, mask).kept
    tensor([[False,  True, False]])
    ```
    """
    if plan.scores is None:
        kept = plan.keep & stats.mask
    else:
        kept = stats.select_top(plan.scores)
        kept = stats.mask & ~kept if plan.is_complement else kept
    if plan.weights is not None:
        kept = kept & (plan.weights > 0)
    weights, population = plan.weights, plan.population
    if plan.inclusion_probabilities is not None:
        # In float64: the inverse of a small probability is large.
        inverse = (1 / plan.inclusion_probabilities.double()).float()
        weights = inverse if weights is None else weights * inverse
        population = all_tokens if population is None else population & all_tokens
    if weights is not None:
        weights = torch.where(kept, weights.float(), 0.0)
    if plan.epsilon_low is None and plan.epsilon_high is None:
        return Choice(kept, weights, population)
    # Both, also if the rule has only one: TRL clamps between two numbers or between two tensors.
    low, high = (
        torch.where(kept, default if part is None else part.float(), default)
        for part, default in ((plan.epsilon_low, stats.epsilon_low), (plan.epsilon_high, stats.epsilon_high))
    )
    return Choice(kept, weights, population, low, high)


def compute_effective_sample_size(weights: torch.Tensor, reduce: Callable[[torch.Tensor], torch.Tensor]) -> float:
    r"""
    Compute how many equally weighted tokens carry as much information as weighted ones.

    $$ n_{\mathrm{eff}} = \frac{(\sum_t w_t)^2}{\sum_t w_t^2} $$

    Source: Kish, Survey Sampling (1965).

    Args:
        weights (`torch.Tensor` of shape `(B, T)`):
            Weights of this rank's tokens; 0 for dropped ones.
        reduce (`Callable`):
            Sums a tensor over the ranks.

    Returns:
        `float`: number of tokens; NaN if no token has a weight.

    Example:
    ```python
    >>> import torch
    >>> compute_effective_sample_size(torch.tensor([[2.0, 2.0, 0.0]]), lambda tensor: tensor)
    2.0
    ```
    """
    weights = weights.double()
    total, total_of_squares = reduce(torch.stack([weights.sum(), weights.square().sum()])).tolist()
    return total**2 / total_of_squares if total_of_squares else math.nan
