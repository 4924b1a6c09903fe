"""Numbers in words: `one hundred and five`, `two thirds`, `three and a half`, `negative seven`."""

from collections.abc import Sequence
from fractions import Fraction

from .tokens import Token
from .words import ARTICLES, NUMBERS


_MAGNITUDES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "quadrillion": 10**15}
_SIGNS = {"negative", "minus"}
_ORDINALS = {
    "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9, "tenth": 10, "eleventh": 11,
    "twelfth": 12, "thirteenth": 13, "fourteenth": 14, "fifteenth": 15, "sixteenth": 16, "twentieth": 20, "thirtieth": 30,
    "fortieth": 40, "fiftieth": 50, "hundredth": 100, "thousandth": 1000, "millionth": 10**6, "billionth": 10**9,
}  # fmt: skip
_PARTS = {"half": 2, "quarter": 4} | _ORDINALS
_PLURALS = {"halves": 2, "quarters": 4} | {f"{name}s": value for name, value in _ORDINALS.items()}
_HALVED = {"hundred": 100, "dozen": 12} | _MAGNITUDES
# What may stand before a sign in words. Behind a number, `minus` is an operation.
_BEFORE_A_SIGN = {",", ";", "=", "(", "[", "or", "and", "is", "le", "ge", "<", ">"}


def read_number_words(words: Sequence[str]) -> tuple[Fraction, int] | None:
    """
    Read the number at the beginning of some words.

    Args:
        words (`Sequence[str]`):
            Words in small letters. Digits may stand before a magnitude or a fraction, as in `5 halves`.

    Returns:
        `tuple[Fraction, int]` or `None`: the number, and how many words it takes. `None` if no number in words stands there.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.number_words import read_number_words
    >>> read_number_words(["one", "hundred", "and", "five", "apples"])
    (Fraction(105, 1), 4)
    >>> read_number_words(["three", "and", "a", "half"]), read_number_words(["two", "forty"])
    ((Fraction(7, 2), 4), (Fraction(2, 1), 1))
    >>> read_number_words(["red"]) is read_number_words(["5"]) is None
    True
    ```
    """
    if words[:1] and words[0] in _SIGNS:
        digits = (Fraction(words[1]), 1) if words[1:] and words[1].isdigit() else None
        read = read_number_words(words[1:]) or digits
        return None if read is None or read[0] <= 0 else (-read[0], read[1] + 1)
    part = _read_part(words)
    if part is not None:
        return _read_halved(part, words)
    number, length = _read_whole(words)
    if length and words[length : length + 1] == ["and"]:
        rest = _read_part(words[length + 1 :])
        if rest is not None and rest[0] < 1:
            return number + rest[0], length + 1 + rest[1]
    # A number in digits, with or without a magnitude, is no number in words.
    return None if not length or (length <= 2 and words[0].isdigit()) else (Fraction(number), length)


def _read_halved(part: tuple[Fraction, int], words: Sequence[str]) -> tuple[Fraction, int]:
    """Read `half a million`. Of `half an hour`, the article belongs to the number."""
    number, length = part
    if number != Fraction(1, 2):
        return part
    length += length < len(words) and words[length] in ("a", "an")
    size = _HALVED.get(words[length]) if length < len(words) else None
    return (number, length) if size is None else (number * size, length + 1)


def _read_part(words: Sequence[str]) -> tuple[Fraction, int] | None:
    """Read a fraction: `half`, `a third`, `two thirds`."""
    if words[:1] == ["half"]:
        return Fraction(1, 2), 1
    if words[:1] and words[0] in ("a", "an", "one", "1") and words[1:2] and words[1] in _PARTS:
        return Fraction(1, _PARTS[words[1]]), 2
    number, length = _read_below_hundred(words, 0)
    if length and length < len(words) and words[length] in _PLURALS:
        return Fraction(number, _PLURALS[words[length]]), length + 1
    return None


def _read_whole(words: Sequence[str]) -> tuple[int, int]:
    """Read a whole number. Its magnitudes fall, as in `two million five hundred`."""
    total, place, limit = 0, 0, 10**18
    while True:
        start = place + (place > 0 and words[place : place + 1] == ["and"])
        number, end = _read_hundreds(words, start)
        size = _MAGNITUDES.get(words[end], 1) if end < len(words) else 1
        is_bare = size == 1 and place > 0 and end > start and words[end - 1].isdigit()
        if end == start or size >= limit or is_bare:
            return total, place
        total, place, limit = total + number * size, end + (size > 1), size


