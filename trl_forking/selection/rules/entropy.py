"""The paper's selection and its two controls."""

import torch

from .token_plan import TokenPlan
from .token_stats import TokenStats


def high_entropy(stats: TokenStats) -> TokenPlan:
    r"""
    Keep the top share by entropy, \\( H_t \ge \tau_\rho \\): the tokens where the reasoning forks.

    Source: Eq. 6 of [Beyond the 80/20 Rule](https://huggingface.co/papers/2506.01939).

    Example:
    ```python
    >>> stats = TokenStats(torch.ones(1, 2).bool(), torch.tensor([[0.1, 0.9]]), torch.ones(1, 2), torch.zeros(1, 2).long())
    >>> high_entropy(stats).scores
    tensor([[0.1000, 0.9000]])
    ```
    """
    return TokenPlan(scores=stats.entropy)


def low_entropy(stats: TokenStats) -> TokenPlan:
    r"""
    Keep the tokens outside the top share by entropy, \\( H_t < \tau_\rho \\). It is a control of
    [Beyond the 80/20 Rule](https://huggingface.co/papers/2506.01939) that learns less than all tokens do.
    On the built-in task it learns worse than `random` with a share of 20 % (docs/results.md, five seeds).

    Example:
    ```python
    >>> stats = TokenStats(torch.ones(1, 2).bool(), torch.tensor([[0.1, 0.9]]), torch.ones(1, 2), torch.zeros(1, 2).long())
    >>> low_entropy(stats).is_complement
    True
    ```
    """
    return TokenPlan(scores=stats.entropy, is_complement=True)


def random(stats: TokenStats) -> TokenPlan:
    r"""
    Keep a random set of the size of `high_entropy`'s, with the same normalizer: a control.

    All tokens tie, so that the order among ties decides, which another seed shuffles in every rollout.

    Example:
    ```python
    >>> stats = TokenStats(torch.ones(1, 2).bool(), torch.tensor([[0.1, 0.9]]), torch.ones(1, 2), torch.zeros(1, 2).long())
    >>> random(stats).scores
    tensor([[0., 0.]])
    ```
    """
    return TokenPlan(scores=torch.zeros_like(stats.entropy))
