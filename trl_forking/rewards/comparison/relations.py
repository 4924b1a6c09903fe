"""Reads relations: equations, inequalities, memberships and approximations."""

from collections.abc import Callable, Sequence
from fractions import Fraction

from .equality import estimate, is_same_value
from .evaluate import find_rational
from .kinds import Approximate, Congruence, Equation, Inequality, Kind, Listing, Named, Piece, Quantity, RealSet, Value
from .names import read_name
from .numbers import scale
from .parse import parse
from .real_sets import INFINITY, MINUS_INFINITY, complement, make_pieces, make_point
from .tokens import NotReadable, Token, find_end, walk_top
from .tree import Node, choose_signs, find_symbols, get_literal
from .units import get_unit


ReadInner = Callable[[Sequence[Token]], Kind]
_SIGNS = {"=", "<", ">"}
_COMMANDS = {"le", "ge", "ne", "in", "approx", "equiv"}
_MODULUS = ("pmod", "mod", "bmod")
_ORDER = {"<", ">", "le", "ge"}


def find_relations(tokens: Sequence[Token]) -> list[int]:
    """
    Find the signs of relations outside of brackets.

    Args:
        tokens (`Sequence[Token]`):
            An answer.

    Returns:
        `list[int]`: their places.

    Raises:
        [`~trl_forking.rewards.comparison.tokens.NotReadable`]: if brackets are not closed.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.relations import find_relations
    >>> from trl_forking.rewards.comparison.tokens import tokenize
    >>> find_relations(tokenize(r"1 \\le x < f(y=2)"))
    [1, 3]
    ```
    """
    return [
        place
        for place, token in walk_top(tokens)
        if (token.kind == "sign" and token.text in _SIGNS) or (token.kind == "command" and token.text in _COMMANDS)
    ]


def read_relation(tokens: Sequence[Token], read_inner: ReadInner) -> Kind:
    """
    Read a relation or a chain of relations.

    Args:
        tokens (`Sequence[Token]`):
            Tokens with a relation.
        read_inner (`Callable`):
            What reads the sides.

    Returns:
        `Kind`: the relation.

    Raises:
        [`~trl_forking.rewards.comparison.tokens.NotReadable`]: if no rule reads it.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.read import read_list
    >>> from trl_forking.rewards.comparison.relations import read_relation
    >>> from trl_forking.rewards.comparison.tokens import tokenize
    >>> type(read_relation(tokenize("3x-y+13=0"), read_list)).__name__
    'Equation'
    ```
    """
    places = find_relations(tokens)
    signs = [tokens[place].text for place in places]
    bounds = [-1, *places, len(tokens)]
    sides = [tokens[start + 1 : end] for start, end in zip(bounds, bounds[1:], strict=False)]
    if "approx" in signs:
        return _read_approximation(tokens, places[signs.index("approx")], read_inner)
    if "in" in signs:
        return _read_membership(signs, sides, read_inner)
    if "equiv" in signs:
        return _read_congruence(signs, sides)
    if signs == ["="] and has_modulus(sides[1]):
        return _read_congruence(["equiv"], sides)
    if all(sign == "=" for sign in signs):
        return _read_equation(sides, read_inner)
    if signs == ["ne"]:
        name, value = _order_sides(sides[0], sides[1])
        return RealSet(complement(list(map(make_point, choose_signs(parse(value))))), name)
    if all(sign in _ORDER for sign in signs):
        return _read_inequality(signs, sides)
    raise NotReadable("these relations do not belong together")


def _order_sides(left: Sequence[Token], right: Sequence[Token]) -> tuple[str | None, Sequence[Token]]:
    """Return the name and the other side. The name may stand on either side, or be missing."""
    if not left:
        return None, right
    name = read_name(left)
    if name is not None:
        return name, right
    name = read_name(right)
    if name is None:
        raise NotReadable("the relation is not solved for a variable")
    return name, left


