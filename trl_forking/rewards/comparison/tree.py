"""Formulas as trees. A tree says what stands where; it computes nothing."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple


class Literal(NamedTuple):
    """
    A number as it is written.

    Args:
        value (`Fraction`):
            Its exact value.
        digits (`int`, *optional*):
            Significant digits that it states. `None` for a number without a decimal point, which is exact.
        last (`Fraction`, *optional*):
            What one in its last digit is worth.
        is_scientific (`bool`, *optional*, defaults to `False`):
            Whether it has a power of ten.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.tree import read_literal
    >>> read_literal("0.250")
    Literal(value=Fraction(1, 4), digits=3, last=Fraction(1, 1000), is_scientific=False)
    ```
    """

    value: Fraction
    digits: int | None = None
    last: Fraction | None = None
    is_scientific: bool = False


class Node(NamedTuple):
    """
    A part of a formula.

    Args:
        kind (`str`):
            `"number"`, `"symbol"`, `"constant"`, `"add"`, `"multiply"`, `"divide"`, `"power"`, `"negative"`,
            `"plus_minus"`, `"degrees"`, `"percent"` or `"call"`.
        parts (`tuple[Node, ...]`, *optional*):
            Formulas that it is made of.
        value (`Any`, *optional*):
            The [`Literal`] of a number, the name of a symbol, a constant or a function, the sign of a `plus_minus`.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.tree import Node, find_symbols
    >>> find_symbols(Node("multiply", (Node("symbol", value="x"), Node("constant", value="pi"))))
    {'x'}
    ```
    """

    kind: str
    parts: tuple["Node", ...] = ()
    value: Any = None


_MAX_EXPONENT = 5000


def read_literal(text: str) -> Literal:
    """
    Read a number.

    Args:
        text (`str`):
            Digits with an optional point, an optional block that repeats (`0.1[6]`) and an optional exponent (`1e-5`).

    Returns:
        [`Literal`]: the number.

    Raises:
        `ValueError`: if its exponent has more than four digits.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.tree import read_literal
    >>> read_literal("0.1[6]").value, read_literal("6.02e23").digits
    (Fraction(1, 6), 3)
    ```
    """
    mantissa, mark, exponent = text.lower().partition("e")
    if mark and abs(int(exponent)) > _MAX_EXPONENT:
        raise ValueError("an exponent is too large")
    whole, point, decimals = mantissa.partition(".")
    decimals, is_repeating, block = decimals.rstrip("]").partition("[")
    scale = Fraction(10) ** int(exponent or 0)
    value = Fraction(int(whole + decimals or "0"), 10 ** len(decimals))
    if is_repeating:
        value += Fraction(int(block), (10 ** len(block) - 1) * 10 ** len(decimals))
    if is_repeating or not (point or mark):
        return Literal(value * scale)
    digits = len((whole + decimals).lstrip("0"))
    return Literal(value * scale, max(digits, 1), scale / 10 ** len(decimals), bool(mark))


def walk(node: Node) -> Iterator[Node]:
    """
    Go over a formula and all its parts.

    Args:
        node ([`Node`]):
            A formula.

    Yields:
        [`Node`]: the formula, then its parts.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.parse import parse_text
    >>> from trl_forking.rewards.comparison.tree import walk
    >>> [part.kind for part in walk(parse_text("2x"))]
    ['multiply', 'number', 'symbol']
    ```
    """
    yield node
    for part in node.parts:
        yield from walk(part)


def find_symbols(node: Node) -> set[str]:
    """
    Find the variables of a formula.

    Args:
        node ([`Node`]):
            A formula.

    Returns:
        `set[str]`: their names.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.parse import parse_text
    >>> from trl_forking.rewards.comparison.tree import find_symbols
    >>> sorted(find_symbols(parse_text("x^2 + 2xy + e")))
    ['x', 'y']
    ```
    """
    return {part.value for part in walk(node) if part.kind == "symbol"}


def get_literal(node: Node) -> Literal | None:
    """
    Read a formula that is one number: with a sign, or times a power of ten.

    Args:
        node ([`Node`]):
            A formula.

    Returns:
        [`Literal`] or `None`: the number, `None` if the formula is something else.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.parse import parse_text
    >>> from trl_forking.rewards.comparison.tree import get_literal
    >>> get_literal(parse_text(r"1.6 \\times 10^{-3}")).digits, get_literal(parse_text("1/3"))
    (2, None)
    ```
    """
    if node.kind == "number":
        value: Literal | None = node.value
        return value
    if node.kind == "negative":
        literal = get_literal(node.parts[0])
        return literal and literal._replace(value=-literal.value)
    if node.kind == "multiply":
        mantissa, power = get_literal(node.parts[0]), _read_power_of_ten(node.parts[1])
        if mantissa is not None and mantissa.last is not None and power is not None:
            return Literal(mantissa.value * power, mantissa.digits, mantissa.last * power, True)
    return None


def _read_power_of_ten(node: Node) -> Fraction | None:
    if node.kind != "power":
        return None
    base, exponent = get_literal(node.parts[0]), get_literal(node.parts[1])
    if base is None or base.value != 10 or exponent is None or exponent.value.denominator != 1:
        return None
    return Fraction(10) ** int(exponent.value) if abs(exponent.value) <= _MAX_EXPONENT else None


def choose_signs(node: Node) -> list[Node]:
    r"""
    Write out a formula with `\pm`: once with the upper signs and once with the lower ones.

    Args:
        node ([`Node`]):
            A formula.

    Returns:
        `list[Node]`: two formulas, or the formula itself if it has no such sign.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.parse import parse_text
    >>> from trl_forking.rewards.comparison.tree import choose_signs
    >>> len(choose_signs(parse_text(r"2 \pm \sqrt{3}")))
    2
    ```
    """
    if all(part.kind != "plus_minus" for part in walk(node)):
        return [node]
    return [_choose_sign(node, 1), _choose_sign(node, -1)]


def _choose_sign(node: Node, side: int) -> Node:
    parts = tuple(_choose_sign(part, side) for part in node.parts)
    if node.kind != "plus_minus":
        return node._replace(parts=parts)
    last = parts[-1] if node.value * side > 0 else Node("negative", (parts[-1],))
    return Node("add", (parts[0], last)) if len(parts) == 2 else last
