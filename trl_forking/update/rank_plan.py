"""Which rank trains which answers: micro-batches of equal cost on all ranks, with as few moves as that allows."""

from collections import Counter
from collections.abc import Sequence

from .dealing import deal, spread


def plan_ranks(lengths: Sequence[Sequence[int]], num_micro_batches: int) -> list[list[list[int]]]:
    """
    Deal the answers of one optimizer step to the micro-batches of all ranks.

    All micro-batches are dealt together, and sorted by what they cost. The first of all ranks are then the ones that
    cost most, and so on, so that the j-th costs nearly the same everywhere. Of these, a rank takes the one of which it
    holds most tokens already. Answers without a scored token cost nothing, and none of them moves.

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
    plan: list[list[list[int]]] = [[] for _ in range(num_ranks)]
    for number in range(num_micro_batches):
        of_place = groups[number * num_ranks : (number + 1) * num_ranks]
        for rank, group in enumerate(_assign(of_place, flat, size)):
            plan[rank].append(group)
    for rank, of_rank in enumerate(lengths):
        spread(plan[rank], [rank * size + row for row, length in enumerate(of_rank) if length == 0])
    return plan


def _assign(groups: list[list[int]], lengths: Sequence[int], size: int) -> list[list[int]]:
    """Give each rank one group, in the order of the tokens that need not move then."""
    at_home: Counter[tuple[int, int]] = Counter()
    for number, group in enumerate(groups):
        for place in group:
            at_home[number, place // size] += lengths[place]
    chosen: dict[int, int] = {}
    taken: set[int] = set()
    for (number, rank), _ in sorted(at_home.items(), key=lambda entry: (-entry[1], entry[0])):
        if rank not in chosen and number not in taken:
            chosen[rank] = number
            taken.add(number)
    others = iter(number for number in range(len(groups)) if number not in taken)
    return [groups[chosen[rank] if rank in chosen else next(others)] for rank in range(len(groups))]
