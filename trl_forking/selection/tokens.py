"""Select the kept tokens from per-token entropies and a mask. Pure torch.

Shapes: `B` answers of one rank, `T` completion positions (padded on the right). Entropies are in nats.
"""

import functools
import math
from fractions import Fraction

import torch

from .kth_largest import Reduce, keep_local, select_largest
from .words import TOKEN_SELECTIONS


# The shape of a batch changes the fp32 entropy of the same context by about 1e-6 nats. On a grid of 1.5e-5 nats, equal
# contexts get equal entropies on every hardware layout. The rule for ties then decides between them.
_ENTROPY_GRID = 2.0**-16

# Sums and quotients of a few numbers in float64 are off by about 1e-15 of their value. Other shares than these fractions
# are a million times as far away from them on average.
_ROUNDING_ERROR = Fraction(1, 10**12)
_SIMPLE_DENOMINATOR = 10**5


def round_entropies(entropies: torch.Tensor) -> torch.Tensor:
    """
    Round entropies to multiples of 2^-16 nats, so that rounding errors of the forward pass do not rank tokens.

    Answers to one prompt share their first contexts. The entropies there are equal except for the last bits, which
    depend on how the batch was split. If the threshold falls there, these bits would decide which tokens are kept.

    Args:
        entropies (`torch.Tensor` of shape `(B, T)`):
            Entropies in nats.

    Returns:
        `torch.Tensor` of shape `(B, T)`, float32.

    Example:
    ```python
    >>> import torch
    >>> round_entropies(torch.tensor([0.5000001, 0.4999999])).tolist()
    [0.5, 0.5]
    ```
    """
    return (entropies.float() / _ENTROPY_GRID).round() * _ENTROPY_GRID


@functools.lru_cache
def read_share(share: float) -> Fraction:
    """
    Read a share as the number that is meant: without the rounding errors of floating point.

    The decimal number as written is exact, such as 0.07. A share that was computed is off in its last digits, such as
    `0.1 + 0.2` or `2 / 3`. It is the simplest fraction that is as near as rounding errors come.

    Args:
        share (`float`):
            Share of some tokens.

    Returns:
        `Fraction`

    Example:
    ```python
    >>> read_share(0.07), read_share(0.1 + 0.2), read_share(2 / 3)
    (Fraction(7, 100), Fraction(3, 10), Fraction(2, 3))
    ```
    """
    written = Fraction(str(share))
    simple = written.limit_denominator(_SIMPLE_DENOMINATOR)
    return simple if abs(simple - written) <= written * _ROUNDING_ERROR else written


def compute_budget(num_tokens: int, top_entropy_quantile: float) -> int:
    r"""
    Compute how many tokens are kept, \\( k = \lceil \rho N \rceil \\).

    Source: the released code of [Beyond the 80/20 Rule](https://huggingface.co/papers/2506.01939). The result is exact
    for the share that is meant, see [`read_share`]: 0.07 of 100 tokens are 7 tokens, where floating point gives 8.

    Args:
        num_tokens (`int`):
            Number of counted tokens, \\( N \\).
        top_entropy_quantile (`float`):
            Share to keep, \\( \rho \\), a fraction in (0, 1].

    Returns:
        `int`: number of tokens.

    Example:
    ```python
    >>> compute_budget(101, 0.2)
    21
    ```
    """
    return math.ceil(read_share(top_entropy_quantile) * num_tokens)


def _shift_right(bits: torch.Tensor, shift: int) -> torch.Tensor:
    return (bits >> shift) & ((1 << (64 - shift)) - 1)  # torch has no unsigned shift


