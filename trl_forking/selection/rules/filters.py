"""Rules without a budget: they leave out tokens that harm, and keep all others."""

from .rule import token_rule
from .token_plan import TokenPlan
from .token_stats import TokenStats


@token_rule(needs=("log_prob",))
def covariance(stats: TokenStats, ratio: float = 2e-4, lowest: float = 1.0, highest: float = 5.0) -> TokenPlan:
    r"""
    Keep all tokens but a few whose covariance of advantage and log-probability is large. They lower the entropy most.

    $$ c_t = (A_t - \bar{A})\,(\log p(y_t) - \overline{\log p}) $$

    Of the tokens with \\( c_t \\) between 1 and 5, at random \\( \max(\lfloor 0.0002\, N \rfloor, 1) \\) are dropped.

    Source: Clip-Cov of [The Entropy Mechanism of Reinforcement Learning](https://huggingface.co/papers/2505.22617) and its
    released code, which the three numbers are from.

    Deviations: the means run over the whole rollout batch and not over a micro-batch, and the tokens are chosen once, under the
    policy that wrote the answers. (The released code leaves out tokens that are clipped at the moment.)

    Example:
    ```python
    >>> import torch
    >>> advantage, costly = torch.tensor([[1.0, 1.0], [-1.0, -1.0]]), {"log_prob": torch.tensor([[0.0, -4.0], [-4.0, 0.0]])}
    >>> stats = TokenStats(
    ...     torch.ones(2, 2).bool(), torch.zeros(2, 2), advantage, torch.tensor([[0, 0], [1, 1]]), costly=costly
    ... )
    >>> covariance(stats).keep.sum().item()  # of two tokens at 2, one is dropped
    3
    ```
    """
    centered = stats.advantage - stats.mean(stats.advantage)
    covariances = centered * (stats.log_prob - stats.mean(stats.log_prob))
    eligible = stats.mask & (covariances > lowest) & (covariances < highest)
    num_eligible = int(stats.reduce(eligible.count_nonzero()))
    if not num_eligible:
        return TokenPlan(keep=stats.mask)
    num_dropped = min(max(int(ratio * stats.num_tokens), 1), num_eligible)
    # The budget is rounded up: half a token less is the number that is meant.
    share = max(num_dropped - 0.5, 0.5) / stats.num_tokens
    dropped = stats.select_top(eligible.float(), share, scope="batch")
    return TokenPlan(keep=stats.mask & ~dropped)


@token_rule(needs=("log_prob",))
def surprisal_band(stats: TokenStats, lowest: float = 0.1, highest: float = 3.0) -> TokenPlan:
    r"""
    Keep the tokens whose surprise, relative to what the policy expected, is neither small nor extreme.

    $$ r_t = \frac{-\log p(y_t)}{H_t}, \qquad 0.1 \le r_t \le 3 $$

    A token at which the policy is certain (\\( H_t = 0 \\)) is dropped.

    Source: the relative surprisal index, [RSI-S](https://huggingface.co/papers/2606.31575).

    Deviations: the formula and the two bounds are those of public re-implementations. The text of the paper was not at
    hand, and neither was code of its authors. Where it is written \\( 1 + \log p / H \\), the band is the mirrored one.

    On the built-in task it learns worse than `random` with a share of 20 % (docs/results.md, five seeds).

    Example:
    ```python
    >>> import torch
    >>> entropy, costly = torch.tensor([[1.0, 1.0, 1.0]]), {"log_prob": torch.tensor([[-0.01, -1.0, -5.0]])}
    >>> stats = TokenStats(torch.ones(1, 3).bool(), entropy, torch.ones(1, 3), torch.zeros(1, 3).long(), costly=costly)
    >>> surprisal_band(stats).keep
    tensor([[False,  True, False]])
    ```
    """
    surprisal = -stats.log_prob
    # Not divided: the entropy of a certain token is 0.
    is_inside = (surprisal >= lowest * stats.entropy) & (surprisal <= highest * stats.entropy)
    return TokenPlan(keep=stats.mask & is_inside & (stats.entropy > 0))


@token_rule(needs=("log_prob",))
def rare_token_veto(stats: TokenStats, probability: float = 0.01, quantile: float = 0.05) -> TokenPlan:
    r"""
    Keep all tokens but those that a right answer has by accident: rare ones at places where the policy was certain.

    A token is dropped if \\( A > 0 \\), \\( p(y_t) < \tau_p \\) and \\( H_t < \tau_h \\). The loss is divided by the kept
    tokens. \\( \tau_p \\) is 0.01, and \\( \tau_h \\) the 5th percentile of the entropies of the rollout batch.

    Source: the mask of [STAPO](https://huggingface.co/papers/2602.15620).

    Deviations: the two thresholds are the examples of a summary by the authors' company, because the paper's table was not at hand.
    Tokens are chosen once, under the policy that wrote the answers.

    Example:
    ```python
    >>> import torch
    >>> entropy, costly = torch.tensor([[0.001, 1.0, 1.0]]), {"log_prob": torch.tensor([[-7.0, -7.0, -0.1]])}
    >>> stats = TokenStats(torch.ones(1, 3).bool(), entropy, torch.ones(1, 3), torch.zeros(1, 3).long(), costly=costly)
    >>> rare_token_veto(stats, quantile=0.5).keep
    tensor([[False,  True,  True]])
    ```
    """
    is_certain = stats.entropy < stats.quantile(stats.entropy, quantile)
    is_rare = stats.log_prob.exp() < probability
    return TokenPlan(keep=stats.mask & ~((stats.advantage > 0) & is_rare & is_certain))
