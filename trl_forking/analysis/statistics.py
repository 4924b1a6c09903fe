"""Statistics of entropies: pure functions of arrays.

Means and shares are computed in float64. A number that does not exist, such as the mean of no tokens, is NaN as a
return value and `None` in a table, because JSON has no NaN.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..selection.tokens import compute_budget, read_share


NEAR_ZERO = 0.01  # nats; half of the paper's tokens are below
PERCENTILES = (1, 5, 10, 25, 50, 75, 80, 90, 95, 99)
MIN_COUNT = 101  # the paper lists tokens seen more than 100 times


def compute_percentiles(entropies: np.ndarray, percentiles: Sequence[float] = PERCENTILES) -> np.ndarray:
    r"""
    Compute percentiles by nearest rank, as the logged metrics do: the smallest entropy that p % of the tokens do not exceed.

    Args:
        entropies (`np.ndarray` of shape `(N,)`):
            Entropies in nats.
        percentiles (sequence of `float`, *optional*):
            Percentiles from 0 (the minimum) to 100.

    Returns:
        `np.ndarray` of shape `(P,)`: values in nats, NaN if there are no tokens.

    Example:
    ```python
    >>> compute_percentiles(np.array([0.0, 0.1, 0.2, 3.0]), [50, 80]).tolist()
    [0.1, 3.0]
    ```
    """
    if len(entropies) == 0:
        return np.full(len(percentiles), math.nan)
    ranks = [math.ceil(read_share(p) * len(entropies) / 100) for p in percentiles]
    return np.sort(entropies)[[max(rank - 1, 0) for rank in ranks]]


def compute_share_below(entropies: np.ndarray, nats: float = NEAR_ZERO) -> float:
    """
    Compute the share of the tokens whose entropy is below a value.

    Args:
        entropies (`np.ndarray` of shape `(N,)`):
            Entropies in nats.
        nats (`float`, *optional*, defaults to `0.01`):
            The value. In the paper, 50.64 % of the tokens of Qwen3-8B are below 0.01.

    Returns:
        `float`: a fraction, NaN if there are no tokens.

    Example:
    ```python
    >>> compute_share_below(np.array([0.0, 0.01, 0.5, 0.002]))
    0.5
    ```
    """
    return float(np.mean(entropies < nats)) if len(entropies) else math.nan


def compute_entropy_share(entropies: np.ndarray, top_share: float) -> float:
    r"""
    Compute the share of all entropy that the \\( \lceil x N \rceil \\) tokens with the highest entropies hold.

    Args:
        entropies (`np.ndarray` of shape `(N,)`):
            Entropies in nats.
        top_share (`float`):
            Share of the tokens, \\( x \\), a fraction in (0, 1].

    Returns:
        `float`: a fraction, NaN if there is no entropy.

    Example:
    ```python
    >>> compute_entropy_share(np.array([0.0, 3.0, 0.0, 1.0]), top_share=0.25)
    0.75
    ```
    """
    ordered = np.sort(entropies.astype(np.float64))[::-1]
    budget = compute_budget(len(ordered), top_share)
    return divide(float(ordered[:budget].sum()), float(ordered.sum()))


def compute_token_table(
    token_ids: np.ndarray, tokens: Sequence[str], entropies: np.ndarray, min_count: int = MIN_COUNT
) -> list[dict[str, Any]]:
    """
    Compute the mean entropy of every token that occurs often enough, the highest first.

    A token is one entry of the vocabulary: " wait" and "Wait" are two tokens. Its text is the text that it adds most often.
    A token that never completes a character is shown by its number, as "#177".

    Source: the lists of words in [Beyond the 80/20 Rule](https://huggingface.co/papers/2506.01939), which have the tokens
    that were seen more than 100 times.

    Args:
        token_ids (`np.ndarray` of shape `(N,)`):
            Entries of the vocabulary.
        tokens (sequence of `str`, `N` long):
            Text that each token adds to its answer.
        entropies (`np.ndarray` of shape `(N,)`):
            Entropies in nats, at the positions where the tokens were drawn.
        min_count (`int`, *optional*, defaults to `101`):
            Smallest number of times that a token must occur.

    Returns:
        `list[dict]`: rows with `token`, `token_id`, `count` and `mean_entropy`.

    Example:
    ```python
    >>> rows = compute_token_table(np.array([7, 8, 7]), [" so", "4", " so"], np.array([1.0, 0.0, 2.0]), min_count=1)
    >>> rows[0]
    {'token': ' so', 'token_id': 7, 'count': 2, 'mean_entropy': 1.5}
    ```
    """
    ids, inverse, counts = np.unique(np.asarray(token_ids, dtype=np.int64), return_inverse=True, return_counts=True)
    means = np.bincount(inverse, weights=entropies, minlength=len(ids)) / np.maximum(counts, 1)
    places = np.split(np.argsort(inverse, kind="stable"), np.cumsum(counts)[:-1]) if len(ids) else []
    rows = []
    for index in np.lexsort((ids, -means)):
        if counts[index] >= min_count:
            text = Counter(tokens[place] for place in places[index]).most_common(1)[0][0]
            row = {"token": text or f"#{ids[index]}", "token_id": int(ids[index]), "count": int(counts[index])}
            rows.append(row | {"mean_entropy": float(means[index])})
    return rows


def compute_group_table(
    groups: np.ndarray, names: Sequence[str], entropies: np.ndarray, forks: np.ndarray
) -> list[dict[str, Any]]:
    """
    Compute the mean entropy and the share of forks in each group of tokens.

    Args:
        groups (`np.ndarray` of shape `(N,)`):
            Index of each token's group.
        names (sequence of `str`):
            Names of the groups.
        entropies (`np.ndarray` of shape `(N,)`):
            Entropies in nats.
        forks (`np.ndarray` of shape `(N,)`):
            Which tokens are forks.

    Returns:
        `list[dict]`: for each group, `group` (its name), `num_tokens`, `mean_entropy` (nats) and `fork_share` (fraction).
        The last two are `None` for a group without tokens.

    Example:
    ```python
    >>> compute_group_table(np.array([0, 0]), ["right"], np.array([0.5, 1.5]), np.array([False, True]))
    [{'group': 'right', 'num_tokens': 2, 'mean_entropy': 1.0, 'fork_share': 0.5}]
    ```
    """
    counts = np.bincount(groups, minlength=len(names))
    entropy_sums = np.bincount(groups, weights=entropies, minlength=len(names))
    fork_sums = np.bincount(groups, weights=forks, minlength=len(names))
    return [
        {
            "group": name,
            "num_tokens": int(count),
            "mean_entropy": to_json_number(divide(entropy_sum, count)),
            "fork_share": to_json_number(divide(fork_sum, count)),
        }
        for name, count, entropy_sum, fork_sum in zip(names, counts, entropy_sums, fork_sums, strict=True)
    ]


def divide(numerator: float, denominator: float) -> float:
    """
    Divide; nothing divided by nothing is NaN.

    Example:
    ```python
    >>> divide(1, 4), divide(0, 0)
    (0.25, nan)
    ```
    """
    return numerator / denominator if denominator else math.nan


def to_json_number(value: float) -> float | None:
    """
    Turn a number into one that JSON can hold: NaN becomes `None`.

    Example:
    ```python
    >>> to_json_number(np.float32(0.5)), to_json_number(math.nan)
    (0.5, None)
    ```
    """
    return None if math.isnan(value) else float(value)