def compute_tie_keys(row_ids: torch.Tensor, positions: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """
    Compute pseudo-random keys of tokens. A key depends only on the token's place in the rollout batch.

    splitmix64 ([Steele et al., 2014](https://doi.org/10.1145/2660193.2660195)) mixes the number (row, position). Each
    of its steps is a bijection on 64 bits, so different tokens have different keys.

    Args:
        row_ids (`torch.Tensor` of shape `(...)`):
            Row of each token in the rollout batch over all ranks, below 2^31.
        positions (`torch.Tensor` of shape `(...)`):
            Position of each token in its completion, below 2^32.
        seed (`int`, *optional*, defaults to `0`):
            Another seed gives unrelated keys.

    Returns:
        `torch.Tensor` of shape `(...)` and type int64.

    Example:
    ```python
    >>> import torch
    >>> compute_tie_keys(torch.tensor([0, 1]), torch.tensor([0, 0])).unique().numel()
    2
    ```
    """
    # These are the constants of splitmix64, written as signed numbers with the same 64 bits.
    keys = (row_ids.long() << 32) + positions.long() + (seed + 1) * -7046029254386353131 % 2**63
    keys = (keys ^ _shift_right(keys, 30)) * -4658895280553007687
    keys = (keys ^ _shift_right(keys, 27)) * -7723592293110705685
    return keys ^ _shift_right(keys, 31)


def _check_inputs(entropies: torch.Tensor, mask: torch.Tensor, token_selection: str) -> None:
    if entropies.shape != mask.shape or entropies.dim() != 2:
        raise ValueError(
            f"entropies and mask must have the same shape (B, T), but they have {tuple(entropies.shape)} and "
            f"{tuple(mask.shape)}."
        )
    if token_selection not in TOKEN_SELECTIONS:
        raise ValueError(f"token_selection must be one of {TOKEN_SELECTIONS}, but it is {token_selection!r}.")
    invalid = torch.isnan(entropies) & mask.bool()
    if invalid.any():
        row, position = invalid.nonzero()[0].tolist()
        raise ValueError(f"The entropy of row {row}, position {position} is NaN: it can be neither kept nor dropped.")


def select_tokens(
    entropies: torch.Tensor,
    mask: torch.Tensor,
    top_entropy_quantile: float,
    token_selection: str = "high_entropy",
    row_ids: torch.Tensor | None = None,
    seed: int = 0,
    reduce: Reduce = keep_local,
) -> torch.Tensor:
    r"""
    Select the kept tokens with one threshold over all counted tokens of all ranks.

    `high_entropy` keeps the paper's set, \\( \{(i, t) : H_t^i \ge \tau_\rho\} \\), cut to exactly
    \\( k = \lceil \rho N \rceil \\) tokens if entropies tie. `low_entropy` keeps the other \\( N - k \\) tokens.
    `random` keeps \\( k \\) tokens and does not use entropies.

    Source: Eq. 6 of [Beyond the 80/20 Rule](https://huggingface.co/papers/2506.01939).

    Args:
        entropies (`torch.Tensor` of shape `(B, T)`):
            Entropies of this rank's tokens, in nats.
        mask (`torch.Tensor` of shape `(B, T)`):
            True or 1 for counted tokens. Entropies of all other tokens are ignored.
        top_entropy_quantile (`float`):
            Share of the counted tokens in the paper's set, \\( \rho \\), a fraction in (0, 1].
        token_selection (`str`, *optional*, defaults to `"high_entropy"`):
            `"high_entropy"`, `"low_entropy"` or `"random"`.
        row_ids (`torch.Tensor` of shape `(B,)`, *optional*):
            Row of each answer in the batch over all ranks, for ties and for `random`. The default is `arange(B)`,
            which is correct on one process.
        seed (`int`, *optional*, defaults to `0`):
            Seed for the order of ties and for `random`.
        reduce (`Callable`, *optional*):
            Sums a tensor over the ranks.

    Returns:
        `torch.Tensor` of shape `(B, T)` and type bool: the kept tokens, all within `mask`.

    Raises:
        `ValueError`: if shapes differ, the selection is unknown or the entropy of a counted token is NaN.

    Example:
    ```python
    >>> import torch
    >>> entropies = torch.tensor([[0.0, 2.1, 0.0, 0.3, 9.9]])
    >>> select_tokens(entropies, torch.tensor([[1, 1, 1, 1, 0]]), top_entropy_quantile=0.25)
    tensor([[False,  True, False, False, False]])
    ```
    """
    _check_inputs(entropies, mask, token_selection)
    mask = mask.bool()
    row_ids = torch.arange(len(mask), device=mask.device) if row_ids is None else row_ids
    # With `random`, all counted tokens tie, so the keys alone decide.
    scores = torch.zeros_like(entropies) if token_selection == "random" else entropies
    top = select_top_share(scores, mask, top_entropy_quantile, row_ids, seed, reduce)
    return mask & ~top if token_selection == "low_entropy" else top


def select_top_share(
    scores: torch.Tensor,
    mask: torch.Tensor,
    share: float,
    row_ids: torch.Tensor,
    seed: int = 0,
    reduce: Reduce = keep_local,
) -> torch.Tensor:
    r"""
    Select exactly \\( \lceil \rho N \rceil \\) of the \\( N \\) tokens that all ranks hold together, those with the largest scores.

    Args:
        scores (`torch.Tensor` of shape `(B, T)`):
            Scores without NaN. At the tokens of the mask they are above -inf.
        mask (`torch.Tensor` of shape `(B, T)`):
            Tokens that compete, type bool.
        share (`float`):
            Share to select, \\( \rho \\), in (0, 1].
        row_ids (`torch.Tensor` of shape `(B,)`):
            Row of each answer in the batch over all ranks, for ties.
        seed (`int`, *optional*, defaults to `0`):
            Seed for the order of ties.
        reduce (`Callable`, *optional*):
            Sums a tensor over the ranks.

    Returns:
        `torch.Tensor` of shape `(B, T)` and type bool.

    Example:
    ```python
    >>> import torch
    >>> mask = torch.tensor([[True, True, True, False]])
    >>> select_top_share(torch.tensor([[1.0, -2.0, -3.0, 9.0]]), mask, 0.5, torch.tensor([0]))
    tensor([[ True,  True, False, False]])
    ```
    """
    num_positions = mask.size(1)

    def tie_keys(index: torch.Tensor) -> torch.Tensor:
        return compute_tie_keys(row_ids[index // num_positions], index % num_positions, seed)

    flat = scores.masked_fill(~mask, -math.inf).flatten()
    num_counted = int(reduce(mask.count_nonzero()))
    return select_largest(flat, compute_budget(num_counted, share), tie_keys, reduce).view_as(mask)


def select_tokens_per_sequence(
    entropies: torch.Tensor,
    mask: torch.Tensor,
    top_entropy_quantile: float,
    token_selection: str = "high_entropy",
    row_ids: torch.Tensor | None = None,
    seed: int = 0,
) -> torch.Tensor:
    r"""
    Select the kept tokens with one threshold per answer.

    Answer \\( i \\) with \\( N_i \\) counted tokens keeps \\( k_i = \lceil \rho N_i \rceil \\) of them.

    Arguments, shapes and errors are those of [`select_tokens`]. The ranks do not communicate.

    Returns:
        `torch.Tensor` of shape `(B, T)` and type bool: kept tokens.

    Example:
    ```python
    >>> import torch
    >>> entropies = torch.tensor([[0.1, 0.2], [0.9, 0.8]])
    >>> select_tokens_per_sequence(entropies, torch.ones(2, 2), top_entropy_quantile=0.5)
    tensor([[False,  True],
            [ True, False]])
    ```
    """
    _check_inputs(entropies, mask, token_selection)
    mask = mask.bool()
    row_ids = torch.arange(len(mask), device=mask.device) if row_ids is None else row_ids
    scores = torch.zeros_like(entropies) if token_selection == "random" else entropies
    top = select_top_share_per_sequence(scores, mask, top_entropy_quantile, row_ids, seed)
    return mask & ~top if token_selection == "low_entropy" else top


def select_top_share_per_sequence(
    scores: torch.Tensor, mask: torch.Tensor, share: float, row_ids: torch.Tensor, seed: int = 0
) -> torch.Tensor:
    """
    Select the top share of every answer by score.

    Arguments and shapes are those of [`select_top_share`]. The ranks do not communicate.

    Returns:
        `torch.Tensor` of shape `(B, T)` and type bool.

    Example:
    ```python
    >>> import torch
    >>> scores = torch.tensor([[0.1, 0.2], [0.9, 0.8]])
    >>> select_top_share_per_sequence(scores, torch.ones(2, 2).bool(), 0.5, torch.arange(2))
    tensor([[False,  True],
            [ True, False]])
    ```
    """
    scores = scores.masked_fill(~mask, -math.inf)
    positions = torch.arange(mask.size(1), device=mask.device)
    keys = compute_tie_keys(row_ids.unsqueeze(1), positions, seed)  # (B, T)

    # Sort by key first. The stable sort by score then keeps equal scores in the order of their keys.
    by_key = keys.argsort(dim=1, descending=True)
    by_score = scores.gather(1, by_key).argsort(dim=1, descending=True, stable=True)
    order = by_key.gather(1, by_score)
    budgets = [compute_budget(n, share) for n in mask.sum(1).tolist()]
    within_budget = positions < torch.tensor(budgets, device=mask.device).unsqueeze(1)  # (B, T), in sorted order
    return torch.zeros_like(mask).scatter(1, order, within_budget)


def compute_loss_weights(
    divided_by: torch.Tensor, counted_instead: torch.Tensor, extent: str | None, batch_weight: float = 1.0
) -> torch.Tensor:
    r"""
    Compute token weights that replace the number by which TRL's loss divides.

    TRL divides by the number of all tokens in an extent. Version 2 of
    [Beyond the 80/20 Rule](https://huggingface.co/papers/2506.01939) divides by the number of kept tokens,
    \\( 1 / \sum_i \sum_t \mathbb{1}[H_t^i \ge \tau_\rho] \\) in Eq. 6. The weight is the first number over the second.

    Args:
        divided_by (`torch.Tensor` of shape `(B, T)`):
            Mask of the tokens that TRL's loss divides by.
        counted_instead (`torch.Tensor` of shape `(B, T)`):
            Mask of the tokens that the loss should divide by.
        extent (`str` or `None`):
            Where tokens are counted: `"batch"`, `"micro_batch"`, `"sequence"`, or `None` if TRL divides by no number
            of tokens.
        batch_weight (`float`, *optional*, defaults to `1.0`):
            Weight for the extent `"batch"`. A micro-batch cannot compute it, because it does not have the whole batch.

    Returns:
        `torch.Tensor` of shape `(1, 1)` or `(B, 1)`.

    Example:
    ```python
    >>> import torch
    >>> mask, kept = torch.ones(2, 4), torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0]])
    >>> compute_loss_weights(mask, kept, "sequence").tolist()
    [[4.0], [2.0]]
    ```
    """
    if extent is None or extent == "batch":
        weight = 1.0 if extent is None else batch_weight
        return torch.full((1, 1), weight, dtype=torch.float32, device=counted_instead.device)
    counted_over = (0, 1) if extent == "micro_batch" else (1,)
    num_divided = divided_by.float().sum(counted_over, keepdim=True)
    num_counted_instead = counted_instead.float().sum(counted_over, keepdim=True)
    return num_divided.clamp(min=1.0) / num_counted_instead.clamp(min=1.0)
