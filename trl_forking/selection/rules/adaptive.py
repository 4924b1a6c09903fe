"""Rules that keep all tokens, and weight or clip them by their entropy."""

import torch

from .token_plan import TokenPlan
from .token_stats import TokenStats


def entropy_clip(stats: TokenStats, wide: float = 0.5, narrow: float = 0.2) -> TokenPlan:
    r"""
    Keep all tokens, and clip the importance ratio of uncertain ones later: 0.5 on both sides for the top share
    \\( \rho \\) of each answer by entropy, 0.2 for all others.

    Source: Archer, [Dual-Token Constraints for RLVR](https://huggingface.co/papers/2507.15778), and its released code.

    Deviations: Archer also adds a KL term on the tokens with the narrow range, see `kl_tokens`. Its threshold is an interpolated
    quantile of the answer under the current policy; here it is an exact share under the policy that wrote the answer. Without
    old log-probabilities (one step for each rollout) no ratio is clipped, and the rule is plain GRPO.

    Example:
    ```python
    >>> entropy = torch.tensor([[0.1, 2.0]])
    >>> stats = TokenStats(torch.ones(1, 2).bool(), entropy, torch.ones(1, 2), torch.zeros(1, 2).long(), share=0.5)
    >>> entropy_clip(stats).epsilon_high
    tensor([[0.2000, 0.5000]])
    ```
    """
    is_high = stats.select_top(stats.entropy, scope="sequence")
    epsilon = torch.where(is_high, wide, narrow).to(stats.entropy.dtype)
    return TokenPlan(keep=stats.mask, epsilon_low=epsilon, epsilon_high=epsilon)


def entropy_weights(stats: TokenStats) -> TokenPlan:
    r"""
    Keep all tokens, weight certain ones less, and widen the clip range of each token on one side.

    The logarithm of the entropy is centered at its median over the rollout batch, and scaled to [-1, 1] on each side:

    $$ d_t = \log H_t - \operatorname{median}, \qquad h_t = \frac{d_t}{\max_s |d_s|_{\operatorname{sign} d_s = \operatorname{sign} d_t}} $$

    With \\( h_t \le 0 \\) the weight is \\( 1 + h_t \\) and the lower range \\( \varepsilon_{low} (1 - h_t) \\). With
    \\( h_t > 0 \\) the weight is 1 and the upper range \\( \varepsilon_{high} (1 + h_t) \\).

    Source: advantage redistribution and adaptive clipping of [HAPO](https://huggingface.co/papers/2509.16591), and its released code.

    Deviations: HAPO's weight depends on the importance ratio of the moment. Here it is the one at ratio 1, because a plan is
    made before the update. The released code divides a negative \\( d_t \\) by a negative number, so that \\( h_t \\) turns
    positive; here it keeps its sign, as in the paper's text. The temperature of sampling and the advantages of a group stay TRL's.

    Example:
    ```python
    >>> entropy = torch.tensor([[0.01, 0.1, 1.0]])
    >>> stats = TokenStats(torch.ones(1, 3).bool(), entropy, torch.ones(1, 3), torch.zeros(1, 3).long())
    >>> plan = entropy_weights(stats)
    >>> plan.weights, plan.epsilon_high
    (tensor([[0., 1., 1.]]), tensor([[0.2800, 0.2800, 0.5600]]))
    ```
    """
    # The grid of the entropies: one below it could be any number, and its logarithm too.
    logarithms = stats.entropy.clamp(min=2.0**-16).log()
    centered = logarithms - stats.quantile(logarithms, 0.5)
    above = max(stats.quantile(centered, 1.0), 1e-8)
    below = max(stats.quantile(-centered, 1.0), 1e-8)
    height = torch.where(centered > 0, centered / above, centered / below).clamp(-1.0, 1.0)
    return TokenPlan(
        keep=stats.mask,
        weights=1 + height.clamp(max=0.0),
        epsilon_low=stats.epsilon_low * (1 - height.clamp(max=0.0)),
        epsilon_high=stats.epsilon_high * (1 + height.clamp(min=0.0)),
    )
