"""What a micro-batch costs and contains, in numbers, and what these say of an optimizer step. Pure torch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any

import torch


class Column(IntEnum):
    """
    Columns of a table with a row for each answer, or for each micro-batch.

    Example:
    ```python
    >>> len(Column)
    6
    ```
    """

    COMPUTED = 0  # columns that a forward pass computes for the answer; for a micro-batch: its tokens, with padding
    REAL = 1  # of these, tokens that are no padding
    TOKENS = 2  # tokens that carry loss
    COUNTED = 3
    KEPT = 4
    ROWS = 5


def sum_micro_batches(table: torch.Tensor, micro_batches: Sequence[Sequence[int]]) -> torch.Tensor:
    """
    Sum the table of answers to one of micro-batches. An answer is padded to the longest of its micro-batch.

    Args:
        table (`torch.Tensor` of shape `(N, 6)`):
            A row for each answer, see [`Column`].
        micro_batches (`Sequence[Sequence[int]]`):
            Rows of the table that make up each micro-batch.

    Returns:
        `torch.Tensor` of shape `(M, 6)`.

    Example:
    ```python
    >>> table = torch.tensor([[5, 5, 4, 4, 1, 1], [3, 3, 2, 2, 1, 1], [0, 0, 4, 0, 0, 1]])
    >>> sum_micro_batches(table, [[0, 1, 2]]).tolist()
    [[10, 8, 10, 6, 2, 3]]
    ```
    """
    sums = torch.zeros(len(micro_batches), len(Column), dtype=torch.long)
    for number, rows in enumerate(micro_batches):
        part = table[torch.tensor(rows, dtype=torch.long)]
        sums[number] = part.sum(0)
        lengths = part[:, Column.COMPUTED]
        sums[number, Column.COMPUTED] = (lengths > 0).sum() * (lengths.amax() if len(rows) else 0)
    return sums


@dataclass(frozen=True)
class MicroBatchFacts:
    """
    What is known of a micro-batch, together with those of the other ranks and the others of its optimizer step.

    TRL logs the mean over the micro-batches of a step. A value times its weight makes that mean the one over the step,
    however its answers are dealt. A weight is what the micro-batch has, over the mean of all micro-batches of the step.

    Attributes:
        loss_scale (`float`): rows of the micro-batch over the number of rows in TRL's micro-batches, where the loss is a
            mean over rows; otherwise 1.
        padding_share (`float`): padding, as a share of the tokens that the step computes, over all ranks.
        rank_imbalance (`float`): time that the ranks wait for each other, as a share of their time, if time is counted
            in tokens and every micro-batch ends at the same moment on all ranks.
        token_weight (`float`): weight by tokens that carry loss.
        counted_weight (`float`): weight by counted tokens.
        kept_weight (`float`): weight by kept tokens.
        row_weight (`float`): weight by rows.

    Example:
    ```python
    >>> batch = {}
    >>> MicroBatchFacts(padding_share=0.25).write_to(batch)
    >>> MicroBatchFacts.read_from(batch).padding_share
    0.25
    ```
    """

    loss_scale: float = 1.0
    padding_share: float = 0.0
    rank_imbalance: float = 0.0
    token_weight: float = 1.0
    counted_weight: float = 1.0
    kept_weight: float = 1.0
    row_weight: float = 1.0

    def write_to(self, batch: dict[str, Any]) -> None:
        """Add the facts to a micro-batch, in tensors, so that a checkpoint has them."""
        for part in fields(self):
            batch[f"micro_batch/{part.name}"] = torch.tensor(getattr(self, part.name), dtype=torch.float32)

    @classmethod
    def read_from(cls, batch: Mapping[str, Any]) -> "MicroBatchFacts | None":
        """Return the facts that [`write_to`] added to a micro-batch, or `None`."""
        if "micro_batch/loss_scale" not in batch:
            return None
        return cls(**{part.name: batch[f"micro_batch/{part.name}"].item() for part in fields(cls)})


def compute_facts(sums: torch.Tensor, num_rows: Sequence[int]) -> list[MicroBatchFacts]:
    """
    Compute the facts of the micro-batches of one optimizer step, except for `loss_scale`.

    Args:
        sums (`torch.Tensor` of shape `(W, M, 6)`):
            What the `M` micro-batches have on each of `W` ranks, see [`Column`].
        num_rows (`Sequence[int]`):
            Rows of each micro-batch on every rank, empty ones included.

    Returns:
        `list[MicroBatchFacts]`: one for each micro-batch, the same on every rank.

    Example:
    ```python
    >>> one_rank = torch.tensor([[[10, 8, 10, 6, 2, 3], [5, 5, 10, 2, 2, 1]]])
    >>> facts = compute_facts(one_rank, num_rows=[3, 1])
    >>> round(facts[0].padding_share, 3), [fact.counted_weight for fact in facts]
    (0.133, [1.5, 0.5])
    ```
    """
    sums, num_micro_batches = sums.double(), sums.size(1)
    cost = sums[:, :, Column.COMPUTED]
    padding_share = 1 - _divide(sums[:, :, Column.REAL].sum(), cost.sum(), 1.0)
    rank_imbalance = 1 - _divide(cost.mean(0).sum(), cost.amax(0).sum(), 1.0)

    def weigh(column: Column) -> list[float]:
        of_all_ranks = sums[:, :, column].sum(0)
        return [_divide(value * num_micro_batches, of_all_ranks.sum(), math.nan) for value in of_all_ranks]

    weights = zip(weigh(Column.TOKENS), weigh(Column.COUNTED), weigh(Column.KEPT), strict=True)
    num_real_rows = sums[:, :, Column.ROWS].sum()
    row_weights = [
        _divide(torch.tensor(float(rows * len(sums) * num_micro_batches)), num_real_rows, 1.0) for rows in num_rows
    ]
    return [
        MicroBatchFacts(1.0, padding_share, rank_imbalance, *of_tokens, of_rows)
        for of_tokens, of_rows in zip(weights, row_weights, strict=True)
    ]


def _divide(numerator: torch.Tensor, denominator: torch.Tensor, otherwise: float) -> float:
    return (numerator / denominator).item() if denominator else otherwise


def weigh_newest(
    metrics: Mapping[str, list[float]], facts: MicroBatchFacts, drops_tokens: bool, importance_sampling_level: str
) -> None:
    """
    Weigh what TRL has logged of a micro-batch, in place, so that the mean over the micro-batches is the one over the step.

    Args:
        metrics (`Mapping[str, list[float]]`):
            TRL's metrics by name. The newest value of each is that of the micro-batch; it is NaN if it has no such token.
        facts ([`MicroBatchFacts`]):
            Facts of the micro-batch.
        drops_tokens (`bool`):
            Whether tokens are left out of the loss. Advantages are then per token, and clip ratios shares of kept tokens.
        importance_sampling_level (`str`):
            TRL's setting. With `"sequence"` an answer has one importance ratio, and the loss is over kept tokens only.

    Example:
    ```python
    >>> metrics = {"entropy": [0.7, 0.5], "clip_ratio/region_mean": [0.0, math.nan]}
    >>> weigh_newest(metrics, MicroBatchFacts(counted_weight=1.5, kept_weight=0.0), True, "token")
    >>> metrics
    {'entropy': [0.7, 0.75], 'clip_ratio/region_mean': [0.0, 0.0]}
    ```
    """
    is_per_answer = importance_sampling_level == "sequence"
    of_ratio = facts.row_weight if is_per_answer and not drops_tokens else facts.kept_weight
    of_answer = (
        facts.kept_weight if is_per_answer else facts.token_weight
    )  # what is of an answer, on each of its tokens
    weights = {"entropy": facts.counted_weight, "kl": facts.token_weight}
    weights["vespo/phi_seq_mean"] = of_answer if drops_tokens else facts.row_weight
    for name in ("clip_ratio/low_mean", "clip_ratio/high_mean", "clip_ratio/region_mean", "cispo_clip_ratio"):
        weights[name] = of_ratio
    for name, weight in weights.items():
        if metrics.get(name):
            metrics[name][-1] = weigh_metric(metrics[name][-1], weight)


def weigh_metric(value: float, weight: float) -> float:
    """
    Weigh one value of a micro-batch as [`weigh_newest`] does.

    Args:
        value (`float`):
            Mean over what the micro-batch has; NaN if it has nothing.
        weight (`float`):
            Weight of the micro-batch; NaN if no micro-batch of the step has anything.

    Returns:
        `float`: NaN if there is nothing in the step.

    Example:
    ```python
    >>> weigh_metric(0.5, 1.5), weigh_metric(math.nan, 0.0)
    (0.75, 0.0)
    ```
    """
    return 0.0 if weight == 0 else value * weight
