"""The selection of a run: settings and a batch in; kept tokens, per-token advantages and metrics out."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import torch

from .kth_largest import Reduce, keep_local
from .metrics import compute_selection_metrics, find_clipped
from .rules import Rule, TokenStats, ask_rule, compute_effective_sample_size, find_rule
from .schedule import compute_share
from .token_counts import TokenCounts
from .tokens import compute_loss_weights
from .words import NORMALIZER_EXTENT


_METRIC = "forking/"
# What a batch carries of a selection, if the rule says it; each is `(B, T)`.
_PARTS_OF_RULES = {"token_weights": "weights", "population": "population", "token_epsilon_low": "epsilon_low"}
_PARTS_OF_RULES["token_epsilon_high"] = "epsilon_high"


class SelectionSettings(Protocol):
    """The fields of [`ForkingGRPOConfig`] that a selection depends on."""

    top_entropy_quantile: float
    top_entropy_quantile_end: float | None
    token_selection: str
    token_rule: str | None
    selection_scope: str
    loss_normalizer: str
    count_zero_advantage: bool
    loss_type: str
    importance_sampling_level: str
    epsilon: float
    epsilon_high: float | None
    seed: int

    @property
    def drops_tokens(self) -> bool:
        """Whether any token is left out of the loss."""


def get_loss_mask(batch: Mapping[str, Any]) -> torch.Tensor:
    """
    Return the completion tokens that carry loss: no padding, tool output or masked truncated answer.

    Args:
        batch (`Mapping`):
            Batch with `completion_mask` `(B, T)` and, where tools wrote parts of an answer, `tool_mask` `(B, T)`.

    Returns:
        `torch.Tensor` of shape `(B, T)` and type bool.

    Example:
    ```python
    >>> import torch
    >>> get_loss_mask({"completion_mask": torch.tensor([[1, 1, 0]]), "tool_mask": torch.tensor([[0, 1, 1]])})
    tensor([[False,  True, False]])
    ```
    """
    mask = batch["completion_mask"]
    return (mask * batch["tool_mask"] if "tool_mask" in batch else mask).bool()


@dataclass(frozen=True)
class Selection:
    """
    The kept tokens of a batch.

    Attributes:
        counted (`torch.Tensor` of shape `(B, T)`): tokens that compete for the budget.
        kept (`torch.Tensor` of shape `(B, T)`): tokens that are trained; a subset of `counted`.
        num_kept (`int`): kept tokens of all ranks.
        batch_weight (`torch.Tensor`, a scalar): tokens that carry loss for each token of the normalizer, over all ranks.
        metrics (`dict[str, float]`): what [`compute_selection_metrics`] says of it.
        weights (`torch.Tensor` of shape `(B, T)`, *optional*): factors of the kept tokens' loss, if the rule weights them.
        population (`torch.Tensor` of shape `(B, T)`, *optional*): tokens that `loss_normalizer="kept"` counts in place of
            the kept ones, if the rule drew these at random.
        epsilon_low (`torch.Tensor` of shape `(B, T)`, *optional*): lower clip ranges, if the rule has its own.
        epsilon_high (`torch.Tensor` of shape `(B, T)`, *optional*): upper clip ranges.

    Example:
    ```python
    >>> import torch
    >>> kept = torch.tensor([[True, False]])
    >>> selection = Selection(torch.ones(1, 2).bool(), kept, 1, torch.tensor(2.0), {"threshold": 0.5})
    >>> batch = {}
    >>> selection.write_to(batch)
    >>> Selection.read_from(batch).metrics
    {'threshold': 0.5}
    ```
    """

    counted: torch.Tensor
    kept: torch.Tensor
    num_kept: int
    batch_weight: torch.Tensor
    metrics: dict[str, float]
    weights: torch.Tensor | None = None
    population: torch.Tensor | None = None
    epsilon_low: torch.Tensor | None = None
    epsilon_high: torch.Tensor | None = None

    def write_to(self, batch: dict[str, Any]) -> None:
        """Add the selection to a batch, in tensors, so that it stays with its rows where TRL splits and stores them."""
        batch["counted"], batch["kept"] = self.counted, self.kept
        batch["num_kept"], batch["batch_weight"] = torch.tensor(self.num_kept), self.batch_weight
        for name, part in _PARTS_OF_RULES.items():
            if getattr(self, part) is not None:
                batch[name] = getattr(self, part)
        for name, value in self.metrics.items():
            batch[_METRIC + name] = torch.tensor(value, dtype=torch.float64)

    @classmethod
    def read_from(cls, batch: Mapping[str, Any]) -> "Selection | None":
        """Return the selection that [`write_to`] added to a batch, or `None`."""
        if "kept" not in batch:
            return None
        names = [name for name in batch if name.startswith(_METRIC)]
        metrics = {name.removeprefix(_METRIC): batch[name].item() for name in names}
        parts = {part: batch.get(name) for name, part in _PARTS_OF_RULES.items()}
        return cls(batch["counted"], batch["kept"], batch["num_kept"].item(), batch["batch_weight"], metrics, **parts)


class Moment(NamedTuple):
    """
    When a batch is selected, and what is known of its tokens beside the entropies.

    Attributes:
        step (`int`): optimizer steps so far.
        max_steps (`int`): optimizer steps of the run; 0 if it is not known.
        num_generations (`int`): answers in a group.
        costly (`dict[str, torch.Tensor]`): statistics `(B, T)` that the rule needs.

    Example:
    ```python
    >>> Moment().step
    0
    ```
    """

    step: int = 0
    max_steps: int = 0
    num_generations: int = 1
    costly: Mapping[str, torch.Tensor] = MappingProxyType({})


@dataclass(frozen=True)
class LossMetrics:
    """
    What a loss pass says of a selection, over all ranks. A number that does not exist is NaN.

    Attributes:
        clip_fraction (`float`): share of the kept tokens whose importance ratio is clipped.
        entropy (`float`): mean entropy of the counted tokens, in nats.
        tokens_per_kept (`float`): tokens that carry loss for each kept one.

    Example:
    ```python
    >>> LossMetrics(clip_fraction=0.0, entropy=0.7, tokens_per_kept=5.0).entropy
    0.7
    ```
    """

    clip_fraction: float
    entropy: float
    tokens_per_kept: float


class TokenSelector:
    """
    Selects the kept tokens of batches, weights them for TRL's loss, and counts them by token id.

    Args:
        settings ([`ForkingGRPOConfig`]):
            Settings of the run.
        reduce (`Callable`, *optional*):
            Sums a tensor over the ranks.
        rule ([`~trl_forking.selection.rules.Rule`], *optional*):
            Rule in place of the one that the settings name.

    Attributes:
        token_counts ([`TokenCounts`]): how often each token of the vocabulary was counted and kept.

    Example:
    ```python
    >>> import torch
    >>> from trl_forking import ForkingGRPOConfig
    >>> selector = TokenSelector(ForkingGRPOConfig("runs/example", top_entropy_quantile=0.5, use_cpu=True))
    >>> batch = {"completion_mask": torch.ones(1, 2), "advantages": torch.ones(1), "row_ids": torch.zeros(1).long()}
    >>> selection = selector.select(batch, entropies=torch.tensor([[0.1, 0.9]]), seed=0)
    >>> selection.kept
    tensor([[False,  True]])
    >>> selector.weigh(batch, selection)["advantages"]  # twice as much for each of half as many tokens
    tensor([[0., 2.]])
    ```
    """

    def __init__(self, settings: SelectionSettings, reduce: Reduce = keep_local, rule: Rule | None = None):
        self.settings, self.reduce = settings, reduce
        self.rule = rule or find_rule(settings.token_rule or settings.token_selection)
        self.token_counts = TokenCounts()

    def find_counted(self, batch: Mapping[str, Any]) -> torch.Tensor:
        """
        Find the tokens that compete for the budget.

        Args:
            batch (`Mapping`):
                Batch with `completion_mask` `(B, T)` and `advantages` `(B,)`.

        Returns:
            `torch.Tensor` of shape `(B, T)` and type bool.
        """
        mask = get_loss_mask(batch)
        if not self.settings.drops_tokens or self.settings.count_zero_advantage:
            return mask
        return mask & (batch["advantages"] != 0).unsqueeze(1)

    def select(
        self, batch: Mapping[str, Any], entropies: torch.Tensor, seed: int, moment: Moment | None = None
    ) -> Selection:
        """
        Select the kept tokens of a batch, all ranks together.

        Args:
            batch (`Mapping`):
                This rank's batch with `completion_mask`, `advantages` and `row_ids` `(B,)`, the rows' numbers over all
                ranks.
            entropies (`torch.Tensor` of shape `(B, T)`):
                Entropies in nats; anything outside the counted tokens.
            seed (`int`):
                Seed of the order among ties and of `random`.
            moment ([`Moment`], *optional*):
                When it is, and the statistics that the rule needs.

        Returns:
            [`Selection`]

        Raises:
            `ValueError`: on all ranks, if the rule fails or its plan cannot be carried out on one of them.
        """
        settings, mask, moment = self.settings, get_loss_mask(batch), moment or Moment()
        stats = self._describe(batch, entropies, seed, moment)
        choice = ask_rule(self.rule, stats, mask, settings.importance_sampling_level)
        kept, counted, population = choice.kept, stats.mask, choice.population
        divides_by = kept if population is None else population
        counts = torch.stack([mask.count_nonzero(), kept.count_nonzero(), divides_by.count_nonzero()])
        num_tokens, num_kept, num_divides_by = self.reduce(counts).tolist()
        weight = torch.tensor(max(num_tokens, 1) / max(num_divides_by, 1), device=kept.device)
        metrics = compute_selection_metrics(
            entropies, mask, counted, kept, stats.share, settings.selection_scope == "sequence", self.reduce
        )
        if choice.weights is not None:
            metrics["effective_sample_size"] = compute_effective_sample_size(choice.weights, self.reduce)
        ranges = (choice.epsilon_low, choice.epsilon_high)
        return Selection(counted, kept, num_kept, weight, metrics, choice.weights, population, *ranges)

    def _describe(self, batch: Mapping[str, Any], entropies: torch.Tensor, seed: int, moment: Moment) -> TokenStats:
        """Collect what a rule may look at."""
        settings, counted = self.settings, self.find_counted(batch)
        upper = settings.epsilon if settings.epsilon_high is None else settings.epsilon_high
        return TokenStats(
            mask=counted,
            entropy=entropies.detach(),
            advantage=batch["advantages"].detach().unsqueeze(1).expand_as(counted),
            row=batch["row_ids"].unsqueeze(1).expand_as(counted),
            num_generations=moment.num_generations,
            share=compute_share(
                settings.top_entropy_quantile, settings.top_entropy_quantile_end, moment.step, moment.max_steps
            ),
            scope=settings.selection_scope,
            epsilon_low=settings.epsilon,
            epsilon_high=upper,
            step=moment.step,
            max_steps=moment.max_steps,
            seed=seed,
            # What was noted while sampling has numbers throughout.
            costly={
                name: value.detach().bool() if name == "is_top1" else value.detach()
                for name, value in moment.costly.items()
            },
            reduce=self.reduce,
        )

    def count(self, completion_ids: torch.Tensor, selection: Selection, vocabulary_size: int) -> None:
        """Add the tokens of a selection to `token_counts`; `completion_ids` are `(B, T)`, this rank's."""
        self.token_counts.add(completion_ids, selection.counted, selection.kept, vocabulary_size, self.reduce)

    def weigh(
        self, batch: Mapping[str, Any], selection: Selection, scores_dropped: bool = True
    ) -> dict[str, torch.Tensor]:
        """
        Turn the advantage of an answer into one per token: zero on dropped tokens, weighted on kept ones.

        Args:
            batch (`Mapping`):
                Micro-batch as TRL's loss takes it.
            selection ([`Selection`]):
                Its selection.
            scores_dropped (`bool`, *optional*, defaults to `True`):
                Whether the loss pass scores dropped tokens too; a sparse update gives them a log-probability of 0.

        Returns:
            `dict[str, torch.Tensor]`: entries of the batch to replace; nothing where no token is dropped.
        """
        settings, kept = self.settings, selection.kept
        if not settings.drops_tokens:
            return {}
        mask = divided_by = get_loss_mask(batch)
        replaced: dict[str, torch.Tensor] = {}
        if settings.importance_sampling_level == "sequence":
            # TRL takes the mean log-ratio over this mask. Narrowed to the kept tokens it sends no gradient to others.
            replaced["tool_mask"] = kept.to(batch["completion_mask"].dtype)
            divided_by = kept
        keeps_count = settings.loss_normalizer == "kept"
        counted_by_rule = kept if selection.population is None else selection.population
        weights = compute_loss_weights(
            divided_by,
            counted_by_rule if keeps_count else mask,
            NORMALIZER_EXTENT[settings.loss_type],
            selection.batch_weight.item() if keeps_count else 1.0,
        )
        replaced["advantages"] = batch["advantages"].unsqueeze(1) * kept * weights
        if selection.weights is not None:
            replaced["advantages"] = replaced["advantages"] * selection.weights
        if "importance_sampling_ratio" in batch and settings.loss_type != "vespo":  # which takes no product with it
            # Without an upper bound the ratio to vLLM's probability can be infinite, and times an advantage of 0 NaN.
            replaced["importance_sampling_ratio"] = torch.where(kept, batch["importance_sampling_ratio"], 1.0)
        if not scores_dropped and "old_per_token_logps" in batch:
            # Against the old value of a token that is not scored the ratio could overflow, and infinity times an
            # advantage of 0 is NaN. Against 0 the ratio is 1.
            replaced["old_per_token_logps"] = batch["old_per_token_logps"].masked_fill(~kept, 0.0)
        return replaced

    def compute_loss_metrics(
        self,
        batch: Mapping[str, Any],
        selection: Selection,
        per_token_logps: torch.Tensor,
        entropies: torch.Tensor,
        mask: torch.Tensor,
    ) -> LossMetrics:
        """
        Compute what a loss pass says of its selection, over all ranks.

        Args:
            batch (`Mapping`):
                Micro-batch as TRL's loss got it, with what [`weigh`] replaced.
            selection ([`Selection`]):
                Its selection.
            per_token_logps (`torch.Tensor` of shape `(B, T)`):
                Log-probabilities under the current policy; anything at dropped tokens.
            entropies (`torch.Tensor` of shape `(B, T)`):
                Entropies in nats; anything outside the counted tokens.
            mask (`torch.Tensor` of shape `(B, T)`):
                Tokens that carry loss.

        Returns:
            [`LossMetrics`]
        """
        settings, kept, counted = self.settings, selection.kept, selection.counted
        advantages = batch["advantages"] if settings.drops_tokens else batch["advantages"].unsqueeze(1)
        log_ratio = per_token_logps - batch.get("old_per_token_logps", per_token_logps)
        if settings.importance_sampling_level == "sequence":
            log_ratio = (log_ratio * kept).sum(1, keepdim=True) / kept.sum(1, keepdim=True).clamp(min=1)
        upper = settings.epsilon if settings.epsilon_high is None else settings.epsilon_high
        lower_of_tokens = settings.epsilon if selection.epsilon_low is None else selection.epsilon_low
        upper_of_tokens = upper if selection.epsilon_high is None else selection.epsilon_high
        clipped = kept & find_clipped(
            log_ratio.exp(), advantages, lower_of_tokens, upper_of_tokens, settings.loss_type
        )
        sums = [clipped.sum(), kept.sum(), mask.sum(), counted.sum(), entropies[counted].sum()]
        totals = self.reduce(torch.stack([value.float() for value in sums])).tolist()
        num_clipped, num_kept, num_tokens, num_counted, entropy_sum = totals
        return LossMetrics(
            num_clipped / num_kept if num_kept else math.nan,
            entropy_sum / num_counted if num_counted else math.nan,
            num_tokens / num_kept if num_kept else math.nan,
        )
