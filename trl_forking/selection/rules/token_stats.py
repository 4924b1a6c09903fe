"""What a rule sees of the tokens, and the questions that all ranks answer together."""

import functools
from dataclasses import dataclass, field

import torch

from ..kth_largest import Reduce, compute_order_statistics, keep_local
from ..tokens import compute_budget, compute_tie_keys, select_top_share, select_top_share_per_sequence


COSTLY_STATISTICS = ("log_prob", "sum_sq_probs", "is_top1")
"""Statistics that are computed only if a rule names them."""

# Sums of multiples of this number are exact in float64 up to 10^8, so that no split over ranks changes a mean.
_MEAN_GRID = 2.0**-26
_SALT = 2**40  # far from the seeds of other steps


@dataclass(frozen=True, eq=False, repr=False)
class TokenStats:
    r"""
    Statistics of the tokens of this rank, under the policy that wrote the answers. No gradient goes through them.

    A value outside `mask` is anything. `log_prob`, `sum_sq_probs` and `is_top1` are there only for a rule that names
    them, see [`token_rule`].

    Attributes:
        mask (`torch.Tensor` of shape `(B, T)`): candidates, which are the counted tokens. A rule can keep no other.
        entropy (`torch.Tensor` of shape `(B, T)`): entropies in nats, \\( H = -\sum_v p_v \log p_v \\).
        advantage (`torch.Tensor` of shape `(B, T)`): advantage of the answer, on each of its tokens.
        row (`torch.Tensor` of shape `(B, T)`): number of the answer in the rollout batch of all ranks.
        num_generations (`int`): answers in a group.
        share (`float`): `top_entropy_quantile` at this step, in (0, 1].
        scope (`str`): `selection_scope`.
        epsilon_low (`float`): lower clip range of the run.
        epsilon_high (`float`): upper clip range of the run.
        step (`int`): optimizer steps so far.
        max_steps (`int`): optimizer steps of the whole run; 0 if it is not known.
        seed (`int`): seed of this rollout, for [`~TokenStats.draw`].
        costly (`dict[str, torch.Tensor]`): the statistics that the rule named.
        reduce (`Callable`): sums a tensor over the ranks.

    Example:
    ```python
    >>> import torch
    >>> entropy, mask = torch.tensor([[0.5, 2.0, 1.0]]), torch.tensor([[True, True, True]])
    >>> stats = TokenStats(mask, entropy, torch.ones(1, 3), torch.zeros(1, 3).long(), share=0.5)
    >>> stats.num_tokens, stats.mean(entropy), stats.quantile(entropy, 0.5), stats.select_top(entropy).tolist()
    (3, 1.1666666666666667, 1.0, [[False, True, True]])
    ```
    """

    mask: torch.Tensor
    entropy: torch.Tensor
    advantage: torch.Tensor
    row: torch.Tensor
    num_generations: int = 1
    share: float = 0.2
    scope: str = "batch"
    epsilon_low: float = 0.2
    epsilon_high: float = 0.28
    step: int = 0
    max_steps: int = 0
    seed: int = 0
    costly: dict[str, torch.Tensor] = field(default_factory=dict)
    reduce: Reduce = keep_local

    @property
    def log_prob(self) -> torch.Tensor:
        """Log-probability of the token that was drawn, `(B, T)`."""
        return self._get_costly("log_prob")

    @property
    def sum_sq_probs(self) -> torch.Tensor:
        r"""Sum of the squared probabilities of the vocabulary, \\( \sum_v p_v^2 \\), `(B, T)`."""
        return self._get_costly("sum_sq_probs")

    @property
    def is_top1(self) -> torch.Tensor:
        """Whether the token that was drawn was the most likely one, `(B, T)`, bool."""
        return self._get_costly("is_top1")

    def _get_costly(self, name: str) -> torch.Tensor:
        if name not in self.costly:
            raise ValueError(
                f'it reads stats.{name} but does not name it: decorate it with @token_rule(needs=("{name}",))'
            )
        return self.costly[name]

    @property
    def position(self) -> torch.Tensor:
        """Position of each token in its answer, from 0, `(B, T)`."""
        return torch.arange(self.mask.size(1), device=self.mask.device).expand_as(self.mask)

    @property
    def length(self) -> torch.Tensor:
        """Number of candidates in the answer, on each of its tokens, `(B, T)`."""
        return self.mask.sum(1, keepdim=True).expand_as(self.mask)

    @property
    def group(self) -> torch.Tensor:
        """Number of the group, on each token, `(B, T)`. Answers to one prompt have the same."""
        return self.row // self.num_generations

    @functools.cached_property
    def num_tokens(self) -> int:
        """Number of candidates on all ranks."""
        return int(self.reduce(self.mask.count_nonzero()))

    def mean(self, values: torch.Tensor) -> float:
        """Compute the mean of values `(B, T)` over the candidates of all ranks: the same on every split, NaN without any."""
        total = ((values[self.mask].double() / _MEAN_GRID).round() * _MEAN_GRID).sum()
        return float(self.reduce(total)) / self.num_tokens if self.num_tokens else float("nan")

    def quantile(self, values: torch.Tensor, q: float) -> float:
        """Compute the smallest of the values `(B, T)` that a share `q` of all ranks' candidates does not exceed."""
        if not self.num_tokens:
            return float("nan")
        place = self.num_tokens - max(compute_budget(self.num_tokens, q), 1) + 1
        return compute_order_statistics(values[self.mask].float(), [place], self.reduce)[0]

    def select_top(self, scores: torch.Tensor, share: float | None = None, scope: str | None = None) -> torch.Tensor:
        """
        Select exactly the top share of the candidates by score, on every layout the same.

        Args:
            scores (`torch.Tensor` of shape `(B, T)`):
                Scores.
            share (`float`, *optional*):
                Share, in (0, 1]. The default is `top_entropy_quantile`.
            scope (`str`, *optional*):
                Which tokens share one threshold. The default is `selection_scope`.

        Returns:
            `torch.Tensor` of shape `(B, T)` and type bool.
        """
        share, scope = self.share if share is None else share, scope or self.scope
        # A candidate at -inf would tie with the tokens that are none.
        scores = scores.float().clamp(min=torch.finfo(torch.float32).min)
        if scope == "sequence":
            return select_top_share_per_sequence(scores, self.mask, share, self.row[:, 0], self.seed)
        return select_top_share(scores, self.mask, share, self.row[:, 0], self.seed, self.reduce)

    def draw(self, per: str = "token", number: int = 0) -> torch.Tensor:
        """
        Draw uniform numbers in [0, 1) that depend only on the seed and the place of a token in the rollout batch.

        Args:
            per (`str`, *optional*, defaults to `"token"`):
                `"token"`, or `"answer"` for one number for each answer.
            number (`int`, *optional*, defaults to `0`):
                Another number gives unrelated draws.

        Returns:
            `torch.Tensor` of shape `(B, T)` or `(B, 1)`, float64.
        """
        rows, positions = (self.row, self.position) if per == "token" else (self.row[:, :1], self.position[:, :1] * 0)
        keys = compute_tie_keys(rows, positions, self.seed + (number + 1) * _SALT)
        return ((keys >> 11) & (2**53 - 1)).double() / 2**53
