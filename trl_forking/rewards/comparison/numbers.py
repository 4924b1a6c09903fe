"""Whether two numbers are the same, where one of them may be rounded."""

from fractions import Fraction
from typing import Any

from .decimals import Decimals
from .equality import is_same_value
from .evaluate import NoValue, evaluate, find_rational
from .tree import Literal, Node, find_symbols, get_literal


# Significant digits that a rounded number must state. Below them, wrong numbers are too often close to right ones.
_GOLD_DIGITS_EXACT = 3  # the answer is 1/3 or a root: no decimal could be equal to it
_GOLD_DIGITS_SCIENTIFIC = 3  # 6.02e23: a power of ten is how measured values are written
_GOLD_DIGITS_DECIMAL = 4
_ANSWER_DIGITS = 6  # the gold answer is exact
_WORKING_DIGITS = 80


def is_same_number(gold: Node, answer: Node) -> str | None:
    r"""
    Compare two numbers or expressions.

    They are the same if their exact values are equal. If one is a decimal, rounding may be allowed:

    - The gold answer is a decimal. Then the answer must round to it, at the last digit that the gold answer states. The
      gold answer must state 4 significant digits, or 3 if it has a power of ten or the answer is no decimal. A whole number
      such as `27.0` is exact.
    - The gold answer is exact, but no decimal is equal to it, as for 1/3. Then the answer must state at least 6 significant
      digits, all of them right.

    Args:
        gold ([`~trl_forking.rewards.comparison.tree.Node`]):
            Gold answer.
        answer ([`~trl_forking.rewards.comparison.tree.Node`]):
            Answer.

    Returns:
        `str` or `None`: the rule by which they are the same, `None` if they differ.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.numbers import is_same_number
    >>> from trl_forking.rewards.comparison.parse import parse_text
    >>> def compare(gold, answer):
    ...     return is_same_number(parse_text(gold), parse_text(answer))
    >>> compare("0.5", "1/2")
    'equal values'
    >>> compare("1/3", "0.333333"), compare("1/3", "0.33")
    ('equal after rounding', None)
    >>> compare("0.333", "1/3"), compare("0.5", "0.51")
    ('equal after rounding', None)
    ```
    """
    if is_same_value(gold, answer):
        return "equal values"
    if find_symbols(gold) or find_symbols(answer):
        return None
    stated, given = get_literal(gold), get_literal(answer)
    if stated is not None and stated.last is not None:
        is_same = _rounds_to(stated, answer, given)
    else:
        is_same = given is not None and given.last is not None and _is_rounding_of(given, gold)
    return "equal after rounding" if is_same else None


def _rounds_to(gold: Literal, answer: Node, given: Literal | None) -> bool:
    assert gold.last is not None and gold.digits is not None
    if given is not None and given.last is not None and given.last > gold.last:
        return False
    if gold.value.denominator == 1 and gold.last == Fraction(1, 10) and not gold.is_scientific:
        return False  # 27.0 is how tables write 27
    limit = _GOLD_DIGITS_SCIENTIFIC if gold.is_scientific else _GOLD_DIGITS_DECIMAL
    if not _is_decimal(answer):
        limit = min(limit, _GOLD_DIGITS_EXACT)
    return gold.digits >= limit and _is_within(gold.value, answer, gold.last / 2)


def _is_rounding_of(given: Literal, gold: Node) -> bool:
    assert given.last is not None and given.digits is not None
    return given.digits >= _ANSWER_DIGITS and not _is_decimal(gold) and _is_within(given.value, gold, given.last / 2)


def _is_decimal(node: Node) -> bool:
    """Say whether a decimal with a finite number of digits is equal to a formula."""
    value = find_rational(node)
    if value is None:
        return False
    bottom = value.denominator
    for prime in (2, 5):
        while bottom % prime == 0:
            bottom //= prime
    return bottom == 1


def _is_within(center: Fraction, node: Node, distance: Fraction) -> bool:
    value = find_rational(node)
    if value is not None:
        return abs(value - center) <= distance
    algebra = Decimals(_WORKING_DIGITS)
    try:
        decimal: Any = evaluate(node, algebra)
        return bool(abs(decimal - algebra.number(center)) <= algebra.number(distance))
    except (NoValue, ZeroDivisionError, ValueError, OverflowError):
        return False


def scale(node: Node, factor: Fraction) -> Node:
    """
    Multiply a number by an exact factor. A decimal still states as many digits.

    Args:
        node ([`~trl_forking.rewards.comparison.tree.Node`]):
            A number.
        factor (`Fraction`):
            The factor.

    Returns:
        [`~trl_forking.rewards.comparison.tree.Node`]: the product.

    Example:
    ```python
    >>> from fractions import Fraction
    >>> from trl_forking.rewards.comparison.numbers import scale
    >>> from trl_forking.rewards.comparison.parse import parse_text
    >>> scale(parse_text("2.50"), Fraction(1, 10)).value
    Literal(value=Fraction(1, 4), digits=3, last=Fraction(1, 1000), is_scientific=False)
    ```
    """
    if factor == 1:
        return node
    literal = get_literal(node)
    if literal is None:
        return Node("multiply", (node, Node("number", value=Literal(factor))))
    last = None if literal.last is None else abs(literal.last * factor)
    return Node("number", value=literal._replace(value=literal.value * factor, last=last))
