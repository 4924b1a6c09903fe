"""Reads numbers with what stands beside them: money, magnitudes and units."""

from collections.abc import Sequence
from fractions import Fraction

from .evaluate import find_rational
from .kinds import Quantity, Value
from .parse import parse
from .parse_commands import FUNCTIONS, GREEK, PLAIN_NAMES, make_number
from .prepare import get_words, is_wordlike
from .tokens import NotReadable, Token, walk_top
from .tree import Node, find_symbols
from .units import Unit, combine, find_noun, find_unit
from .words import APPROXIMATIONS, CLOSED_CLASSES, MAGNITUDES, SHORT_MAGNITUDES, is_plural, make_singular


_CURRENCY_SIGNS = ("$", "€", "£", "¥", "₹", "¢")
_CURRENCY_CODES = ("usd", "eur", "gbp", "inr", "rs", "jpy", "cny", "rmb")
_POWER_WORDS = {"square": 2, "sq": 2, "squared": 2, "cubic": 3, "cu": 3, "cubed": 3}
# Words behind a unit that add nothing to it.
_MEASURED = {"long", "wide", "tall", "high", "deep", "old", "away", "ago", "each", "apart", "thick", "total", "in"}


def read_quantity(tokens: Sequence[Token]) -> Value | Quantity:
    r"""
    Read a number or an expression with its units.

    Args:
        tokens (`Sequence[Token]`):
            Tokens without relations and commas.

    Returns:
        [`~trl_forking.rewards.comparison.kinds.Value`] or [`~trl_forking.rewards.comparison.kinds.Quantity`]: the answer.

    Raises:
        [`~trl_forking.rewards.comparison.tokens.NotReadable`]: if a word is no unit.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.quantities import read_quantity
    >>> from trl_forking.rewards.comparison.tokens import tokenize
    >>> read_quantity(tokenize(r"5 \text{ km}")).parts[0][1].factor
    Fraction(1000, 1)
    ```
    """
    tokens, currency = _take_currency(list(tokens))
    parts, place = [], 0
    while place < len(tokens):
        node, unit, place = _read_part(tokens, place)
        parts.append((node, unit))
    if not parts:
        raise NotReadable("a value is missing")
    if currency is not None:
        return _add_currency(parts, currency)
    if len(parts) == 1 and parts[0][1] is None:
        return _peel_sign(tokens, parts[0][0])
    quantity = Quantity(tuple((node, unit) for node, unit in parts if unit is not None))
    if len(quantity.parts) < len(parts):
        raise NotReadable("a number has no unit, and another one has")
    return quantity


def _take_currency(tokens: list[Token]) -> tuple[list[Token], Unit | None]:
    if len(tokens) > 1 and is_wordlike(tokens[0]) and tokens[0].text.lower() in _CURRENCY_CODES:
        return tokens[1:], find_unit(tokens[0].text)
    for place in (0, 1):
        if len(tokens) > place + 1 and tokens[place].text in _CURRENCY_SIGNS and (not place or tokens[0].text == "-"):
            return tokens[:place] + tokens[place + 1 :], find_unit(tokens[place].text)
    return tokens, None


def _add_currency(parts: list[tuple[Node, Unit | None]], currency: Unit) -> Quantity:
    (node, unit), *others = parts
    if others:
        raise NotReadable("money with two numbers")
    if unit is None or unit == currency:
        return Quantity(((node, currency),))
    if any(power > 0 for _, power in unit.powers):
        raise NotReadable("money with another unit")
    return Quantity(((node, combine([(currency, 1), (unit, 1)])),))


def _read_part(tokens: list[Token], start: int) -> tuple[Node, Unit | None, int]:
    top = [place for place, _ in walk_top(tokens) if place >= start]
    word = next((place for place in top if _is_word(tokens, place)), len(tokens))
    if word == start:
        raise NotReadable(f"{tokens[start].text!r} stands where a number should stand")
    node = parse(tokens[start:word])
    while word < len(tokens) and (magnitude := _find_magnitude(tokens[word])):
        node = _magnify(node, magnitude)
        word += 1
    end = next((place for place in top if place > word and _starts_number(tokens, place)), len(tokens))
    if end <= word:
        return node, None, word
    unit = _read_unit(tokens[word:end], _is_one(node))
    if unit is None:
        raise NotReadable(f"{' '.join(get_words(tokens[word:end])).strip()!r} is no unit")
    return node, unit, end


def _find_magnitude(token: Token) -> int | None:
    name = token.text.lower()
    return MAGNITUDES.get(name) or (SHORT_MAGNITUDES.get(name) if token.kind == "word" else None)