def _read_hundreds(words: Sequence[str], start: int) -> tuple[int, int]:
    """Read a number below a magnitude: `five hundred and twelve`, `eleven hundred`."""
    number, place = _read_below_hundred(words, start)
    if (
        words[start : start + 1] == ["a"]
        and words[start + 1 : start + 2]
        and words[start + 1] in ("hundred", *_MAGNITUDES)
    ):
        number, place = 1, start + 1
    if place == start or words[place : place + 1] != ["hundred"]:
        return number, place
    joint = place + 1 + (words[place + 1 : place + 2] == ["and"])
    rest, end = _read_below_hundred(words, joint)
    is_read = end > joint and not words[joint].isdigit()
    return number * 100 + (rest if is_read else 0), end if is_read else place + 1


def _read_below_hundred(words: Sequence[str], place: int) -> tuple[int, int]:
    if place >= len(words):
        return 0, place
    if words[place].isdigit():
        return int(words[place]), place + 1
    value = NUMBERS.get(words[place])
    if value is None:
        return 0, place
    one = NUMBERS.get(words[place + 1], 0) if place + 1 < len(words) else 0
    return (value + one, place + 2) if value >= 20 and 1 <= one <= 9 else (value, place + 1)


def write_numbers(tokens: Sequence[Token], words: Sequence[str]) -> list[Token]:
    r"""
    Write the numbers in words with digits.

    Args:
        tokens (`Sequence[Token]`):
            An answer.
        words (`Sequence[str]`):
            Its words in small letters. A token that is no word is empty.

    Returns:
        `list[Token]`: the same answer, `two thirds` as `\frac{2}{3}`.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.number_words import write_numbers
    >>> from trl_forking.rewards.comparison.prepare import get_words
    >>> from trl_forking.rewards.comparison.tokens import join, tokenize
    >>> join(write_numbers(tokens := tokenize(r"\text{twenty-one or two thirds}"), get_words(tokens)))
    '21 or \\frac{2}{3}'
    ```
    """
    if not any(words):
        return list(tokens)
    written: list[Token] = []
    place = 0
    while place < len(tokens):
        run = _find_run(tokens, words, place)
        is_operation = words[place] in _SIGNS and written and written[-1].text.lower() not in _BEFORE_A_SIGN
        read = None if is_operation else read_number_words([word for word, _ in run])
        if read is None or _is_part_of_a_word(tokens, words, place, run[read[1] - 1][1]):
            written.append(tokens[place])
            place += 1
            continue
        number, length = read
        written += _write(number, tokens[place].spaced)
        place = run[length - 1][1] + 1
    return written


def _find_run(tokens: Sequence[Token], words: Sequence[str], place: int) -> list[tuple[str, int]]:
    """Return the words that follow each other here, with their places. A hyphen between two words separates nothing."""
    run: list[tuple[str, int]] = []
    while place < len(tokens):
        if words[place] and (len(tokens[place].text) > 2 or words[place] in ARTICLES):
            run.append((words[place], place))
        elif tokens[place].kind == "number" and tokens[place].text.isdigit():
            run.append((tokens[place].text, place))
        elif not (
            run and tokens[place].text == "-" and words[place - 1] and words[place + 1 : place + 2] not in ([], [""])
        ):
            break
        place += 1
    return run


def _is_part_of_a_word(tokens: Sequence[Token], words: Sequence[str], start: int, end: int) -> bool:
    """Say whether a hyphen joins the number to another word, as in `half-life` or `one-to-one`."""
    padded = ["", "", *words, "", ""]
    before, behind = (tokens[place : place + 1] for place in (max(start - 1, 0), end + 1))
    is_joined = [
        bool(token) and token[0].text == "-" and not token[0].spaced for token in (before if start else [], behind)
    ]
    return (is_joined[0] and padded[start] != "") or (is_joined[1] and padded[end + 4] != "")


def _write(number: Fraction, spaced: bool) -> list[Token]:
    sign = [Token("sign", "-", spaced)] if number < 0 else []
    top, bottom = abs(number.numerator), number.denominator
    if bottom == 1:
        return [*sign, Token("number", str(top), spaced and not sign)]
    opening, closing = Token("sign", "{"), Token("sign", "}")
    parts = [opening, Token("number", str(top)), closing, opening, Token("number", str(bottom)), closing]
    return [*sign, Token("command", "frac", spaced and not sign), *parts]
