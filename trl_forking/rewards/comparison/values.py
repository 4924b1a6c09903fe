"""Reads one value: a number, an interval, a set, a tuple, a matrix, or a number with its unit."""

from collections.abc import Callable, Sequence

from .kinds import BARE_FORMS, Kind, Listing, Matrix, Piece, Quantity, RealSet, Text, Value
from .names import is_product
from .numbers import is_same_number
from .parse import parse
from .prepare import is_wordlike
from .quantities import read_quantity
from .real_sets import ALL_REALS, complement, intersect, make_interval, make_pieces, unite
from .relations import find_relations
from .tokens import NotReadable, Token, find_end, join, walk_top
from .tree import Node, choose_signs, find_symbols


ReadInner = Callable[[Sequence[Token]], Kind]
_MATRICES = ("matrix", "pmatrix", "bmatrix", "Bmatrix", "vmatrix", "smallmatrix", "array")
_SET_SIGNS = ("cup", "cap", "setminus")


def read_value(tokens: Sequence[Token], read_inner: ReadInner) -> Kind:
    """
    Read one value.

    Args:
        tokens (`Sequence[Token]`):
            Tokens without a comma or a relation outside of brackets.
        read_inner (`Callable`):
            What reads the content of brackets.

    Returns:
        `Kind`: the value.

    Raises:
        [`~trl_forking.rewards.comparison.tokens.NotReadable`]: if no rule reads it.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.read import read_list
    >>> from trl_forking.rewards.comparison.tokens import tokenize
    >>> from trl_forking.rewards.comparison.values import read_value
    >>> read_value(tokenize("(1,2]"), read_list).pieces[0].has_high
    True
    ```
    """
    if not tokens:
        raise NotReadable("a value is missing")
    if _find_set_signs(tokens):
        return RealSet(_read_set_formula(tokens, read_inner))
    if _is_real_line(tokens):
        return RealSet(ALL_REALS)
    if is_only_words(tokens):
        raise NotReadable("words")
    if [token.text for token in tokens] == ["ldots"]:
        return Text(("...",), True, "a list goes on")
    matrix = _read_matrix(tokens)
    if matrix is not None:
        return matrix
    if _is_bracketed(tokens):
        kind = _read_brackets(tokens, read_inner)
        if kind is not None:
            return kind
    kind = _read_sizes(tokens) or read_quantity(_drop_restatement(tokens))
    if isinstance(kind, Value):
        nodes = choose_signs(kind.node)
        return kind if len(nodes) == 1 else Listing("alternatives", tuple(map(Value, nodes)))
    return kind


def _read_sizes(tokens: Sequence[Token]) -> Listing | None:
    """Read `12 cm by 5 cm` or `12 cm x 5 cm`. Without units, the second is a product."""
    for sign in ("by", "*"):
        places = [place for place, token in walk_top(tokens) if token.text.lower() == sign]
        bounds = [-1, *places, len(tokens)]
        if not places:
            continue
        try:
            kinds = [read_quantity(tokens[start + 1 : end]) for start, end in zip(bounds, bounds[1:], strict=False)]
        except NotReadable:
            continue
        if sign == "by" or all(isinstance(kind, Quantity) for kind in kinds):
            return Listing("sizes", tuple(kinds))
    return None


def _drop_restatement(tokens: Sequence[Token]) -> Sequence[Token]:
    r"""Read `\frac{1}{2} (0.5)` as `\frac{1}{2}`: brackets behind a number may say it again in another form."""
    opening = next((place for place, token in walk_top(tokens) if token.text == "(" and token.spaced and place), None)
    if opening is None or find_end(tokens, opening) != len(tokens) - 1:
        return tokens
    before, inner = tokens[:opening], tokens[opening + 1 : -1]
    try:
        nodes = parse(before), parse(inner)
    except NotReadable:
        return tokens
    is_number = not any(map(find_symbols, nodes)) and join(before).strip() != join(inner).strip()
    return before if is_number and is_same_number(*nodes) is not None else tokens


def _find_set_signs(tokens: Sequence[Token]) -> list[int]:
    return [place for place, token in walk_top(tokens) if token.kind == "command" and token.text in _SET_SIGNS]


def _is_real_line(tokens: Sequence[Token]) -> bool:
    texts = [token.text for token in tokens]
    return tokens[0].kind == "command" and texts in (["mathbb", "{", "R", "}"], ["R"])


def is_only_words(tokens: Sequence[Token]) -> bool:
    """
    Say whether tokens are words. Letters without a vowel, as in `xy`, are a product: English has no such words.

    Args:
        tokens (`Sequence[Token]`):
            An answer.

    Returns:
        `bool`: whether it has nothing but words.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.tokens import tokenize
    >>> from trl_forking.rewards.comparison.values import is_only_words
    >>> [is_only_words(tokenize(text)) for text in ("red ball", "no", "xy", "x")]
    [True, True, False, False]
    ```
    """
    if not tokens or not all(is_wordlike(token) for token in tokens):
        return False
    if len(tokens) > 1:
        return any(token.kind == "word" or len(token.text) > 1 for token in tokens)
    (token,) = tokens
    small = token.text.lower()
    if len(token.text) == 1 or small in (
        "pi",
        "theta",
        "alpha",
        "beta",
        "gamma",
        "delta",
        "lambda",
        "infinity",
        "inf",
    ):
        return False
    return token.kind == "word" or not is_product(token.text)


def _is_bracketed(tokens: Sequence[Token]) -> bool:
    return tokens[0].text in ("(", "[", "\\{", "langle", "{") and find_end(tokens, 0) == len(tokens) - 1


