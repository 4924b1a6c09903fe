"""Notations that stand for others: rows of a system, fractions of units, degrees, feet, `+-`, and binomial coefficients."""

from collections.abc import Callable, Sequence

from .tokens import NotReadable, Token, find_end, join, walk_top
from .units import find_unit


_SYSTEMS = {"cases", "aligned", "align", "gathered", "split"}
_RELATIONS = {"=", "<", ">", "le", "ge", "ne", "approx", "equiv"}
_COMMA = Token("sign", ",")


def rewrite(tokens: Sequence[Token]) -> list[Token]:
    r"""
    Write notations in the form that the readers know.

    Args:
        tokens (`Sequence[Token]`):
            An answer.

    Returns:
        `list[Token]`: the same answer. `\begin{cases} x=1 \\ y=2 \end{cases}` has become `x=1, y=2`.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.notations import rewrite
    >>> from trl_forking.rewards.comparison.tokens import join, tokenize
    >>> [join(rewrite(tokenize(text))) for text in ("+-3", "5 x 10^3", "C(5,2)", r"{}_{5}C_{2}")]
    ['\\pm 3', '5 * 10^3', '\\binom{5}{2}', '\\binom{5}{2}']
    ```
    """
    written = list(tokens)
    for write in _NOTATIONS:
        written = write(written)
    return written


def _get_texts(tokens: Sequence[Token]) -> list[str]:
    return [token.text for token in tokens]


def _join_rows(tokens: list[Token]) -> list[Token]:
    """Write the rows of a system of equations as a list. A matrix stays as it is."""
    if _get_texts(tokens[:2]) == ["\\{", "begin"]:
        tokens = tokens[1:]
    texts = _get_texts(tokens)
    name = texts[2] if texts[:2] == ["begin", "{"] and len(texts) > 8 else ""
    if name in _SYSTEMS and texts[-4:] == ["end", "{", name, "}"]:
        tokens = tokens[4:-4]
    if any(token.kind == "command" and token.text == "begin" for token in tokens):
        return tokens
    try:
        breaks = [place for place, token in walk_top(tokens) if token.text == "\x01"]
    except NotReadable:
        return tokens
    bounds = [-1, *breaks, len(tokens)]
    rows = [_read_row(tokens[start + 1 : end]) for start, end in zip(bounds, bounds[1:], strict=False)]
    joined: list[Token] = []
    for row in filter(None, rows):
        joined += [_COMMA, *row] if joined else row
    return joined if breaks or name in _SYSTEMS else tokens


def _read_row(row: list[Token]) -> list[Token]:
    """Take away the sign that aligns a relation, and the comma at the end of a row."""
    texts = ["", *_get_texts(row), ""]
    kept = [
        token
        for place, token in enumerate(row)
        if token.text != "&" or not ({texts[place], texts[place + 2]} & _RELATIONS)
    ]
    while kept and kept[-1].text in (",", ";", "."):
        kept = kept[:-1]
    return kept


def _flatten_unit_fractions(tokens: list[Token]) -> list[Token]:
    r"""Write `\frac{\text{m}}{\text{s}^2}` as `\text{m}/\text{s}^2`."""
    written: list[Token] = []
    place = 0
    while place < len(tokens):
        parts = _read_unit_fraction(tokens, place)
        if parts is None:
            written.append(tokens[place])
            place += 1
        else:
            top, bottom, place = parts
            written += [top[0]._replace(spaced=True), *top[1:], Token("sign", "/"), *bottom]
    return written


def _read_unit_fraction(tokens: list[Token], place: int) -> tuple[list[Token], list[Token], int] | None:
    if tokens[place][:2] != ("command", "frac") or _get_texts(tokens[place + 1 : place + 2]) != ["{"]:
        return None
    try:
        middle = find_end(tokens, place + 1)
        if _get_texts(tokens[middle + 1 : middle + 2]) != ["{"]:
            return None
        end = find_end(tokens, middle + 1)
    except NotReadable:
        return None
    top, bottom = tokens[place + 2 : middle], tokens[middle + 2 : end]
    return (top, bottom, end + 1) if _is_unit(top) and _is_unit(bottom) else None


def _is_unit(tokens: list[Token]) -> bool:
    if not tokens or tokens[0].kind != "word":
        return False
    texts = ["", "", *_get_texts(tokens)]
    for place, token in enumerate(tokens):
        is_exponent = token.kind == "number" and "^" in texts[place : place + 2]
        if not (token.kind == "word" or is_exponent or token.text in ("^", "{", "}", "*")):
            return False
    return True


