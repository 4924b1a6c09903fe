"""Sets of real numbers: intervals, their unions, intersections and complements."""

from collections.abc import Sequence

from .equality import estimate, is_same_value
from .kinds import Kind, Listing, Piece, RealSet, Value
from .parse_commands import make_symbol
from .tokens import NotReadable
from .tree import Node


INFINITY = make_symbol("infty")
MINUS_INFINITY = Node("negative", (INFINITY,))
ALL_REALS = (Piece(MINUS_INFINITY, INFINITY, False, False),)


def make_point(value: Node) -> Piece:
    """
    Make the set of one number.

    Args:
        value ([`~trl_forking.rewards.comparison.tree.Node`]):
            The number.

    Returns:
        [`~trl_forking.rewards.comparison.kinds.Piece`]: the set.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.parse import parse_text
    >>> from trl_forking.rewards.comparison.real_sets import make_point
    >>> make_point(parse_text("2")).has_low
    True
    ```
    """
    return Piece(value, value, True, True)


def unite(pieces: Sequence[Piece]) -> tuple[Piece, ...]:
    r"""
    Unite intervals.

    Args:
        pieces (`Sequence[Piece]`):
            Intervals and points in any order.

    Returns:
        `tuple[Piece, ...]`: the same numbers, in rising order, as few intervals as there can be.

    Raises:
        [`~trl_forking.rewards.comparison.tokens.NotReadable`]: if an end is no number, and there are several intervals.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.read import read
    >>> len(read(r"(1,2) \cup [2,3)").pieces), len(read(r"(1,2) \cup (2,3)").pieces)
    (1, 2)
    ```
    """
    if len(pieces) < 2:
        return tuple(pieces)
    ordered = sorted(pieces, key=lambda piece: (_measure(piece.low), not piece.has_low, _measure(piece.high)))
    united = [ordered[0]]
    for piece in ordered[1:]:
        last = united[-1]
        order = _compare(piece.low, last.high)
        if order > 0 or (order == 0 and not (piece.has_low or last.has_high)):
            united.append(piece)
            continue
        reach = _compare(piece.high, last.high)
        if reach > 0:
            united[-1] = last._replace(high=piece.high, has_high=piece.has_high)
        elif reach == 0:
            united[-1] = last._replace(has_high=piece.has_high or last.has_high)
    return tuple(united)


def complement(pieces: Sequence[Piece]) -> tuple[Piece, ...]:
    """
    Return the real numbers that are not in a set.

    Args:
        pieces (`Sequence[Piece]`):
            Intervals of a set.

    Returns:
        `tuple[Piece, ...]`: the intervals between them.

    Raises:
        [`~trl_forking.rewards.comparison.tokens.NotReadable`]: if an end is no number.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.parse import parse_text
    >>> from trl_forking.rewards.comparison.real_sets import complement, make_point
    >>> len(complement([make_point(parse_text("2"))]))
    2
    ```
    """
    gaps, low, has_low = [], MINUS_INFINITY, False
    for piece in unite(pieces):
        order = _compare(low, piece.low)
        if order < 0 or (order == 0 and has_low and not piece.has_low):
            gaps.append(Piece(low, piece.low, has_low, not piece.has_low))
        low, has_low = piece.high, not piece.has_high
    if _measure(low) != float("inf"):
        gaps.append(Piece(low, INFINITY, has_low, False))
    return tuple(gaps)


def intersect(left: Sequence[Piece], right: Sequence[Piece]) -> tuple[Piece, ...]:
    """
    Return the numbers that are in both sets.

    Args:
        left, right (`Sequence[Piece]`):
            Intervals of the sets.

    Returns:
        `tuple[Piece, ...]`: the intervals of the intersection.

    Raises:
        [`~trl_forking.rewards.comparison.tokens.NotReadable`]: if an end is no number.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.real_sets import ALL_REALS, intersect
    >>> intersect(ALL_REALS, ALL_REALS) == ALL_REALS
    True
    ```
    """
    return complement([*complement(left), *complement(right)])


def make_interval(ends: Sequence[Kind], has_low: bool, has_high: bool) -> Piece:
    """
    Make an interval.

    Args:
        ends (`Sequence[Kind]`):
            Its ends.
        has_low, has_high (`bool`):
            Whether the ends belong to it.

    Returns:
        [`~trl_forking.rewards.comparison.kinds.Piece`]: the interval.

    Raises:
        [`~trl_forking.rewards.comparison.tokens.NotReadable`]: if these are not two numbers in rising order.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.read import read
    >>> from trl_forking.rewards.comparison.real_sets import make_interval
    >>> make_interval([read("1"), read("2")], True, False).has_low
    True
    ```
    """
    if len(ends) != 2 or not all(isinstance(end, Value) for end in ends):
        raise NotReadable("it is no interval")
    low, high = (end.node for end in ends if isinstance(end, Value))
    first, second = estimate(low), estimate(high)
    if first is not None and second is not None and first >= second and not (first == second and has_low and has_high):
        raise NotReadable("the ends of an interval do not rise")
    return Piece(low, high, has_low, has_high)


def make_pieces(kind: Kind) -> tuple[Piece, ...]:
    """
    Take a kind of answer for a set of real numbers.

    Args:
        kind (`Kind`):
            Intervals, a set of numbers, a pair in brackets, or a number.

    Returns:
        `tuple[Piece, ...]`: the set.

    Raises:
        [`~trl_forking.rewards.comparison.tokens.NotReadable`]: if it is no set of real numbers.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.read import read
    >>> from trl_forking.rewards.comparison.real_sets import make_pieces
    >>> make_pieces(read("(1,2)")) == make_pieces(read("1<x<2"))
    True
    ```
    """
    if isinstance(kind, RealSet):
        return kind.pieces
    if isinstance(kind, Value):
        return (make_point(kind.node),)
    if isinstance(kind, Listing) and kind.form in ("tuple", "row"):
        return (make_interval(kind.items, kind.form == "row", kind.form == "row"),)
    if isinstance(kind, Listing) and all(isinstance(item, Value) for item in kind.items):
        return unite([make_point(item.node) for item in kind.items if isinstance(item, Value)])
    raise NotReadable("it is no set of real numbers")


def _measure(node: Node) -> float:
    value = estimate(node)
    if value is None:
        raise NotReadable("an end of an interval is no number")
    return value


def _compare(left: Node, right: Node) -> int:
    first, second = _measure(left), _measure(right)
    if first == second or (abs(first - second) <= 1e-9 * abs(first) and is_same_value(left, right)):
        return 0
    return 1 if first > second else -1
