"""Answers that have a form of their own: choices, number bases, times, dates, ratios, and words with a fixed meaning."""

import re
from collections.abc import Sequence

from .kinds import Based, Choice, Clock, Date, Kind, Piece, Ratio, RealSet, Text, Value
from .parse import parse, parse_text
from .parse_commands import make_number, make_symbol
from .prepare import get_words, is_wordlike
from .real_sets import ALL_REALS, INFINITY, MINUS_INFINITY
from .tokens import NotReadable, Token, join, walk_top
from .tree import find_symbols


_BASED = re.compile(
    r"(?P<sign>-?)\(?(?P<digits>[0-9A-F]+(?:\.[0-9A-F]+)?)\)?\s?(?:_\s?\{?\s?(?:base )?(?P<index>\d+)\s?\}?|,?\s?\(?(?:in )?base (?P<word>\d+)\)?)",
    re.IGNORECASE,
)
_CLOCK = re.compile(
    r"(?P<hour>\d{1,2})(?:\s?:\s?(?P<minute>\d\d))?(?:\s?:\s?\d\d)?\s?(?P<half>[ap])\.?\s?m\.?", re.IGNORECASE
)
_BARE_CLOCK = re.compile(r"(?P<hour>[01]?\d|2[0-4]) ?: ?(?P<minute>[0-5]\d)|(?P<oclock>1?\d) ?o'clock", re.IGNORECASE)
_ISO_DATE = re.compile(r"(?P<year>\d{4})-(?P<month>[01]\d)-(?P<day>[0-3]\d)")
_MONTHS = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
_MONTH = "|".join(f"{name[:3]}(?:{name[3:]})?" if name != "may" else name for name in _MONTHS) + "|sept"
_DATES = (
    re.compile(rf"(?P<name>{_MONTH})\.? (?P<day>\d{{1,2}}) ?(?:st|nd|rd|th)?(?:,? ?(?P<year>\d{{4}}))?", re.IGNORECASE),
    re.compile(rf"(?P<day>\d{{1,2}}) ?(?:st|nd|rd|th)?(?: of)? (?P<name>{_MONTH})\.?(?:,? ?(?P<year>\d{{4}}))?", re.IGNORECASE),
)  # fmt: skip
_REALS = {"all real numbers", "all reals", "real numbers", "any real number", "every real number", "all real values",
          "all real x", "reals", "set of all real numbers", "set of real numbers"}  # fmt: skip
_NOTHING = {"no solution", "no solutions", "no real solution", "no real solutions", "empty set", "null set", "no real roots",
            "there is no solution", "there are no solutions", "has no solution", "no such x", "no real solution exists",
            "no solution exists", "no solutions exist", "there is no real solution", "there are no real solutions"}  # fmt: skip
_VERBS = {
    "is",
    "isn",
    "was",
    "are",
    "would",
    "could",
    "should",
    "may",
    "might",
    "must",
    "can",
    "cannot",
    "or",
    "and",
    "nor",
}
_JUDGEMENTS = {"wrong", "incorrect", "correct"}
_FILLERS = {"", "not", "the", "a", "an", "answer", "choice", "option", "t", "be"}
_ENDLESS = {"infinitely many", "infinitely many solutions", "infinite solutions", "there are infinitely many solutions",
            "an infinite number of solutions", "infinite number of solutions"}  # fmt: skip
_UNDEFINED = {"dne", "does not exist", "limit does not exist", "undefined", "d n e", "not defined"}


def read_format(tokens: Sequence[Token]) -> Kind | None:
    """
    Read an answer that has a form of its own.

    Args:
        tokens (`Sequence[Token]`):
            A prepared answer.

    Returns:
        `Kind` or `None`: the answer, `None` if it has no such form. The rest of a choice is left to the reader.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.formats import read_format
    >>> from trl_forking.rewards.comparison.tokens import tokenize
    >>> read_format(tokenize("52_8"))
    Based(digits='52', base=8)
    >>> read_format(tokenize("3:05 PM"))
    Clock(hour=15, minute=5, is_fixed=True)
    ```
    """
    text = join(tokens)
    return _read_words(tokens) or _read_based(tokens) or _read_clock(text) or _read_date(text) or _read_ratio(tokens)


def split_choice(tokens: Sequence[Token]) -> tuple[str, Sequence[Token]] | None:
    """
    Split the letter of a multiple choice from what stands behind it.

    Args:
        tokens (`Sequence[Token]`):
            A prepared answer.

    Returns:
        `tuple[str, Sequence[Token]]` or `None`: the letter and the rest, which may be empty. `None` if it is no choice.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.formats import split_choice
    >>> from trl_forking.rewards.comparison.tokens import join, tokenize
    >>> letter, rest = split_choice(tokenize(r"\\text{(B) } 12"))
    >>> letter, join(rest)
    ('B', '12')
    ```
    """
    texts = [token.text for token in tokens[:4]]
    is_closed = texts[:1] == ["("] and texts[2:3] == [")"]
    place = 1 if is_closed else 0
    if len(tokens) < place + 2 or not is_wordlike(tokens[place]) or not re.fullmatch("[A-J]", tokens[place].text):
        return None
    if is_closed:
        rest = tokens[3:]
    elif texts[1] in (")", ".", ":"):
        rest = tokens[2:]
    else:
        return None
    if rest and rest[0].text.lower() in ("and", "or", ",", ";", "="):
        return None
    if rest and is_closed and not (rest[0].spaced or rest[0].kind in ("number", "word")):
        return None
    return None if _speaks_of_choices(rest) else (tokens[place].text, rest)


