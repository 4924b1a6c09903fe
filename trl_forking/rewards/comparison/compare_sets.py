"""Compares sets of real numbers: intervals, relations, and sets of points."""

from .kinds import Kind, Listing, RealSet, Value
from .numbers import is_same_number
from .real_sets import make_pieces
from .tokens import NotReadable


def is_set(kind: Kind) -> bool:
    """
    Say whether an answer may be a set of real numbers.

    Args:
        kind (`Kind`):
            An answer.

    Returns:
        `bool`: whether it is a set, or two numbers in brackets.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.compare_sets import is_set
    >>> from trl_forking.rewards.comparison.read import read
    >>> [is_set(read(text)) for text in ("(1,2)", "x > 2", "1, 2", "5")]
    [True, True, False, False]
    ```
    """
    if isinstance(kind, RealSet):
        return True
    if not isinstance(kind, Listing) or not all(isinstance(item, Value) for item in kind.items):
        return False
    return kind.form == "set" or (kind.form in ("tuple", "row") and len(kind.items) == 2)


def compare_sets(gold: Kind, answer: Kind) -> tuple[bool, str]:
    """
    Compare two sets of real numbers.

    Args:
        gold (`Kind`):
            Gold answer.
        answer (`Kind`):
            Answer.

    Returns:
        `tuple[bool, str]`: whether they are the same, and by which rule.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.compare_sets import compare_sets
    >>> from trl_forking.rewards.comparison.read import read
    >>> compare_sets(read(r"[0, \\infty)"), read(r"x \\ge 0"))
    (True, 'the same set of real numbers')
    ```
    """
    names = {kind.name for kind in (gold, answer) if isinstance(kind, RealSet)} - {None}
    if len(names) > 1:
        return False, "the names differ"
    try:
        golds, answers = make_pieces(gold), make_pieces(answer)
    except NotReadable as error:
        return False, str(error)
    is_same = len(golds) == len(answers) and all(
        (one.has_low, one.has_high) == (other.has_low, other.has_high)
        and is_same_number(one.low, other.low) is not None
        and is_same_number(one.high, other.high) is not None
        for one, other in zip(golds, answers, strict=True)
    )
    return is_same, "the same set of real numbers" if is_same else "the sets of real numbers differ"
