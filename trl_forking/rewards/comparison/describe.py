"""Says in words what was read."""

from fractions import Fraction

from .compare import name_kind
from .evaluate import find_rational
from .kinds import (
    Approximate,
    Choice,
    Kind,
    Listing,
    Named,
    Piece,
    Quantity,
    RealSet,
    Text,
    Value,
)  # fmt: skip
from .tree import Node, get_literal
from .units import Unit


_SIGNS = {"add": "+", "multiply": "*", "divide": "/"}
_BRACKETS = {"set": "{}", "tuple": "()", "row": "[]", "list": ("", ""), "alternatives": ("", ""), "sizes": ("", "")}
_MAX_LENGTH = 60


def describe(kind: Kind) -> str:
    """
    Say what was read.

    Args:
        kind (`Kind`):
            An answer.

    Returns:
        `str`: its kind and its content.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.describe import describe
    >>> from trl_forking.rewards.comparison.read import read
    >>> describe(read(r"5 \\text{ million}"))
    'a number: 5000000'
    >>> describe(read("x=2, y=3"))
    'values with names: x = 2, y = 3'
    >>> describe(read(r"5 \\text{ is wrong}"))
    "text: 5 is wrong ('is wrong' is no unit)"
    ```
    """
    return f"{name_kind(kind)}: {_write(kind)}" + (f" ({kind.reason})" if isinstance(kind, Text) else "")


def _write(kind: Kind) -> str:
    if isinstance(kind, Value):
        return write_node(kind.node)
    if isinstance(kind, Quantity):
        return " ".join(f"{write_node(node)} {_write_unit(unit)}" for node, unit in kind.parts)
    if isinstance(kind, Listing):
        opening, closing = _BRACKETS[kind.form]
        return opening + ", ".join(map(_write, kind.items)) + closing
    if isinstance(kind, RealSet):
        name = f"{kind.name} in " if kind.name else ""
        return name + (" or ".join(map(_write_piece, kind.pieces)) or "the empty set")
    if isinstance(kind, Named):
        return ", ".join(f"{name} = {_write(value)}" for name, value in kind.values)
    if isinstance(kind, Choice):
        return f"{kind.letter} with {_write(kind.rest)}"
    if isinstance(kind, Approximate):
        return ("" if kind.exact is None else f"{_write(kind.exact)}, ") + f"about {_write(kind.value)}"
    if isinstance(kind, Text):
        return " ".join(kind.words) or "nothing"
    return ", ".join(_write_field(field) for field in kind if field is not None)


def _write_field(field: object) -> str:
    if isinstance(field, Node):
        return write_node(field)
    if isinstance(field, tuple):
        return f"({', '.join(map(_write_field, field))})"
    return str(field)


def _write_piece(piece: Piece) -> str:
    if piece.low == piece.high:
        return write_node(piece.low)
    opening, closing = "[" if piece.has_low else "(", "]" if piece.has_high else ")"
    return f"{opening}{write_node(piece.low)}, {write_node(piece.high)}{closing}"


def _write_unit(unit: Unit) -> str:
    names = " ".join(base if power == 1 else f"{base}^{power}" for base, power in unit.powers)
    return names if unit.factor == 1 else f"x {_write_fraction(unit.factor)} {names}"


def _write_fraction(value: Fraction) -> str:
    text = str(value)
    return text if len(text) <= _MAX_LENGTH else f"{text[:20]}... ({len(text)} digits)"


def write_node(node: Node) -> str:
    """
    Write a formula. A rational number is written out.

    Args:
        node ([`~trl_forking.rewards.comparison.tree.Node`]):
            A formula.

    Returns:
        `str`: the formula in ASCII.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.describe import write_node
    >>> from trl_forking.rewards.comparison.parse import parse_text
    >>> write_node(parse_text(r"\\frac{x+1}{2}")), write_node(parse_text("2^{-1}")), write_node(parse_text("0.50"))
    ('(x + 1) / 2', '1/2', '0.50')
    ```
    """
    literal = get_literal(node)
    if (
        literal is not None
        and literal.last is not None
        and not literal.is_scientific
        and literal.last > Fraction(1, 10**20)
    ):
        places = len(str(literal.last.denominator)) - 1
        return f"{float(literal.value):.{places}f}" if places < 15 else _write_fraction(literal.value)
    value = find_rational(node)
    if value is not None:
        return _write_fraction(value)
    parts = [f"({write_node(part)})" if part.kind in _SIGNS else write_node(part) for part in node.parts]
    if node.kind in _SIGNS:
        return f" {_SIGNS[node.kind]} ".join(parts)
    if node.kind == "power":
        return "^".join(parts)
    if node.kind == "negative":
        return f"-{parts[0]}"
    if node.kind in ("degrees", "percent"):
        return f"{parts[0]} {node.kind}"
    return (
        f"{str(node.value).removesuffix('()')}({', '.join(parts)})"
        if node.kind == "call"
        else str(node.value or node.kind)
    )