def _read_equation(sides: list[Sequence[Token]], read_inner: ReadInner) -> Kind:
    names = _read_tuple_of_names(sides[0])
    if names is not None and len(sides) == 2:
        value = read_inner(sides[1])
        if isinstance(value, Listing) and value.form == "tuple" and len(value.items) == len(names):
            return Named(tuple(zip(names, value.items, strict=True)))
    all_names = [read_name(side) for side in sides[:-1]]
    if all_names[0] is not None:
        # x = y = 5 gives two names to one value.
        middle = [name for name in all_names[1:] if name is not None]
        value = _read_product(sides) or _read_chain(
            [side for side, name in zip(sides[1:-1], all_names[1:], strict=True) if name is None] + sides[-1:],
            read_inner,
        )
        return Named(tuple((name, value) for name in (all_names[0], *middle)))
    if len(sides) == 2 and read_name(sides[1]) is not None and not has_variables(sides[0]):
        return Named(((str(read_name(sides[1])), read_inner(sides[0])),))
    nodes = [parse(side) for side in sides]
    if all(is_same_value(nodes[0], node) for node in nodes[1:]):
        return Value(nodes[-1])
    if len(nodes) > 2 or not any(find_symbols(node) for node in nodes):
        raise NotReadable("the equation is false")
    return Equation(nodes[0], nodes[1])


def _read_product(sides: list[Sequence[Token]]) -> Value | None:
    """Read the letters of `PV = nRT` and `F = ma` as a product. Elsewhere such letters may be a word."""
    left, right = sides[0], sides[-1]
    is_formula = len(left) == 1 and left[0].kind == "letters" and len(left[0].text) <= 2
    if (
        len(sides) == 2
        and is_formula
        and len(right) == 1
        and right[0].kind == "letters"
        and 2 <= len(right[0].text) <= 3
    ):
        return Value(parse(right))
    return None


def has_variables(tokens: Sequence[Token]) -> bool:
    """
    Say whether tokens are a formula with variables, or no formula.

    Args:
        tokens (`Sequence[Token]`):
            One side of an equation.

    Returns:
        `bool`: `False` if they have a value.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.relations import has_variables
    >>> from trl_forking.rewards.comparison.tokens import tokenize
    >>> has_variables(tokenize("2")), has_variables(tokenize("x+1"))
    (False, True)
    ```
    """
    try:
        return bool(find_symbols(parse(tokens)))
    except NotReadable:
        return True


def _read_chain(sides: list[Sequence[Token]], read_inner: ReadInner) -> Kind:
    """Read the values in `x = 2+3 = 5`. The last one counts, and other numbers must be equal to it."""
    kinds = [read_inner(side) for side in sides]
    last = kinds[-1]
    for kind in kinds[:-1]:
        if not (isinstance(kind, Value) and isinstance(last, Value)):
            raise NotReadable("a chain of equations with different kinds of values")
        # A formula may stand before its value, as in A = x^2 = 9.
        is_formula = bool(find_symbols(kind.node)) and not find_symbols(last.node)
        if not is_formula and not is_same_value(kind.node, last.node):
            raise NotReadable("the equation is false")
    return last


def _read_tuple_of_names(tokens: Sequence[Token]) -> list[str] | None:
    if len(tokens) < 5 or tokens[0].text != "(" or find_end(tokens, 0) != len(tokens) - 1:
        return None
    inner = tokens[1:-1]
    places = [place for place, token in walk_top(inner) if token.text == ","]
    bounds = [-1, *places, len(inner)]
    names = [read_name(inner[start + 1 : end]) for start, end in zip(bounds, bounds[1:], strict=False)]
    found = [name for name in names if name is not None]
    return found if places and len(found) == len(names) else None


def _read_approximation(tokens: Sequence[Token], place: int, read_inner: ReadInner) -> Kind:
    value = read_inner(tokens[place + 1 :])
    before = tokens[:place]
    if not before or read_name(before) is not None:
        return Approximate(value)
    exact = read_inner(before)
    inner = exact.values[0][1] if isinstance(exact, Named) and len(exact.values) == 1 else exact
    if not _is_close(inner, value):
        raise NotReadable("the sides of an approximation are not close")
    return Approximate(value, exact)


def _is_close(exact: Kind, value: Kind) -> bool:
    """Say whether a value is the rounded one of another. A decimal must be rounded, or cut off, at its last digit."""
    node = _get_number(value)
    if not isinstance(exact, Value) or node is None:
        return True
    first, second, literal = estimate(exact.node), estimate(node), get_literal(node)
    if first is None or second is None:
        return False
    if literal is None or literal.last is None:
        return abs(first - second) <= 0.05 * abs(first)
    is_cut_off = abs(second) < abs(first) and first * second > 0
    return abs(first - second) <= (1.0 if is_cut_off else 0.501) * float(literal.last)


def _get_number(kind: Kind) -> Node | None:
    """Return a number without its unit. A percent sign is a part of the number."""
    if isinstance(kind, Value):
        return kind.node
    if not isinstance(kind, Quantity) or len(kind.parts) != 1:
        return None
    number, unit = kind.parts[0]
    return scale(number, Fraction(1, 100)) if unit == get_unit("percent") else number


