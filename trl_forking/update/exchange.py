"""Rows that move between ranks, without padding, once for each rollout."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from .micro_batches import Row, is_of_answer


def exchange_rows(
    rows: Sequence[Row],
    example: Mapping[str, Any],
    sizes: torch.Tensor,
    plan: Sequence[Sequence[int]],
    rank: int,
) -> dict[int, Row]:
    """
    Bring to this rank the rows that its micro-batches need, and send away those that others need.

    Nothing else is sent: a row that stays costs no traffic, and one that moves has its own prompt and answer, without
    the padding of either. Every rank calls this function, with the same plan.

    Args:
        rows (`Sequence[Row]`):
            This rank's rows, see [`take_rows`].
        example (`Mapping[str, Any]`):
            A part of the rollout, for the types of the tensors.
        sizes (`torch.Tensor` of shape `(W, N, 2)`):
            Tokens of the prompt and of the answer of every row, on all ranks.
        plan (`Sequence[Sequence[int]]`):
            By rank, the places of the rows that it trains, see [`plan_ranks`].
        rank (`int`):
            This process.

    Returns:
        `dict[int, Row]`: the rows that this rank trains, by place.
    """
    num_rows = sizes.size(1)
    moves = [[place for place in places if place // num_rows != to] for to, places in enumerate(plan)]
    leaving = [[place for place in places if place // num_rows == rank] for places in moves]
    arriving = [sorted(place for place in moves[rank] if place // num_rows == source) for source in range(len(plan))]
    here = {place: rows[place - rank * num_rows] for place in plan[rank] if place // num_rows == rank}
    if not any(moves):
        return here
    for place in sum(arriving, []):
        here[place] = {}
    for name in sorted(name for name, value in example.items() if value is not None and value.dim() > 0):
        lengths = _choose_lengths(name, example, sizes)
        sent = [
            [_cut(name, rows[place - rank * num_rows][name], lengths[place]) for place in sorted(p)] for p in leaving
        ]
        received = _exchange_bytes(
            sent, [sum(lengths[place] for place in places) for places in arriving], example[name]
        )
        values = received.split([lengths[place] for places in arriving for place in places])
        for place, value in zip(sum(arriving, []), values, strict=True):
            here[place][name] = value if example[name].dim() > 1 else value[0]
    return here


def _choose_lengths(name: str, example: Mapping[str, Any], sizes: torch.Tensor) -> list[int]:
    """Return how many numbers a row has in a tensor of the batch, for the rows of all ranks."""
    value, flat = example[name], sizes.view(-1, 2)
    if name.startswith("prompt_"):
        return flat[:, 0].tolist()
    if is_of_answer(name, value, example["completion_mask"].size(1)):
        return flat[:, 1].tolist()
    return [value.size(1) if value.dim() > 1 else 1] * len(flat)


def _cut(name: str, value: torch.Tensor, length: int) -> torch.Tensor:
    """Take the padding off a row: that of a prompt stands on the left."""
    value = value.reshape(-1)
    return value[len(value) - length :] if name.startswith("prompt_") else value[:length]


def _exchange_bytes(sent: list[list[torch.Tensor]], num_received: list[int], example: torch.Tensor) -> torch.Tensor:
    """Send rows to each rank, and return what came from all, one after the other."""
    flat = torch.cat([example.new_empty(0), *(value for values in sent for value in values)])
    num_bytes = example.element_size()
    arrived = example.new_empty(sum(num_received))
    # As bytes: not every backend moves booleans and bfloat16.
    torch.distributed.all_to_all_single(
        arrived.view(torch.uint8),
        flat.view(torch.uint8),
        [number * num_bytes for number in num_received],
        [sum(value.numel() for value in values) * num_bytes for values in sent],
    )
    return arrived
