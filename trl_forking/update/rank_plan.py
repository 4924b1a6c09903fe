"""Which rank trains which answers: micro-batches of equal cost on all ranks, with as few moves as that allows."""

from collections import Counter
from collections.abc import Sequence

from .dealing import compute_cost, deal, spread


_PARTS_OF_A_RANK = 100  # ranks whose work differs by less than such a part have about the same to do


def plan_ranks(lengths: Sequence[Sequence[int]], num_micro_batches: int) -> list[list[list[int]]]:
    """
    Deal the answers of one optimizer step to the micro-batches of all ranks.

    All micro-batches are dealt together, and sorted by what they cost. The first of all ranks are then the ones that
    cost most, and so on, so that the j-th costs nearly the same everywhere. Of these, the largest goes to the rank that
    has least to do so far. Ranks that have about the same take the one of which they hold most tokens already. Answers without a scored token cost nothing, and none of them moves.

    Every rank computes the same plan from the same lengths.

    Args:
        lengths (`Sequence[Sequence[int]]`):
            Columns that each answer needs, by rank; 0 without a scored token. Every rank has the same number of answers.
        num_micro_batches (`int`):
            Micro-batches of the step on each rank.

    Returns:
        `list[list[list[int]]]`: by rank and micro-batch, the places of its answers: rank times answers of a rank, plus
        the number of the answer on that rank.

    Example:
    ```python
    >>> plan_ranks([[9, 1], [8, 7]], num_micro_batches=1)  # answers 0 and 2 on one rank, the others on the other
    [[[0, 2]], [[3, 1]]]
    >>> plan_ranks([[0, 0], [4, 4]], num_micro_batches=1)  # the first rank had nothing to do
    [[[3, 0, 1]], [[2]]]
    ```
    """
    num_ranks, size = len(lengths), len(lengths[0])
    flat = [length for of_rank in lengths for length in of_rank]
    groups = deal(flat, num_ranks * num_micro_batches)
    at_home = [_count_at_home(group, flat, size) for group in groups]
    costs = [compute_cost(flat, group) for group in groups]
    grain = max(sum(costs) // num_ranks // _PARTS_OF_A_RANK, 1)
    plan: list[list[list[int]]] = [[] for _ in range(num_ranks)]
    totals = [0] * num_ranks
    for first in range(0, len(groups), num_ranks):
        free = set(range(num_ranks))
        for number in range(first, first + num_ranks):
            rank = min(free, key=lambda rank: (totals[rank] // grain, -at_home[number][rank], rank))
            free.remove(rank)
            plan[rank].append(groups[number])
            totals[rank] += costs[number]
    for rank, of_rank in enumerate(lengths):
        spread(plan[rank], [rank * size + row for row, length in enumerate(of_rank) if length == 0])
    return plan


def _count_at_home(group: list[int], lengths: Sequence[int], size: int) -> Counter[int]:
    """Count by rank the tokens of a group that it holds already."""
    tokens: Counter[int] = Counter()
    for place in group:
        tokens[place // size] += lengths[place]
    return tokens
