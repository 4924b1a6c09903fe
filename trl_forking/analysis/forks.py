"""Which tokens of a collection are forks: the trainer's rule (`selection/tokens.py`) for answers of any length.

The rule marks exactly ceil(rho * N) tokens over all answers. It rounds entropies as the trainer does, and breaks ties by the
same keys.
"""

from collections.abc import Sequence

import numpy as np
import torch

from ..selection.share import check_share
from ..selection.tokens import compute_budget, compute_tie_keys, round_entropies


def join_entropies(entropies: Sequence[np.ndarray]) -> np.ndarray:
    """
    Join the entropies of all answers into one array.

    Args:
        entropies (sequence of `np.ndarray` of shape `(T_i,)`):
            Entropies of each answer in nats.

    Returns:
        `np.ndarray` of shape `(N,)`, float64.

    Raises:
        `ValueError`: if an entropy is NaN.

    Example:
    ```python
    >>> join_entropies([np.array([0.5]), np.array([]), np.array([1.0, 0.0])]).tolist()
    [0.5, 1.0, 0.0]
    ```
    """
    for answer, values in enumerate(entropies):
        if np.isnan(values).any():
            position = int(np.isnan(values).argmax())
            raise ValueError(f"The entropy of answer {answer}, position {position} is NaN: score that answer again.")
    return np.concatenate([np.zeros(0), *entropies]).astype(np.float64)


def rank_tokens(entropies: Sequence[np.ndarray]) -> list[np.ndarray]:
    r"""
    Rank all tokens by entropy, 0 for the highest.

    The forks at any \\( \rho \\) are the tokens whose rank is below \\( \lceil \rho N \rceil \\). `select_tokens` keeps
    the same set of a rollout batch with these answers in this order, also where entropies are equal.

    Args:
        entropies (sequence of `np.ndarray` of shape `(T_i,)`):
            Entropies of each answer in nats.

    Returns:
        `list[np.ndarray]`: ranks of each answer's tokens, shape `(T_i,)`; over all answers a permutation of 0 to N - 1.

    Raises:
        `ValueError`: if an entropy is NaN.

    Example:
    ```python
    >>> [ranks.tolist() for ranks in rank_tokens([np.array([0.1, 2.0]), np.array([0.7])])]
    [[2, 0], [1]]
    ```
    """
    lengths = [len(values) for values in entropies]
    rows = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths, dtype=torch.long))
    positions = torch.cat([torch.zeros(0, dtype=torch.long), *(torch.arange(length) for length in lengths)])
    keys = compute_tie_keys(rows, positions).numpy()
    rounded = round_entropies(torch.from_numpy(join_entropies(entropies))).numpy()
    ranks: np.ndarray = np.empty(len(rounded), dtype=np.int64)
    ranks[np.lexsort((~keys, -rounded))] = np.arange(len(rounded))  # ~ reverses the order and cannot overflow
    return np.split(ranks, np.cumsum(lengths)[:-1]) if lengths else []


def select_forks(entropies: Sequence[np.ndarray], top_entropy_quantile: float = 0.2) -> list[np.ndarray]:
    r"""
    Select the forks: exactly the \\( \lceil \rho N \rceil \\) tokens with the highest entropies over all answers.

    Source: section 5 of [Beyond the 80/20 Rule](https://huggingface.co/papers/2506.01939).

    Args:
        entropies (sequence of `np.ndarray` of shape `(T_i,)`):
            Entropies of each answer in nats.
        top_entropy_quantile (`float`, *optional*, defaults to `0.2`):
            Share of forks, \\( \rho \\), a fraction in (0, 1].

    Returns:
        `list[np.ndarray]`: for each answer a mask of its forks, shape `(T_i,)`, bool.

    Raises:
        `ValueError`: if the share is not in (0, 1] or an entropy is NaN.

    Example:
    ```python
    >>> [forks.tolist() for forks in select_forks([np.array([0.1, 2.0]), np.array([0.7])], 0.5)]
    [[False, True], [True]]
    ```
    """
    check_share(top_entropy_quantile)
    budget = compute_budget(sum(len(values) for values in entropies), top_entropy_quantile)
    return [ranks < budget for ranks in rank_tokens(entropies)]
