"""Compares equations and inequalities, of which one may be a multiple of the other."""

from fractions import Fraction

from .equality import estimate, is_same_value
from .evaluate import hash_text
from .kinds import Equation, Inequality, Kind, Named, Value
from .parse_commands import make_number
from .tree import Node, find_symbols


def _make_equation(kind: Kind) -> Equation | None:
    """Write `y = 3x+13` as an equation. A name with a number, as in `x = 5`, is a solution."""
    if isinstance(kind, Equation):
        return kind
    if not isinstance(kind, Named) or len(kind.values) != 1:
        return None
    name, value = kind.values[0]
    return Equation(Node("symbol", value=name), value.node) if isinstance(value, Value) else None


def compare_equations(gold: Kind, answer: Kind) -> tuple[bool, str]:
    """
    Compare two equations, of which one may be solved for a variable.

    An equation is right if it is a multiple of the gold answer. Where the gold answer is a solution, such as `x = 5`, an
    equation such as `2x = 10` is wrong, because it may be the question itself.

    Args:
        gold (`Kind`):
            Gold answer.
        answer (`Kind`):
            Answer.

    Returns:
        `tuple[bool, str]`: whether they are the same, and by which rule.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.compare_equations import compare_equations
    >>> from trl_forking.rewards.comparison.read import read
    >>> compare_equations(read("3x-y+13=0"), read("y=3x+13"))
    (True, 'equations that are multiples of each other')
    ```
    """
    first, second = _make_equation(gold), _make_equation(answer)
    if first is None or second is None:
        return False, "an equation is no value"
    if isinstance(gold, Named) and not find_symbols(first.right):
        return False, "an equation that is not solved is no solution"
    differences = [Node("add", (left, Node("negative", (right,)))) for left, right in (first, second)]
    if find_ratio(*differences) is None:
        return False, "the equations differ"
    return True, "equations that are multiples of each other"


def compare_inequalities(gold: Inequality, answer: Inequality) -> tuple[bool, str]:
    """
    Compare two inequalities, of which one may be a positive multiple of the other.

    Args:
        gold ([`~trl_forking.rewards.comparison.kinds.Inequality`]):
            Gold answer.
        answer ([`~trl_forking.rewards.comparison.kinds.Inequality`]):
            Answer.

    Returns:
        `tuple[bool, str]`: whether they are the same, and by which rule.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.compare_equations import compare_inequalities
    >>> from trl_forking.rewards.comparison.read import read
    >>> compare_inequalities(read("y > 2x"), read("4x < 2y"))
    (True, 'inequalities that are multiples of each other')
    ```
    """
    ratio = find_ratio(gold.difference, answer.difference)
    is_same = ratio is not None and ratio > 0 and gold.is_strict == answer.is_strict
    return is_same, "inequalities that are multiples of each other" if is_same else "the inequalities differ"


def find_ratio(left: Node, right: Node) -> float | None:
    """
    Find the constant by which two expressions differ.

    Args:
        left, right ([`~trl_forking.rewards.comparison.tree.Node`]):
            Expressions.

    Returns:
        `float` or `None`: left divided by right. `None` if that is no constant.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.compare_equations import find_ratio
    >>> from trl_forking.rewards.comparison.parse import parse_text
    >>> find_ratio(parse_text("2x-4y"), parse_text("x-2y")), find_ratio(parse_text("x"), parse_text("x+1"))
    (2.0, None)
    ```
    """
    names = find_symbols(left) | find_symbols(right)
    # Large numbers, so that neither expression is zero there by chance.
    point = {name: make_number(Fraction(hash_text(name) % 10**6 + 2, 10**4 + 7)) for name in names}
    first, second = _substitute(left, point), _substitute(right, point)
    sizes = estimate(first), estimate(second)
    if not sizes[0] or not sizes[1]:
        return None
    products = Node("multiply", (left, second)), Node("multiply", (right, first))
    return sizes[0] / sizes[1] if is_same_value(*products) else None


def _substitute(node: Node, point: dict[str, Node]) -> Node:
    if node.kind == "symbol":
        return point[node.value]
    return node._replace(parts=tuple(_substitute(part, point) for part in node.parts))
