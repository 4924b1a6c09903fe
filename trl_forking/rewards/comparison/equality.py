"""Whether two formulas have the same value."""

from typing import Any

from .decimals import Decimals
from .evaluate import NoValue, WholePoint, evaluate, find_rational
from .residues import Residues
from .tree import Node, find_symbols, walk


# Digits of the quick look and of the decision. Values below 10 ** 150 are equal if they agree to 320 digits.
_FEW_DIGITS, _MANY_DIGITS = 40, 500
_DIFFERENT, _EQUAL = -20, -320
_NUM_WHOLE_POINTS = 6
_ROUNDING = {"floor", "ceil"}  # at whole numbers, floor(x) is x


def is_same_value(left: Node, right: Node) -> bool:
    r"""
    Say whether two formulas have the same exact value, for all values of their variables.

    Rational numbers are compared as fractions, polynomials and rational functions modulo a large prime, formulas such as
    `2^n` and `n!` at whole numbers, and other formulas by 320 digits. A formula that is too large to compute equals itself only.

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
    try:
        return all(evaluate(left, Residues(seed)) == evaluate(right, Residues(seed)) for seed in (0, 1))
    except NoValue:
        pass
    verdicts = [_agree_at_whole(left, right, seed) for seed in range(2 * _NUM_WHOLE_POINTS)]
    if False in verdicts:
        return False
    if verdicts.count(True) >= _NUM_WHOLE_POINTS and not _ROUNDING & {
        node.value for side in (left, right) for node in walk(side)
    }:
        return True
    # Two points with positive values, and two with values of both signs, where a root or a logarithm may not be real.
    verdicts = [_agree_at(left, right, seed) for seed in (0, 2, 1, 3)]
    return verdicts[:2] == [True, True] and False not in verdicts[2:]


def _agree_at_whole(left: Node, right: Node, seed: int) -> bool | None:
    """Return whether two formulas agree where all variables are whole numbers. `None`: they have no rational values."""
    try:
        return evaluate(left, WholePoint(seed)) == evaluate(right, WholePoint(seed))
    except NoValue:
        return None


def _agree_at(left: Node, right: Node, seed: int) -> bool | None:
    """Return whether two formulas agree at one point. `None` says that the point decides nothing."""
    for digits, limit in ((_FEW_DIGITS, _DIFFERENT), (_MANY_DIGITS, _EQUAL)):
        try:
            values = [evaluate(node, Decimals(digits, seed)) for node in (left, right)]
        except (NoValue, ZeroDivisionError, ValueError, OverflowError):
            return None
        context = Decimals(digits).context
        if any(context.isnan(value) for value in values):
            return None
        if any(context.isinf(value) for value in values):
            return values[0] == values[1]
        if seed % 2 and any(not _is_real(value, context) for value in values):
            return None
        if not _is_close(values, context, limit):
            return False
    return True


def _is_close(values: list[Any], context: Any, limit: int) -> bool:
    difference, scale = abs(values[0] - values[1]), max(abs(value) for value in values)
    bound = context.mpf(10) ** limit
    return difference <= bound * scale or (limit == _EQUAL and difference <= bound)


def _is_real(value: Any, context: Any) -> bool:
    return abs(context.im(value)) <= abs(value) * context.mpf(10) ** (_DIFFERENT)


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
