"""The entropy of the next token."""

import torch


def compute_entropies(logits: torch.Tensor) -> torch.Tensor:
    r"""
    Compute the entropy of the next token, \\( H = -\sum_j p_j \log p_j \\) with \\( p = \mathrm{softmax}(z) \\).

    Source: section 3 of [Beyond the 80/20 Rule](https://huggingface.co/papers/2506.01939).

    Args:
        logits (`torch.Tensor` of shape `(..., V)`):
            Logits \\( z \\), divided by the temperature if there is one. A token at -inf is impossible and adds nothing.
            They are left as they are, and no gradient goes through them.

    Returns:
        `torch.Tensor` of shape `(..., 1)`, float32: entropies in nats. The last dimension stays, so that they can be
        compared with the logits.

    Example:
    ```python
    >>> import math, torch
    >>> compute_entropies(torch.tensor([[0.0, 0.0, -math.inf]]))  # log 2
    tensor([[0.6931]])
    ```
    """
    probabilities = logits.detach().float().softmax(dim=-1)
    # entr(0) is 0, where 0 * log 0 would be NaN. It is written over its input, since a vocabulary is large.
    return torch.special.entr(probabilities, out=probabilities).sum(dim=-1, keepdim=True)