def _is_word(tokens: list[Token], place: int) -> bool:
    token = tokens[place]
    if token.text == "/" and tokens[place + 1 : place + 2] and tokens[place + 1].kind == "word":  # 20/\text{hour}
        return True
    if token.kind == "word" or token.text in _CURRENCY_SIGNS:
        return True
    small = token.text.lower()
    if small in ("min", "sec") and place and place + 1 == len(tokens):  # a function has an argument
        return True
    if token.kind != "letters" or len(small) < 2 or small in FUNCTIONS or small in PLAIN_NAMES:
        return False
    if len(small) > 3 or small in CLOSED_CLASSES or small in APPROXIMATIONS:
        return True
    is_behind = place > 0 and not (tokens[place - 1].kind == "letters" and not token.spaced)
    if is_behind and (find_unit(token.text) is not None or small in _POWER_WORDS or make_singular(small) != small):
        return is_plural(small) or find_unit(token.text) is not None or small in _POWER_WORDS
    following = tokens[place + 1 : place + 2]
    return token.spaced and bool(following) and following[0].spaced and is_wordlike(following[0]) and is_behind


def _starts_number(tokens: list[Token], place: int) -> bool:
    if tokens[place].kind == "command" and tokens[place].text in ("frac", "sqrt"):
        return True
    return tokens[place].kind == "number" and tokens[place - 1].text not in ("^", "-", "{")


def _magnify(node: Node, factor: int) -> Node:
    power = len(str(factor)) - 1
    if factor != 10**power:
        return Node("multiply", (node, make_number(factor)))
    return Node("multiply", (node, Node("power", (make_number(10), make_number(power)))))


def _is_one(node: Node) -> bool:
    value = find_rational(node)
    return value is not None and abs(value) <= 1


def _peel_sign(tokens: list[Token], node: Node) -> Value | Quantity:
    """Take a degree sign, a percent sign or a letter at the end of a number for its unit."""
    inner, unit = _split_sign(node)
    if unit is not None:
        return Quantity(((inner, unit),))
    if not find_symbols(node):
        return Value(node)
    letters = next((place for place, token in enumerate(tokens) if token.kind == "letters"), 0)
    if letters and all(token.text not in GREEK for token in tokens):
        letter_unit = _read_known_unit(tokens[letters:])
        try:
            number = parse(tokens[:letters])
        except NotReadable:
            return Value(node)
        if letter_unit is not None and not find_symbols(number):
            quantity = Quantity(((number, letter_unit),))
            return quantity if tokens[letters].spaced else Value(node, quantity)
    return Value(node)


def _split_sign(node: Node) -> tuple[Node, Unit | None]:
    if node.kind in ("degrees", "percent"):
        return node.parts[0], find_unit("degree" if node.kind == "degrees" else "percent")
    if node.kind == "negative":
        inner, unit = _split_sign(node.parts[0])
        return Node("negative", (inner,)), unit
    return node, None


def _read_unit(tokens: Sequence[Token], is_one: bool) -> Unit | None:
    tokens = [token for token in tokens if token.text != "."]  # sq. cm
    while len(tokens) > 1 and tokens[-1].text.lower() in _MEASURED:
        tokens = tokens[:-1]
    unit = _read_known_unit(tokens)
    if unit is None and all(is_wordlike(token) for token in tokens):
        return find_noun([token.text for token in tokens], is_one)
    return unit


def _read_known_unit(tokens: Sequence[Token]) -> Unit | None:
    """Read a product of units of measurement. Behind `per`, and before it, a noun may stand: `apples per day`."""
    factors: list[tuple[Unit, int]] = []
    words = get_words(tokens)
    is_rate = "per" in words or any(token.text == "/" for token in tokens)
    place, side = 0, 1
    while place < len(tokens):
        if words[place] == "per" or tokens[place].text == "/":
            side, place = -1, place + 1
        elif factors and tokens[place].text in ("*", "-"):
            place += 1
        if place >= len(tokens):
            return None
        power = _POWER_WORDS.get(words[place], 1)
        place += power > 1
        if words[place : place + 1] in (["degree"], ["degrees"]) and words[place + 1 : place + 2] != [""]:
            place += len(words) > place + 1
        unit = _find_factor(tokens[place], is_rate) if place < len(tokens) else None
        if unit is None:
            return None
        exponent, place = _read_unit_power(tokens, place + 1)
        factors.append((unit, side * power * exponent))
    return combine(factors) if factors else None


def _find_factor(token: Token, is_rate: bool) -> Unit | None:
    unit = find_unit({"C": "celsius", "F": "fahrenheit"}.get(token.text, token.text))
    if unit is not None or not is_rate or not is_wordlike(token) or len(token.text) < 3:
        return unit
    return find_noun([token.text], True)


def _read_unit_power(tokens: Sequence[Token], place: int) -> tuple[int, int]:
    texts = [token.text for token in tokens[place : place + 5]]
    if texts[:1] == ["^"] and len(texts) > 1 and texts[1].isdigit():
        return int(texts[1][:2]), place + 2
    if texts[:2] == ["^", "{"] and "}" in texts:
        end = texts.index("}")
        number = "".join(texts[2:end])
        if number.lstrip("-").isdigit() and len(number) < 4:
            return int(Fraction(number)), place + end + 1
    if texts[:1] and texts[0].lower() in ("squared", "cubed"):
        return _POWER_WORDS[texts[0].lower()], place + 1
    return 1, place
