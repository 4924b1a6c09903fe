"""Compares equations and inequalities, of which one may be a multiple of the other."""

from fractions import Fraction

from .equality import estimate, is_same_value
from .evaluate import find_rational, hash_text
from .kinds import Equation, Inequality, Kind, Named, Piece, RealSet, Value
from .parse import parse_text
from .parse_commands import make_number
from .real_sets import INFINITY, MINUS_INFINITY
from .tree import Node, find_symbols, get_literal


def _make_equation(kind: Kind) -> Equation | None:
    """Write `y = 3x+13` as an equation. A name with a number, as in `x = 5`, is a solution."""
    if isinstance(kind, Equation):
        return kind
    if not isinstance(kind, Named) or len(kind.values) != 1:
        return None
    name, value = kind.values[0]
    if not isinstance(value, Value):
        return None
    # PV = nRT has a product on its left side; AB = 5 has a length.
    is_product = name.isalpha() and len(name) == 2 and name.isascii() and find_symbols(value.node)
    return Equation(parse_text(name) if is_product else Node("symbol", value=name), value.node)


def compare_equations(gold: Kind, answer: Kind) -> tuple[bool, str]:
    """
    Compare two equations, of which one may be solved for a variable.

    An equation is right if it is a multiple of the gold answer, also after both are multiplied by their denominators. Where the gold answer is a solution, such as `x = 5`, an
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
    if (
        find_ratio(*differences) is not None
        or find_ratio(*(_split_fraction(node)[0] for node in differences)) is not None
    ):
        return True, "equations that are multiples of each other"
    return False, "the equations differ"


_ONE = make_number(1)


def _split_fraction(node: Node) -> tuple[Node, Node]:
    """Write a formula as one fraction. Nothing is canceled, so no solution is lost or won."""
    if node.kind in ("add", "multiply", "divide", "negative"):
        tops, bottoms = zip(*map(_split_fraction, node.parts), strict=True)
        if node.kind == "negative":
            return Node("negative", tops), bottoms[0]
        if node.kind == "multiply":
            return _multiply(*tops), _multiply(*bottoms)
        if node.kind == "divide":
            return _multiply(tops[0], bottoms[1]), _multiply(bottoms[0], tops[1])
        if bottoms[0] == bottoms[1]:
            return Node("add", tops), bottoms[0]
        return Node("add", (_multiply(tops[0], bottoms[1]), _multiply(tops[1], bottoms[0]))), _multiply(*bottoms)
    literal = get_literal(node.parts[1]) if node.kind == "power" else None
    if literal is not None and literal.value < 0:
        return _ONE, Node("power", (node.parts[0], make_number(-literal.value)))
    return node, _ONE


def _multiply(left: Node, right: Node) -> Node:
    if _ONE in (left, right):
        return left if right == _ONE else right
    return Node("multiply", (left, right))


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


def solve_inequality(inequality: Inequality) -> RealSet | None:
    """
    Solve an inequality between the absolute value of a linear expression and a number.

    Args:
        inequality ([`~trl_forking.rewards.comparison.kinds.Inequality`]):
            An inequality.

    Returns:
        [`~trl_forking.rewards.comparison.kinds.RealSet`] or `None`: its solution, `None` if it has another form.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.compare_equations import solve_inequality
    >>> from trl_forking.rewards.comparison.describe import describe
    >>> from trl_forking.rewards.comparison.read import read
    >>> describe(solve_inequality(read("|x-1| < 2")))
    'a set of real numbers: x in (-1, 3)'
    ```
    """
    larger, smaller = inequality.difference.parts[0], inequality.difference.parts[1].parts[0]
    outer, limit = (larger, find_rational(smaller)) if larger.value == "abs" else (smaller, find_rational(larger))
    names = find_symbols(outer)
    if outer.value != "abs" or limit is None or limit <= 0 or len(names) != 1:
        return None
    (name,) = names
    points = [_substitute(outer.parts[0], {name: make_number(point)}) for point in (0, 1, 2, 5)]
    values = [value for value in map(find_rational, points) if value is not None]
    if len(values) < len(points):
        return None
    start, slope = values[0], values[1] - values[0]
    if not slope or values[2:] != [start + 2 * slope, start + 5 * slope]:
        return None
    low, high = (make_number(end) for end in sorted((side * limit - start) / slope for side in (1, -1)))
    has_ends = not inequality.is_strict
    if outer is smaller:
        return RealSet((Piece(low, high, has_ends, has_ends),), name)
    return RealSet((Piece(MINUS_INFINITY, low, False, has_ends), Piece(high, INFINITY, has_ends, False)), name)


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
