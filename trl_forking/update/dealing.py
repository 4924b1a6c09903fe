"""Which answers share a micro-batch: few padded tokens, and no micro-batch larger than it has to be."""

import heapq
from collections.abc import Iterable, Sequence

import numpy as np


SLACK = 0.1
"""How much larger than necessary the largest micro-batch may be, as a share, if that saves padding."""


def deal(lengths: Sequence[int], num_groups: int, slack: float = 0.0) -> list[list[int]]:
    """
    Deal rows to groups by their length.

    A group costs its number of rows times its longest row, because shorter rows are padded. Groups are neighbors in the
    order of length: any other dealing can be exchanged for such a one without making a group or the total larger. The
    largest group is as small as it can be, or larger by `slack` at most. Under that limit, rows are moved over the
    border of two groups as long as the total falls.

    Args:
        lengths (`Sequence[int]`):
            Length of each row. Rows of length 0 belong to no group.
        num_groups (`int`):
            Number of groups.
        slack (`float`, *optional*, defaults to `0.0`):
            Share by which the largest group may exceed the smallest possible.

    Returns:
        `list[list[int]]`: rows of each group, the longest first; the group that costs most first. A group is empty only
        if there are fewer rows than groups.

    Example:
    ```python
    >>> deal([9, 2, 10, 3, 0, 3, 2], num_groups=2)  # 20 and 12 tokens, of which 29 are real
    [[2, 0], [3, 5, 1, 6]]
    ```
    """
    rows = [row for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]) if lengths[row] > 0]
    ordered = np.array([lengths[row] for row in rows], dtype=np.int64)
    borders = [0]
    if rows:
        limit = _find_smallest_limit(ordered, num_groups)
        borders = _split(ordered, _fill(ordered, limit), num_groups)
        borders = _move_borders(ordered, borders, int(limit * (1 + slack)))
    groups = [rows[start:end] for start, end in zip(borders, borders[1:], strict=False)]
    groups.sort(key=lambda group: -compute_cost(lengths, group))
    return groups + [[] for _ in range(num_groups - len(groups))]


def spread(groups: Sequence[list[int]], rows: Iterable[int]) -> None:
    """
    Add rows that cost nothing to groups, in place, each to the one that has the fewest.

    Example:
    ```python
    >>> groups = [[2, 0], [3]]
    >>> spread(groups, [4, 5])
    >>> groups
    [[2, 0, 5], [3, 4]]
    ```
    """
    for row in rows:
        min(groups, key=len).append(row)


def compute_cost(lengths: Sequence[int], group: Sequence[int]) -> int:
    """
    Compute how many tokens a group has, padding included.

    Example:
    ```python
    >>> compute_cost([5, 3, 0], [0, 1, 2])  # two rows of five tokens; the third is not computed
    10
    ```
    """
    live = [lengths[row] for row in group if lengths[row] > 0]
    return len(live) * max(live, default=0)


def count_groups(lengths: Sequence[int], limit: int) -> int:
    """
    Count how many groups it takes at least, if none may cost more than a limit.

    Raises:
        `ValueError`: if a row is longer than the limit.

    Example:
    ```python
    >>> count_groups([9, 2, 10, 3, 3, 2], limit=12)
    3
    ```
    """
    ordered = np.sort(np.array([length for length in lengths if length > 0], dtype=np.int64))[::-1]
    if len(ordered) and ordered[0] > limit:
        raise ValueError(f"A row of {ordered[0]} tokens does not fit into a group of {limit}.")
    return len(_fill(ordered, limit)) - 1


def _fill(ordered: np.ndarray, limit: int) -> list[int]:
    """Fill one group after the other, the longest rows first, and return the borders between them."""
    borders = [0]
    while borders[-1] < len(ordered):
        borders.append(min(borders[-1] + int(limit // ordered[borders[-1]]), len(ordered)))
    return borders


def _find_smallest_limit(ordered: np.ndarray, num_groups: int) -> int:
    """Find the smallest cost of the largest group, by bisection: filling is best for any limit."""
    low = max(int(ordered[0]), -(-int(ordered.sum()) // num_groups))
    high = int(ordered[0]) * -(-len(ordered) // num_groups)
    while low < high:
        middle = (low + high) // 2
        if len(_fill(ordered, middle)) - 1 <= num_groups:
            high = middle
        else:
            low = middle + 1
    return low


def _split(ordered: np.ndarray, borders: list[int], num_groups: int) -> list[int]:
    """Split groups, where that saves most, until there are enough."""
    splits = [_find_split(ordered, start, end) for start, end in zip(borders, borders[1:], strict=False)]
    heapq.heapify(splits)
    while len(borders) - 1 < min(num_groups, len(ordered)):
        _, start, border, end = heapq.heappop(splits)
        borders = [*borders, border]
        for part in ((start, border), (border, end)):
            heapq.heappush(splits, _find_split(ordered, *part))
    return sorted(borders)


def _find_split(ordered: np.ndarray, start: int, end: int) -> tuple[int, int, int, int]:
    """Find where to split a group: the tokens that this saves, as a negative number, and the three borders."""
    between = np.arange(start + 1, end)
    if not len(between):
        return 1, start, end, end  # behind all that can be split
    saved = (ordered[start] - ordered[between]) * (end - between)
    return -int(saved.max()), start, int(between[saved.argmax()]), end


def _move_borders(ordered: np.ndarray, borders: list[int], limit: int) -> list[int]:
    """Move each border to the best place between its neighbors, until none moves; the total falls with every move."""
    borders, moved = list(borders), True
    while moved:
        moved = False
        for index in range(1, len(borders) - 1):
            start, end = borders[index - 1], borders[index + 1]
            between = np.arange(start + 1, end)
            left, right = ordered[start] * (between - start), ordered[between] * (end - between)
            total = np.where(np.maximum(left, right) <= limit, left + right, np.iinfo(np.int64).max)
            if total.min() < total[borders[index] - start - 1]:
                borders[index], moved = int(between[total.argmin()]), True
    return borders
