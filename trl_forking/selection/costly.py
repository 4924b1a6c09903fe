"""Statistics of the next token that are computed only if a rule needs them."""

from collections.abc import Sequence

import torch


def compute_costly(logits: torch.Tensor, token_ids: torch.Tensor, needs: Sequence[str]) -> torch.Tensor:
    r"""
    Compute statistics of the next token and of the token that was drawn.

    `log_prob` is \\( \log p(y) \\), `sum_sq_probs` is \\( \sum_v p_v^2 \\), and `is_top1` is 1 where the token is the most
    likely one, with \\( p = \mathrm{softmax}(z) \\).

    Args:
        logits (`torch.Tensor` of shape `(B, V)`):
            Logits \\( z \\), divided by the temperature if there is one.
        token_ids (`torch.Tensor` of shape `(B,)`):
            Tokens that were drawn, \\( y \\).
        needs (`Sequence[str]`):
            Names of the statistics.

    Returns:
        `torch.Tensor` of shape `(B, K)`, float32: a column for each name.

    Example:
    ```python
    >>> import torch
    >>> compute_costly(torch.tensor([[0.0, 0.0]]), torch.tensor([1]), ("log_prob", "sum_sq_probs"))
    tensor([[-0.6931,  0.5000]])
    ```
    """
    log_probs = logits.detach().float().log_softmax(-1)
    drawn = log_probs.gather(1, token_ids.unsqueeze(1)).squeeze(1)
    compute = {
        "log_prob": lambda: drawn,
        "sum_sq_probs": lambda: (2 * log_probs).exp().sum(1),
        # As TRL's fused head: of equal ones the first.
        "is_top1": lambda: (log_probs >= log_probs.amax(1, keepdim=True)).byte().argmax(1) == token_ids,
    }
    return torch.stack([compute[name]().float() for name in needs], dim=1)
