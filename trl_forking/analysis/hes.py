"""A score of how much a model could learn from an answer: the sum of its highest entropies."""

import numpy as np

from ..selection.tokens import compute_budget


def compute_hes(entropies: np.ndarray, share: float = 0.005) -> float:
    r"""
    Compute the sum of the highest token entropies of an answer, \\( \sum_{t \in \mathrm{top}_k} H_t \\) with
    \\( k = \lceil s T \rceil \\).

    Source: [HES](https://huggingface.co/papers/2605.22389), which scores the quality of data by it.

    Args:
        entropies (`np.ndarray` of shape `(T,)`):
            Entropies of one answer in nats.
        share (`float`, *optional*, defaults to `0.005`):
            Share of the tokens that the sum is over, \\( s \\), a fraction in (0, 1]. By default it is one token for an
            answer of up to 200 tokens.

    Returns:
        `float`: nats; 0.0 for an answer without tokens.

    Raises:
        `ValueError`: if the share is not in (0, 1].

    Example:
    ```python
    >>> import numpy as np
    >>> from trl_forking.analysis import compute_hes
    >>> compute_hes(np.array([0.0, 2.0, 0.5, 1.0]), share=0.5)
    3.0
    ```
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be in (0, 1], but it is {share}.")
    highest = np.sort(np.asarray(entropies, np.float64))[::-1]
    return float(highest[: compute_budget(len(highest), share)].sum())
