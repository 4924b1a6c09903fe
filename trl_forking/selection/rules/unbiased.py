"""Rules that draw tokens and weight them, so that the expected gradient is the one of all tokens."""

import torch

from ..tokens import compute_budget
from .token_plan import TokenPlan
from .token_stats import TokenStats


def random_unbiased(stats: TokenStats) -> TokenPlan:
    r"""
    Keep a random share of the tokens, each weighted by the inverse of its probability to be kept.

    $$ \hat{\nabla} = \frac{1}{N} \sum_{t \in S} \frac{\nabla \ell_t}{\pi}, \qquad \pi = \frac{\lceil \rho N \rceil}{N} $$

    Source: uniform random sampling of [NAT](https://huggingface.co/papers/2603.06619).

    Deviation: NAT draws every token by itself. Here exactly \\( \lceil \rho N \rceil \\) of the \\( N \\) counted tokens
    are kept, each with the same probability, which has less variance.

    Example:
    ```python
    >>> stats = TokenStats(torch.ones(1, 4).bool(), torch.zeros(1, 4), torch.ones(1, 4), torch.zeros(1, 4).long(), share=0.5)
    >>> random_unbiased(stats).inclusion_probabilities.tolist()
    [[0.5, 0.5, 0.5, 0.5]]
    ```
    """
    scores = torch.zeros_like(stats.entropy)
    if stats.scope == "sequence":
        counts = stats.mask.sum(1).tolist()
        probabilities = [compute_budget(count, stats.share) / max(count, 1) for count in counts]
    else:
        probabilities = [compute_budget(stats.num_tokens, stats.share) / max(stats.num_tokens, 1)] * len(scores)
    # A row without candidates has no probability, and nothing looks at it.
    column = torch.tensor(probabilities, dtype=torch.float64, device=scores.device).unsqueeze(1)
    return TokenPlan(scores=scores, inclusion_probabilities=column.expand(scores.shape))


def random_prefix(stats: TokenStats) -> TokenPlan:
    r"""
    Keep the beginning of every answer up to a random cut, each token weighted by the inverse of its probability to be
    kept. What stands behind the cut is not computed at all: no layer and no attention sees it.

    With \\( n \\) candidates in the answer, the cut is \\( L = \lceil n\, U^a \rceil \\) with \\( a = (1 - \rho) / \rho \\)
    and \\( U \\) uniform in (0, 1). So a share \\( \rho \\) is kept on average, and candidate \\( t = 1, \dots, n \\) is kept with

    $$ \pi_t = P(L \ge t) = 1 - \left(\frac{t - 1}{n}\right)^{1/a}. $$

    With \\( \rho = 0.5 \\) the cut is uniform. The last tokens of a long answer are kept seldom and then weigh much, up to
    about \\( a n \\): `forking/effective_sample_size` says how many tokens the weighted ones are worth.

    Source: random prefix cutting of [NAT](https://huggingface.co/papers/2603.06619), which weights by the inverse survival
    function of the cut.

    Deviation: the distribution of the cut is chosen here so that \\( \rho \\) keeps its meaning. Its mean is above
    \\( \rho n \\) by less than one token, because the first token is always kept. `selection_scope` changes nothing.

    Example:
    ```python
    >>> stats = TokenStats(torch.ones(1, 4).bool(), torch.zeros(1, 4), torch.ones(1, 4), torch.zeros(1, 4).long(), share=0.5)
    >>> random_prefix(stats).inclusion_probabilities.tolist()
    [[1.0, 0.75, 0.5, 0.25]]
    ```
    """
    return TokenPlan(**_cut(stats, stats.mask, stats.share))


def random_prefix_forks(stats: TokenStats) -> TokenPlan:
    r"""
    Keep the forks up to a random cut: the gradient is an unbiased estimate of `high_entropy`'s.

    The forks are the top share \\( \rho \\) by entropy. Of an answer with \\( n \\) forks the first \\( L \\) are kept, with
    \\( L \\) uniform in \\( 1, \dots, n \\), and fork \\( t \\) is weighted by \\( n / (n - t + 1) \\). The normalizer is the
    number of all forks.

    Source: random prefix cutting of [NAT](https://huggingface.co/papers/2603.06619), over the forks of
    [Beyond the 80/20 Rule](https://huggingface.co/papers/2506.01939). Neither paper has this combination.

    Example:
    ```python
    >>> entropy = torch.tensor([[0.1, 2.0, 0.2, 3.0]])
    >>> stats = TokenStats(torch.ones(1, 4).bool(), entropy, torch.ones(1, 4), torch.zeros(1, 4).long(), share=0.5)
    >>> random_prefix_forks(stats).inclusion_probabilities.tolist()
    [[1.0, 1.0, 1.0, 0.5]]
    ```
    """
    forks = stats.select_top(stats.entropy)
    return TokenPlan(**_cut(stats, forks, share=0.5), population=forks)


def _cut(stats: TokenStats, drawn_from: torch.Tensor, share: float) -> dict[str, torch.Tensor]:
    """Cut every row after a random number of the tokens of a mask."""
    number = drawn_from.cumsum(1)  # 1 for the first of them
    total = drawn_from.sum(1, keepdim=True).double()
    exponent = (1 - share) / share
    cut = (total * stats.draw(per="answer") ** exponent).ceil().clamp(min=1)
    before = ((number - 1).clamp(min=0) / total.clamp(min=1)).clamp(max=1)
    # With a share of 1 the cut is always at the end. The power would be 1 at a token behind the last one.
    probability = 1 - before ** (1 / exponent) if exponent > 0 else torch.ones_like(before)
    return {
        "keep": drawn_from & (number <= cut),
        "inclusion_probabilities": torch.where(drawn_from, probability, 1.0),
    }