def _write_degrees(tokens: list[Token]) -> list[Token]:
    r"""Write `^{\circ}` as one token, and `^\circ C` as the word celsius."""
    written: list[Token] = []
    place = 0
    while place < len(tokens):
        texts = _get_texts(tokens[place : place + 4])
        length = 4 if texts == ["^", "{", "circ", "}"] else 2 if texts[:2] == ["^", "circ"] else 0
        if not length:
            written.append(tokens[place])
            place += 1
            continue
        place += length
        scale = {"C": "celsius", "F": "fahrenheit"}.get(tokens[place].text if place < len(tokens) else "")
        written.append(Token("word", scale, True) if scale else Token("command", "degree"))
        place += bool(scale)
    return written


def _write_primes(tokens: list[Token]) -> list[Token]:
    r"""Write `^{\prime}` as the sign that it is."""
    written: list[Token] = []
    place = 0
    while place < len(tokens):
        texts = _get_texts(tokens[place : place + 5])
        length = 2 if texts[:2] == ["^", "'"] else 4 if texts[:4] == ["^", "{", "'", "}"] else 5
        if length == 5 and texts != ["^", "{", "'", "'", "}"]:
            written.append(tokens[place])
            place += 1
            continue
        written += [Token("sign", "'")] * texts.count("'")
        place += length
    return written


def _write_feet(tokens: list[Token]) -> list[Token]:
    """Write `6'2"` with words."""
    texts, kinds = _get_texts(tokens), [token.kind for token in tokens]
    if kinds[::2] != ["number"] * len(kinds[::2]) or texts[1::2] not in (["'", '"'], ["'"], ['"']) or len(texts) % 2:
        return tokens
    return [Token("word", {"'": "feet", '"': "inches"}.get(token.text, "")) if place % 2 else token
            for place, token in enumerate(tokens)]  # fmt: skip


def _write_arc_minutes(tokens: list[Token]) -> list[Token]:
    r"""Write `30^\circ 15'20''` with words."""
    texts, kinds = _get_texts(tokens), [token.kind for token in tokens]
    for place in range(len(tokens) - 3):
        if kinds[place] == kinds[place + 2] == "number" and texts[place + 1 : place + 4 : 2] == ["degree", "'"]:
            written = [tokens[place], Token("word", "degrees"), tokens[place + 2], Token("word", "arcminutes")]
            rest = tokens[place + 4 :]
            marks = _get_texts(rest[1:3])
            if rest and rest[0].kind == "number" and (marks == ["'", "'"] or marks[:1] == ['"']):
                written += [rest[0], Token("word", "arcseconds")]
                rest = rest[3 if marks[0] == "'" else 2 :]
            return [*tokens[:place], *written, *rest]
    return tokens


def _write_greek_units(tokens: list[Token]) -> list[Token]:
    r"""Write `5 \Omega` and `5\,\mu\text{m}` with words."""
    written: list[Token] = []
    for place, token in enumerate(tokens):
        before, is_command = written[-1:], token.kind == "command"
        following = tokens[place + 1] if place + 1 < len(tokens) else None
        if is_command and token.text == "Omega" and following is None and before:
            size = {"k": "kilo", "M": "mega", "m": "milli"}.get(before[0].text, "")
            if size and before[0].spaced and len(written) > 1 and written[-2].kind == "number":
                written[-1] = Token("word", f"{size}ohm", True)
                continue
            if before[0].kind == "number" and token.spaced:
                token = Token("word", "ohm", True)
        elif before and before[0][:2] == ("command", "mu") and token.kind == "word" and find_unit(f"u{token.text}"):
            written[-1] = Token("word", f"u{token.text}", True)
            continue
        written.append(token)
    return written


def _write_plus_minus(tokens: list[Token]) -> list[Token]:
    r"""Write `+-` and `+/-` as `\pm`. With a space between them, `+ -3` is a sum with a negative number."""
    written: list[Token] = []
    place = 0
    while place < len(tokens):
        texts = _get_texts(tokens[place : place + 3])
        name = {"+-": "pm", "-+": "mp"}.get("".join(texts[:2]))
        if texts == ["+", "/", "-"]:
            written.append(Token("command", "pm", tokens[place].spaced))
            place += 3
        elif name is not None and not tokens[place + 1].spaced:
            written.append(Token("command", name, tokens[place].spaced))
            place += 2
        else:
            written.append(tokens[place])
            place += 1
    return written


