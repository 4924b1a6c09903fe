"""Compares numbers with units."""

from collections.abc import Sequence
from fractions import Fraction

from .evaluate import find_rational
from .kinds import Kind, Listing, Quantity, Value
from .numbers import is_same_number, scale
from .parse_commands import make_number, make_symbol
from .tree import Node, walk
from .units import Unit, get_unit


Part = tuple[Node, Unit]
_RIGHT, _WRONG = "the same numbers and units", "the numbers with their units differ"
_PERCENT, _DEGREE, _RADIAN, _STERLING, _POUND, _CELSIUS, _FAHRENHEIT, _KELVIN = map(
    get_unit, ("percent", "degree", "radian", "quid", "pound", "celsius", "fahrenheit", "kelvin")
)


def compare_quantities(gold: Kind, answer: Kind) -> tuple[bool, str]:
    r"""
    Compare two answers of which one or both have units.

    A unit may be left out, or added where the gold answer has none. Units of the same kind are converted. Other units
    must be the same. A percent sign may be left out or added only if the number is larger than one, because 0.5 may
    mean 50 %.

    Args:
        gold (`Kind`):
            Gold answer.
        answer (`Kind`):
            Answer.

    Returns:
        `tuple[bool, str]`: whether they are the same, and by which rule.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.compare_quantities import compare_quantities
    >>> from trl_forking.rewards.comparison.read import read
    >>> compare_quantities(read(r"3 \text{ feet } 4 \text{ inches}"), read(r"40 \text{ in}"))
    (True, 'the same numbers and units')
    ```
    """
    if isinstance(gold, Value) and gold.with_unit is not None and isinstance(answer, Quantity):
        gold = gold.with_unit
    if isinstance(answer, Value) and answer.with_unit is not None and isinstance(gold, Quantity):
        answer = answer.with_unit
    if isinstance(gold, Quantity) and isinstance(answer, Quantity):
        return _decide(_have_same_parts(gold.parts, answer.parts), _RIGHT, _WRONG)
    quantity, other = (gold, answer) if isinstance(gold, Quantity) else (answer, gold)
    assert isinstance(quantity, Quantity)
    if isinstance(other, Listing) and other.form == "list" and len(quantity.parts) > 1:
        return _compare_with_list(quantity.parts, other.items, quantity is gold)
    if not isinstance(other, Value) or len(quantity.parts) > 1:
        return False, "the numbers of answers differ"
    is_same = _is_same_without_unit(quantity.parts[0], other.node, quantity is gold)
    return _decide(is_same, "the same number, where one side has no unit", "the values differ")


def _decide(is_same: bool, right: str, wrong: str) -> tuple[bool, str]:
    return is_same, right if is_same else wrong


def _is_same(gold: Node, answer: Node, is_gold_first: bool = True) -> bool:
    return is_same_number(*((gold, answer) if is_gold_first else (answer, gold))) is not None


def _compare_with_list(parts: Sequence[Part], items: Sequence[Kind], is_gold: bool) -> tuple[bool, str]:
    is_same = len(parts) == len(items) and all(
        isinstance(item, Value) and _is_same(number, item.node, is_gold)
        for (number, _), item in zip(parts, items, strict=True)
    )
    return _decide(is_same, "the same numbers in the same order", "the numbers differ")


def _have_same_parts(golds: Sequence[Part], answers: Sequence[Part]) -> bool:
    total, other = _add_up(golds), _add_up(answers)
    if total is not None and other is not None:
        return _have_same_size(total, other)
    left = list(answers)
    for gold in golds:
        match = next((answer for answer in left if _have_same_size(gold, answer)), None)
        if match is None:
            return False
        left.remove(match)
    return not left


def _add_up(parts: Sequence[Part]) -> Part | None:
    """Write several numbers with units of the same kind as one: 3 feet 4 inches are 40 inches."""
    (number, unit), *others = parts
    if not others:
        return number, unit
    if not unit.is_known or any(other.powers != unit.powers for _, other in others):
        return None
    node = scale(number, unit.factor)
    for value, other in others:
        node = Node("add", (node, scale(value, other.factor)))
    return node, unit._replace(factor=Fraction(1))


def _have_same_size(gold: Part, answer: Part) -> bool:
    if gold[1] == answer[1] or _is_same_noun(gold[1], answer[1]):
        return _is_same(gold[0], answer[0])
    if {gold[1], answer[1]} == {_DEGREE, _RADIAN}:
        return _is_same(_write_angle(gold), _write_angle(answer))
    if answer[1] == _DEGREE and gold[1].powers in (_CELSIUS.powers, _FAHRENHEIT.powers):
        return _is_same(gold[0], answer[0])
    if {gold[1].powers, answer[1].powers} == {_STERLING.powers, _POUND.powers} and _POUND in (gold[1], answer[1]):
        return _is_same(gold[0], answer[0])
    if gold[1].powers != answer[1].powers or not (gold[1].is_known and answer[1].is_known):
        return False
    return _is_same(scale(gold[0], gold[1].factor), scale(answer[0], answer[1].factor))


def _is_same_noun(gold: Unit, answer: Unit) -> bool:
    """Say whether two nouns are the same, or one of them has an adjective more: balls and red balls."""
    if gold.is_known or answer.is_known or len(gold.powers) != 1 or len(answer.powers) != 1:
        return False
    (one, power), (other, exponent) = gold.powers[0], answer.powers[0]
    return power == exponent and (one == other or one.endswith(f" {other}") or other.endswith(f" {one}"))


def _write_angle(part: Part) -> Node:
    number, unit = part
    if unit == _RADIAN:
        return number
    return Node("divide", (Node("multiply", (number, make_symbol("pi"))), make_number(180)))


def _is_same_without_unit(part: Part, other: Node, is_gold: bool) -> bool:
    number, unit = part
    if unit == _PERCENT:
        size = find_rational(number)
        if _is_same(scale(number, Fraction(1, 100)), other, is_gold):
            return True
        return size is not None and abs(size) > 1 and _is_same(number, other, is_gold)
    if unit == _KELVIN and not is_gold:
        return False  # 5 K may be 5 thousand
    if _is_same(number, other, is_gold):
        return True
    has_pi = any(node.kind == "constant" and node.value == "pi" for node in walk(other))
    return unit == _DEGREE and has_pi and _is_same(_write_angle(part), other, is_gold)