def _read_membership(signs: list[str], sides: list[Sequence[Token]], read_inner: ReadInner) -> Kind:
    name = read_name(sides[0])
    if signs != ["in"] or name is None:
        raise NotReadable("no variable stands before a membership")
    kind = read_inner(sides[1])
    if isinstance(kind, Listing) and kind.form in ("tuple", "row"):
        kind = RealSet(make_pieces(kind))
    return kind._replace(name=name) if isinstance(kind, RealSet) else Named(((name, kind),))


def _read_congruence(signs: list[str], sides: list[Sequence[Token]]) -> Congruence:
    name = read_name(sides[0])
    if signs != ["equiv"] or name is None:
        raise NotReadable("a congruence is not solved for a variable")
    return read_remainder(sides[1])._replace(name=name)


def has_modulus(tokens: Sequence[Token]) -> bool:
    r"""
    Say whether tokens are a number with a modulus, as in `3 \pmod 7`.

    Args:
        tokens (`Sequence[Token]`):
            An answer.

    Returns:
        `bool`: whether a modulus stands behind the first token.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.relations import has_modulus
    >>> from trl_forking.rewards.comparison.tokens import tokenize
    >>> has_modulus(tokenize(r"3 \pmod 7")), has_modulus(tokenize("3"))
    (True, False)
    ```
    """
    return any(token.text.lower() in _MODULUS for token in tokens[1:])


def read_remainder(tokens: Sequence[Token]) -> Congruence:
    r"""
    Read a number with a modulus.

    Args:
        tokens (`Sequence[Token]`):
            An answer such as `3 \pmod 7`.

    Returns:
        [`~trl_forking.rewards.comparison.kinds.Congruence`]: the class of remainders.

    Raises:
        [`~trl_forking.rewards.comparison.tokens.NotReadable`]: if it is something else.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.relations import read_remainder
    >>> from trl_forking.rewards.comparison.tokens import tokenize
    >>> read_remainder(tokenize(r"10 \pmod 7"))
    Congruence(name=None, remainder=Fraction(3, 1), modulus=Fraction(7, 1))
    ```
    """
    tokens = [token for token in tokens if token.text not in "(){}"]
    place = next((place for place, token in enumerate(tokens) if token.text.lower() in _MODULUS), 0)
    remainder, modulus = find_rational(parse(tokens[:place])), find_rational(parse(tokens[place + 1 :]))
    if remainder is None or not modulus:
        raise NotReadable("a congruence has no numbers")
    return Congruence(None, remainder % modulus, abs(modulus))


def _read_inequality(signs: list[str], sides: list[Sequence[Token]]) -> Kind:
    if len(signs) == 2 and (signs[0] in ("<", "le")) == (signs[1] in ("<", "le")):
        return _read_double_inequality(signs, sides)
    if len(signs) != 1:
        raise NotReadable("a chain of inequalities has different directions")
    sign, (left, right) = signs[0], sides
    name = None if not left else read_name(left)
    if left and name is None:
        name = read_name(right)
        sign, left, right = {"<": ">", ">": "<", "le": "ge", "ge": "le"}[sign], right, left
    value = parse(right)
    if (sides[0] and name is None) or find_symbols(value):
        return _make_inequality(signs[0], parse(sides[0]), parse(sides[1]))
    if sign in ("<", "le"):
        return RealSet((Piece(MINUS_INFINITY, value, False, sign == "le"),), name)
    return RealSet((Piece(value, INFINITY, sign == "ge", False),), name)


def _make_inequality(sign: str, left: Node, right: Node) -> Inequality:
    larger, smaller = (left, right) if sign in (">", "ge") else (right, left)
    return Inequality(Node("add", (larger, Node("negative", (smaller,)))), sign in "<>")


def _read_double_inequality(signs: list[str], sides: list[Sequence[Token]]) -> RealSet:
    name = read_name(sides[1])
    if name is None:
        raise NotReadable("no variable stands between two inequalities")
    low, high, strict = parse(sides[0]), parse(sides[2]), [sign in "<>" for sign in signs]
    if signs[0] in (">", "ge"):
        low, high, strict = high, low, strict[::-1]
    first, second = estimate(low), estimate(high)
    if first is not None and second is not None and first > second:
        raise NotReadable("the ends of an inequality do not rise")
    return RealSet((Piece(low, high, not strict[0], not strict[1]),), name)
