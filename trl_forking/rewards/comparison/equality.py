"""Whether two formulas have the same value."""

from typing import Any

from .decimals import Decimals
from .evaluate import NoValue, WholePoint, evaluate, find_rational
from .residues import Residues
from .tree import Node, find_symbols, walk


# Digits of the quick look and of the decision. Two values are equal if their difference gets smaller with every digit.
_LOOKS = ((40, 90), (500, 700))
_FEW_DIGITS = 40
_IS_REAL = -20
_NUM_WHOLE_POINTS = 6
# |x + 40| is x + 40 at small numbers, so expressions must agree at large ones too.
_LARGE_POINTS = (10**4, 10**12)
_LARGE_VALUE = 40
_ROUNDING = {"floor", "ceil"}  # at whole numbers, floor(x) is x


def is_same_value(left: Node, right: Node) -> bool:
    r"""
    Say whether two formulas have the same exact value, for all values of their variables.

    Rational numbers are compared as fractions, polynomials and rational functions modulo a large prime, formulas such as
    `2^n` and `n!` at whole numbers, and other formulas by 700 digits. A formula that is too large to compute equals itself only.

    Args:
        left ([`~trl_forking.rewards.comparison.tree.Node`]):
            A formula.
        right ([`~trl_forking.rewards.comparison.tree.Node`]):
            Another one.

    Returns:
        `bool`: whether they are equal.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.equality import is_same_value
    >>> from trl_forking.rewards.comparison.parse import parse_text
    >>> is_same_value(parse_text(r"2\sqrt{3}"), parse_text(r"\sqrt{12}"))
    True
    >>> is_same_value(parse_text("2^{1000}"), parse_text("2^{1000}+1"))
    False
    ```
    """
    if left == right:
        return True
    if find_symbols(left) | find_symbols(right):
        return _is_same_function(left, right)
    first, second = find_rational(left), find_rational(right)
    if first is not None and second is not None:
        return first == second
    return _agree_at(left, right, seed=0) is True


def _is_same_function(left: Node, right: Node) -> bool:
    if any(node.value == "infinity" for side in (left, right) for node in walk(side)):
        return False  # x + infinity would be infinity
    try:
        return all(evaluate(left, Residues(seed)) == evaluate(right, Residues(seed)) for seed in (0, 1))
    except NoValue:
        pass
    verdicts = [_agree_at_whole(left, right, seed) for seed in range(2 * _NUM_WHOLE_POINTS)]
    verdicts += [_agree_at_whole(left, right, seed, size) for size in _LARGE_POINTS for seed in (0, 1)]
    if False in verdicts:
        return False
    if verdicts.count(True) >= _NUM_WHOLE_POINTS and not _ROUNDING & {
        node.value for side in (left, right) for node in walk(side)
    }:
        return True
    # Two points with positive values. Then others, where a root or a logarithm may not be real, or a value is too large.
    verdicts = [_agree_at(left, right, seed) for seed in (0, 2, 1, 3)]
    verdicts += [_agree_at(left, right, seed, _LARGE_VALUE) for seed in (0, 1, 3)]
    return verdicts[:2] == [True, True] and False not in verdicts[2:]


def _agree_at_whole(left: Node, right: Node, seed: int, size: int = 30) -> bool | None:
    """Return whether two formulas agree where all variables are whole numbers. `None`: they have no rational values."""
    point = WholePoint(seed, size)
    try:
        return bool(evaluate(left, point) == evaluate(right, point))
    except NoValue:
        return None


def _agree_at(left: Node, right: Node, seed: int, size: int = 1) -> bool | None:
    """Return whether two formulas agree at one point. `None` says that the point decides nothing."""
    for look in _LOOKS:
        differences = []
        for digits in look:
            algebra = Decimals(digits, seed, size)
            try:
                values = [evaluate(node, algebra) for node in (left, right)]
            except (NoValue, ZeroDivisionError, ValueError, OverflowError):
                return None
            if any(algebra.context.isnan(value) for value in values):
                return None
            if any(algebra.context.isinf(value) for value in values):
                return bool(values[0] == values[1])
            if seed % 2 and any(not _is_real(value, algebra.context) for value in values):
                return None
            noise = max(abs(value) for value in values) * algebra.context.mpf(10) ** -digits
            differences.append((abs(values[0] - values[1]), noise))
        if not _vanishes(differences, look):
            return False
    return True


def _vanishes(differences: list[tuple[Any, Any]], look: tuple[int, int]) -> bool:
    """Say whether a difference is only what the last digits leave. Then it is much smaller with more digits."""
    (first, noise), (second, _) = differences
    return bool(second <= max(first, noise) / 10 ** ((look[1] - look[0]) // 2))


def _is_real(value: Any, context: Any) -> bool:
    return bool(abs(context.im(value)) <= abs(value) * context.mpf(10) ** _IS_REAL)


def estimate(node: Node) -> float | None:
    """
    Compute the value of a formula roughly, to put numbers in order.

    Args:
        node ([`~trl_forking.rewards.comparison.tree.Node`]):
            A formula.

    Returns:
        `float` or `None`: its value, `None` if it is not a real number.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.equality import estimate
    >>> from trl_forking.rewards.comparison.parse import parse_text
    >>> estimate(parse_text("-1/2"))
    -0.5
    ```
    """
    if find_symbols(node):
        return None
    try:
        value = evaluate(node, Decimals(_FEW_DIGITS))
        return float(value.real) if _is_real(value, Decimals(_FEW_DIGITS).context) else None
    except (NoValue, ZeroDivisionError, ValueError, OverflowError, AttributeError):
        return None
