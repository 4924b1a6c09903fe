"""Rules that look at the advantage too: tokens whose gradient is large."""

from .rule import token_rule
from .token_plan import TokenPlan
from .token_stats import TokenStats


@token_rule(needs=("log_prob", "sum_sq_probs"))
def gradient_norm(stats: TokenStats) -> TokenPlan:
    r"""
    Keep the top share by the norm of the token's gradient with respect to the logits.

    $$ s_t = |A|\, \lVert e_{y_t} - p \rVert_2 = |A| \sqrt{1 - 2 p(y_t) + \sum_v p_v^2} $$

    Source: gradient magnitude-based token selection, [GMTS](https://openreview.net/forum?id=JGvOicAo3g).

    Deviation: the norm is taken once, under the policy that wrote the answers, so that there is no importance ratio in it.

    Example:
    ```python
    >>> import torch
    >>> costly = {"log_prob": torch.tensor([[0.5, 1.0]]).log(), "sum_sq_probs": torch.tensor([[0.5, 1.0]])}
    >>> stats = TokenStats(torch.ones(1, 2).bool(), torch.zeros(1, 2), torch.ones(1, 2), torch.zeros(1, 2).long(), costly=costly)
    >>> gradient_norm(stats).scores  # the second token is certain
    tensor([[0.7071, 0.0000]])
    ```
    """
    squared = 1 - 2 * stats.log_prob.exp() + stats.sum_sq_probs
    return TokenPlan(scores=stats.advantage.abs() * squared.clamp(min=0).sqrt())  # below 0 by rounding alone


def advantage_entropy(stats: TokenStats) -> TokenPlan:
    r"""
    Keep the top share by \\( |A|\, H_t \\): tokens at which the policy is uncertain, of answers that matter.

    Source: the token level of [D3S](https://huggingface.co/papers/2509.22115).

    Deviations: D3S also drops whole answers so that the variance of the advantages grows, and changes the share in the
    course of the training; for the second, set `top_entropy_quantile_end`.

    Example:
    ```python
    >>> import torch
    >>> advantage = torch.tensor([[-2.0, -2.0], [0.5, 0.5]])
    >>> entropy = torch.tensor([[0.5, 0.1], [1.0, 0.0]])
    >>> stats = TokenStats(torch.ones(2, 2).bool(), entropy, advantage, torch.tensor([[0, 0], [1, 1]]))
    >>> advantage_entropy(stats).scores
    tensor([[1.0000, 0.2000],
            [0.5000, 0.0000]])
    ```
    """
    return TokenPlan(scores=stats.advantage.abs() * stats.entropy)