def _write_times(tokens: list[Token]) -> list[Token]:
    """Write the letter of `5 x 10^3` as a sign of multiplication."""
    texts = _get_texts(tokens)
    return [
        Token("sign", "*", token.spaced)
        if token.text in ("x", "X") and place and tokens[place - 1].kind == "number" and texts[place + 1 : place + 3] == ["10", "^"]
        else token
        for place, token in enumerate(tokens)
    ]  # fmt: skip


def _write_binomials(tokens: list[Token]) -> list[Token]:
    r"""Write `C(5,2)`, `C_5^2` and `{}_5 C_2` as `\binom{5}{2}`, and `{}_5 P_2` as a number of permutations."""
    written: list[Token] = []
    place = 0
    while place < len(tokens):
        is_factor = tokens[place].text == "C" and written[-1:] and written[-1].kind == "number"
        starts_value = not written or written[-1].text in _BEFORE_A_VALUE or is_factor
        found = _read_choices(tokens, place) if starts_value else None
        if found is None:
            written.append(tokens[place])
            place += 1
            continue
        name, top, bottom, place = found
        for part in (top, bottom):
            part[:] = [Token("sign", "{"), *part, Token("sign", "}")]
        written += [Token("command", name, True), *top, *bottom]
    return written


_BEFORE_A_VALUE = {"+", "-", "*", "/", "=", "(", "[", "{", ",", "le", "ge", "<", ">", "pm"}
_CHOICES = {"C": "binom", "P": "permutations"}


def _read_choices(tokens: list[Token], place: int) -> tuple[str, list[Token], list[Token], int] | None:
    try:
        if tokens[place].text == "C" and _get_texts(tokens[place + 1 : place + 2]) == ["("]:
            return _read_arguments(tokens, place + 1)
        if tokens[place].text == "C":
            return _read_scripts(tokens, place + 1)
        start = place + 2 if _get_texts(tokens[place : place + 2]) == ["{", "}"] else place
        if not _is_at(tokens, start, ("_", "^")):
            return None
        top, middle = _take_group(tokens, start + 1)
        name = _CHOICES.get(tokens[middle].text) if middle < len(tokens) else None
        if name is None or not _is_at(tokens, middle + 1, ("_",)):
            return None
        bottom, end = _take_group(tokens, middle + 2)
    except (NotReadable, IndexError):
        return None
    return name, top, bottom, end


def _is_at(tokens: list[Token], place: int, texts: tuple[str, ...]) -> bool:
    return place < len(tokens) and tokens[place].text in texts


def _read_arguments(tokens: list[Token], place: int) -> tuple[str, list[Token], list[Token], int] | None:
    end = find_end(tokens, place)
    inner = tokens[place + 1 : end]
    commas = [comma for comma, token in walk_top(inner) if token.text == ","]
    if len(commas) != 1 or not 0 < commas[0] < len(inner) - 1:
        return None
    return "binom", inner[: commas[0]], inner[commas[0] + 1 :], end + 1


def _read_scripts(tokens: list[Token], place: int) -> tuple[str, list[Token], list[Token], int] | None:
    """Read `C_5^2`. With letters it may be the power of a variable."""
    signs = _get_texts(tokens[place : place + 1])
    if signs not in (["_"], ["^"]):
        return None
    first, middle = _take_group(tokens, place + 1)
    if _get_texts(tokens[middle : middle + 1]) != ["^" if signs == ["_"] else "_"]:
        return None
    second, end = _take_group(tokens, middle + 1)
    top, bottom = (first, second) if signs == ["_"] else (second, first)
    numbers = [join(part) for part in (top, bottom)]
    if not all(number.isdigit() for number in numbers) or int(numbers[0]) < int(numbers[1]):
        return None
    return "binom", top, bottom, end


def _take_group(tokens: list[Token], place: int) -> tuple[list[Token], int]:
    if tokens[place].text != "{":
        return [tokens[place]], place + 1
    end = find_end(tokens, place)
    return tokens[place + 1 : end], end + 1


_NOTATIONS: tuple[Callable[[list[Token]], list[Token]], ...] = (
    _join_rows, _flatten_unit_fractions, _write_degrees, _write_primes, _write_feet, _write_arc_minutes, _write_greek_units,
    _write_plus_minus, _write_times, _write_binomials,
)  # fmt: skip