def _read_brackets(tokens: Sequence[Token], read_inner: ReadInner) -> Kind | None:
    opening, closing, inner = tokens[0].text, tokens[-1].text, tokens[1:-1]
    if not inner:
        return RealSet(()) if opening == "\\{" else None
    if opening == "\\{":
        return _read_set(inner, read_inner)
    if opening in ("(", "[") and any(token.text in ("pm", "mp") for token in inner) and len(_split_items(inner)) > 1:
        return Listing("alternatives", tuple(read_inner(_choose_signs(tokens, side)) for side in "+-"))
    items = _split_items(inner)
    if len(items) == 1:
        return _read_parenthesized(inner, opening + closing, read_inner)
    kinds = [read_inner(item) for item in items]
    if any(isinstance(kind, Listing) and kind.form in BARE_FORMS for kind in kinds):
        raise NotReadable("a list in a bracket")
    if opening + closing in ("(]", "[)"):
        return RealSet((make_interval(kinds, opening == "[", closing == "]"),))
    if opening + closing not in ("()", "[]", "{}", "langlerangle"):
        raise NotReadable("these brackets do not belong together")
    if opening == "{":
        return Listing("list", tuple(kinds))
    return Listing("row" if opening == "[" else "tuple", tuple(kinds))


def _choose_signs(tokens: Sequence[Token], sign: str) -> list[Token]:
    r"""Write `(\pm 3, 0)` with the upper signs or with the lower ones."""
    other = "-" if sign == "+" else "+"
    signs = {"pm": sign, "mp": other}
    return [Token("sign", signs[token.text], token.spaced) if token.text in signs else token for token in tokens]


def _read_parenthesized(inner: Sequence[Token], brackets: str, read_inner: ReadInner) -> Kind | None:
    if brackets not in ("()", "{}", "[]"):
        raise NotReadable("these brackets do not belong together")
    if find_relations(inner) or _is_bracketed(inner) or _find_set_signs(inner):
        return read_inner(inner)
    return None  # a formula, or a quantity


def _split_items(tokens: Sequence[Token]) -> list[Sequence[Token]]:
    places = [place for place, token in walk_top(tokens) if token.text in (",", ";") and token.kind == "sign"]
    bounds = [-1, *places, len(tokens)]
    return [tokens[start + 1 : end] for start, end in zip(bounds, bounds[1:], strict=False)]


def _read_set(inner: Sequence[Token], read_inner: ReadInner) -> Kind:
    """Read the content of braces: its elements, or a condition behind a bar."""
    bar = next((place for place, token in walk_top(inner) if token.text in ("|", ":") and place), None)
    if bar is not None:
        kind = read_inner(inner[bar + 1 :])
        is_variable = is_wordlike(inner[0]) and (bar == 1 or inner[1].text == "in")
        if not isinstance(kind, RealSet) or not is_variable or kind.name not in (None, inner[0].text):
            raise NotReadable("the condition of a set is no relation of its variable")
        return kind._replace(name=None)
    kinds = [read_inner(item) for item in _split_items(inner)]
    items: list[Kind] = []
    for kind in kinds:
        items += kind.items if isinstance(kind, Listing) and kind.form in BARE_FORMS else (kind,)
    return Listing("set", tuple(items))


def _read_set_formula(tokens: Sequence[Token], read_inner: ReadInner) -> tuple[Piece, ...]:
    places = _find_set_signs(tokens)
    start = places[0]
    pieces = make_pieces(read_value(tokens[:start], read_inner))
    for place, end in zip(places, [*places[1:], len(tokens)], strict=True):
        other = make_pieces(read_value(tokens[place + 1 : end], read_inner))
        if tokens[place].text == "cup":
            pieces = unite([*pieces, *other])
        elif tokens[place].text == "cap":
            pieces = intersect(pieces, other)
        else:
            pieces = intersect(pieces, complement(other))
    return pieces


def _read_matrix(tokens: Sequence[Token]) -> Matrix | None:
    begin = next((place for place, token in enumerate(tokens) if token == ("command", "begin", token.spaced)), None)
    if begin is None:
        return None
    name = tokens[begin + 2].text if len(tokens) > begin + 3 else ""
    ends = [place for place, token in enumerate(tokens) if token.kind == "command" and token.text == "end"]
    if name not in _MATRICES or len(ends) != 1:
        raise NotReadable("this environment has no rule")
    start, end = begin + 4, ends[0]
    if name == "array":
        start = find_end(tokens, start) + 1
    before, after = list(tokens[:begin]), [token.text for token in tokens[end + 4 :]]
    opening = before.pop().text if before and before[-1].text in ("(", "[", "|") and after else ""
    if after[bool(opening) :] or opening + "".join(after) not in ("", "()", "[]", "||"):
        raise NotReadable("something stands behind a matrix")
    rows = [
        tuple(parse(entry) for entry in _split_at(row, "&")) for row in _split_at(tokens[start:end], "\x01") if row
    ]
    if len({len(row) for row in rows}) != 1:
        raise NotReadable("the rows of a matrix differ in length")
    if before:
        factor = parse(before[:-1] if before[-1].text == "*" else before)
        rows = [tuple(Node("multiply", (factor, entry)) for entry in row) for row in rows]
    return Matrix(tuple(rows), "determinant" if name == "vmatrix" or opening == "|" else "matrix")


def _split_at(tokens: Sequence[Token], sign: str) -> list[Sequence[Token]]:
    places = [place for place, token in walk_top(tokens) if token.text == sign]
    bounds = [-1, *places, len(tokens)]
    return [tokens[start + 1 : end] for start, end in zip(bounds, bounds[1:], strict=False)]
