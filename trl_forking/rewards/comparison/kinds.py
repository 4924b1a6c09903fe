"""The kinds of answers. Two answers are compared by their kinds."""

from fractions import Fraction
from typing import NamedTuple, TypeAlias

from .tree import Node
from .units import Unit


class Value(NamedTuple):
    """
    A number or an expression.

    Args:
        node ([`~trl_forking.rewards.comparison.tree.Node`]):
            The formula.
        with_unit ([`Quantity`], *optional*):
            The same answer if its last letter is a unit, as in `5 m`.
    """

    node: Node
    with_unit: "Quantity | None" = None


class Quantity(NamedTuple):
    """
    Numbers with units, as in `3 feet 4 inches`.

    Args:
        parts (`tuple[tuple[Node, Unit], ...]`):
            Each number with its unit.
    """

    parts: tuple[tuple[Node, Unit], ...]


class Listing(NamedTuple):
    r"""
    Several answers.

    Args:
        form (`str`):
            `"list"` (no brackets), `"alternatives"` (no brackets, with `or` or a `\pm`), `"set"`, `"tuple"` (round
            brackets), `"row"` (square brackets) or `"sizes"` (`12 cm by 5 cm`).
        items (`tuple[Kind, ...]`):
            The answers.
    """

    form: str
    items: tuple["Kind", ...]


BARE_FORMS = ("list", "alternatives")
"""Forms of [`Listing`] without brackets."""


class Piece(NamedTuple):
    """
    An interval, or a point if both ends are the same.

    Args:
        low, high (`Node`):
            Its ends.
        has_low, has_high (`bool`):
            Whether the ends belong to it.
    """

    low: Node
    high: Node
    has_low: bool
    has_high: bool


class RealSet(NamedTuple):
    """
    A set of real numbers: intervals, or what a relation such as `x > 2` leaves.

    Args:
        pieces (`tuple[Piece, ...]`):
            Its intervals in rising order. None touches the next one.
        name (`str`, *optional*):
            The variable of the relation.
    """

    pieces: tuple[Piece, ...]
    name: str | None = None


class Named(NamedTuple):
    """
    Values with names, as in `x=2, y=3`.

    Args:
        values (`tuple[tuple[str, Kind], ...]`):
            Names and values, as they stand there.
    """

    values: tuple[tuple[str, "Kind"], ...]


class Equation(NamedTuple):
    """
    An equation that gives no name to a value.

    Args:
        left, right (`Node`):
            Its sides.
    """

    left: Node
    right: Node


class Inequality(NamedTuple):
    """
    A relation that is not solved for one variable: `difference > 0`, or `>= 0`.

    Args:
        difference (`Node`):
            The larger side less the smaller one.
        is_strict (`bool`):
            Whether the sides may not be equal.
    """

    difference: Node
    is_strict: bool


class Matrix(NamedTuple):
    """
    A matrix or a vector.

    Args:
        rows (`tuple[tuple[Node, ...], ...]`):
            Its rows.
        form (`str`):
            `"matrix"`, or `"determinant"` if it stands between bars.
    """

    rows: tuple[tuple[Node, ...], ...]
    form: str = "matrix"


class Choice(NamedTuple):
    """
    The letter of a multiple choice with what stands behind it.

    Args:
        letter (`str`):
            The letter.
        rest (`Kind`):
            The rest.
    """

    letter: str
    rest: "Kind"


class Ratio(NamedTuple):
    """
    A ratio such as `3:4`.

    Args:
        parts (`tuple[Node, ...]`):
            Its numbers.
    """

    parts: tuple[Node, ...]


class Clock(NamedTuple):
    """
    A time of day.

    Args:
        hour, minute (`int`):
            Its hour, from 0 to 24, and its minute.
        is_fixed (`bool`):
            Whether a.m. or p.m. is stated.
    """

    hour: int
    minute: int
    is_fixed: bool


class Date(NamedTuple):
    """
    A date.

    Args:
        year (`int`, *optional*):
            Its year.
        month, day (`int`):
            Its month and day.
    """

    year: int | None
    month: int
    day: int


class Based(NamedTuple):
    """
    A number in another base than ten.

    Args:
        digits (`str`):
            Its digits, without zeros at their beginning.
        base (`int`):
            The base.
    """

    digits: str
    base: int


class Congruence(NamedTuple):
    r"""
    A class of remainders, as in `x \equiv 3 \pmod 7`.

    Args:
        name (`str`, *optional*):
            The variable.
        remainder, modulus (`Fraction`):
            The numbers.
    """

    name: str | None
    remainder: Fraction
    modulus: Fraction


class Approximate(NamedTuple):
    r"""
    A value that is not exact, as in `\sqrt 2 \approx 1.41`.

    Args:
        value (`Kind`):
            What stands behind the sign.
        exact (`Kind`, *optional*):
            What stands before it.
    """

    value: "Kind"
    exact: "Kind | None" = None


class Text(NamedTuple):
    """
    Words, or a formula that no rule of ours reads.

    Args:
        words (`tuple[str, ...]`):
            Words and signs.
        is_formula (`bool`):
            Whether it has no words.
        reason (`str`):
            Why it is read as text.
    """

    words: tuple[str, ...]
    is_formula: bool
    reason: str


Kind: TypeAlias = (
    Value | Quantity | Listing | RealSet | Named | Equation | Inequality | Matrix | Choice | Ratio | Clock | Date | Based
    | Congruence | Approximate | Text
)  # fmt: skip