def _speaks_of_choices(rest: Sequence[Token]) -> bool:
    """Say whether the text behind the letter of a choice names another letter, or judges the choice."""
    for place, token in enumerate(rest):
        following = rest[place + 1].text if place + 1 < len(rest) else ""
        before = rest[place - 1] if place else None
        is_function = place > 1 and before is not None and before.text == "(" and not before.spaced
        if re.fullmatch("[A-J]", token.text) and is_wordlike(token) and not is_function:
            is_alone = len(rest) == 1 or (
                following in (")", ".") and (before is None or before.text in ("(", ".", ",", ")"))
            )
            if is_alone:
                return True
    words = get_words(rest)
    return bool(words) and (
        words[0] in _VERBS or bool(set(words) & _JUDGEMENTS and set(words) <= _JUDGEMENTS | _VERBS | _FILLERS)
    )


def _read_words(tokens: Sequence[Token]) -> Kind | None:
    texts = [token.text for token in tokens]
    if texts == ["emptyset"] or texts == ["\\{", "\\}"]:
        return RealSet(())
    line = _read_real_line(texts) if tokens and tokens[0].kind == "command" else None
    if line is not None:
        return line
    words = " ".join(get_words(tokens)).strip()
    if not words or "" in get_words(tokens):
        return None
    if words in _REALS:
        return RealSet(ALL_REALS)
    if words in _NOTHING:
        return RealSet(())
    if words in _UNDEFINED:
        return Text(("undefined",), False, "a word with a fixed meaning")
    if words in _ENDLESS:
        return Text(("infinitely", "many"), False, "a word with a fixed meaning")
    return Value(INFINITY) if words in ("infinity", "positive infinity") else None


def _read_real_line(texts: list[str]) -> RealSet | None:
    """Read the sign of the real numbers, or of the positive or negative ones."""
    length = 4 if texts[:4] == ["mathbb", "{", "R", "}"] else 1 if texts[:1] == ["R"] else 0
    sign = "".join(text for text in texts[length:] if text not in "{}")
    if not length or sign not in ("", "^+", "_+", "^-", "_-", "_>0", "_<0"):
        return None
    if not sign:
        return RealSet(ALL_REALS)
    zero = make_number(0)
    is_positive = sign[1] in "+>"
    return RealSet(
        (Piece(zero, INFINITY, False, False) if is_positive else Piece(MINUS_INFINITY, zero, False, False),)
    )


def _read_based(tokens: Sequence[Token]) -> Kind | None:
    match = _BASED.fullmatch("".join(" " * token.spaced + token.text for token in tokens).strip())
    if match is None:
        return None
    whole, point, places = match["digits"].upper().partition(".")
    digits, base = whole.lstrip("0") or "0", int(match["index"] or match["word"])
    places = places.rstrip("0")
    if digits.isalpha() and (len(digits) < 2 or base < 11 or digits != match["digits"]):
        return None  # an index of a variable
    if not 2 <= base <= 36 or any(int(digit, 36) >= base for digit in digits + places):
        raise NotReadable(f"it is no number in base {base}")
    if base == 10:
        return Value(parse_text(match["sign"] + match["digits"]))
    return Based(match["sign"] + digits + ("." + places if places else ""), base)


def _read_clock(text: str) -> Clock | None:
    if text.lower() in ("noon", "12 noon", "midnight", "12 midnight", "12:00 noon", "12:00 midnight"):
        return Clock(12 if "noon" in text.lower() else 0, 0, True)
    match = _CLOCK.fullmatch(text)
    if match is not None and 1 <= int(match["hour"]) <= 12 and int(match["minute"] or 0) < 60:
        hour = int(match["hour"]) % 12 + (12 if match["half"].lower() == "p" else 0)
        return Clock(hour, int(match["minute"] or 0), True)
    match = _BARE_CLOCK.fullmatch(text)
    if match is None:
        return None
    return Clock(int(match["oclock"] or match["hour"]), int(match["minute"] or 0), False)


def _read_date(text: str) -> Date | None:
    match = _ISO_DATE.fullmatch(text)
    if match is not None:
        return Date(int(match["year"]), int(match["month"]), int(match["day"]))
    match = next(filter(None, (pattern.fullmatch(text) for pattern in _DATES)), None)
    if match is None:
        return None
    month = [name[:3] for name in _MONTHS].index(match["name"][:3].lower()) + 1
    return Date(int(match["year"]) if match["year"] else None, month, int(match["day"]))


def _read_ratio(tokens: Sequence[Token]) -> Ratio | None:
    try:
        places = [place for place, token in walk_top(tokens) if token.text == ":" or token.text.lower() == "to"]
        bounds = [-1, *places, len(tokens)]
        if not places:
            return None
        parts = tuple(parse(tokens[start + 1 : end]) for start, end in zip(bounds, bounds[1:], strict=False))
    except NotReadable:
        return None
    is_named = any(token.text == "to" and token.kind == "command" for token in tokens)
    return None if is_named or any(find_symbols(part) for part in parts) else Ratio(parts)


def make_choice(letter: str, rest: Kind | None) -> Kind:
    """
    Make the answer of a multiple choice.

    Args:
        letter (`str`):
            Its letter.
        rest (`Kind`, *optional*):
            What stands behind the letter.

    Returns:
        `Kind`: a choice, or the letter alone.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.formats import make_choice
    >>> make_choice("B", None).node.value
    'B'
    ```
    """
    return Value(make_symbol(letter)) if rest is None else Choice(letter, rest)
