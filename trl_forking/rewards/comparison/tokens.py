"""Tokens of a formula: numbers, letters, words, commands and signs."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple


class NotReadable(ValueError):
    """
    A formula that no rule can read. Its message says why.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.tokens import NotReadable
    >>> raise NotReadable("a bracket is not closed")
    Traceback (most recent call last):
        ...
    trl_forking.rewards.comparison.tokens.NotReadable: a bracket is not closed
    ```
    """


class Token(NamedTuple):
    """
    One token.

    Args:
        kind (`str`):
            `"number"`, `"letters"` (a run of letters in a formula), `"word"` (letters in `\\text{}`), `"command"`
            (without its backslash) or `"sign"`.
        text (`str`):
            Its characters.
        spaced (`bool`, *optional*, defaults to `False`):
            Whether a space stands before it.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.tokens import tokenize
    >>> [token.text for token in tokenize("2x+10 000")]
    ['2', 'x', '+', '10000']
    ```
    """

    kind: str
    text: str
    spaced: bool = False


_TEXT_COMMANDS = {
    "text", "textbf", "textit", "textrm", "textnormal", "textsf", "texttt", "textup", "mbox", "hbox", "mathrm",
    "operatorname", "emph", "unit", "mathnormal", "textsc",
}  # fmt: skip

# Other names of the same thing.
_ALIASES = {
    "dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "leq": "le", "leqslant": "le", "leqq": "le", "geq": "ge",
    "geqslant": "ge", "geqq": "ge", "neq": "ne", "lbrace": "{", "rbrace": "}", "lbrack": "[", "rbrack": "]",
    "times": "*", "cdot": "*", "ast": "*", "bullet": "*", "div": "/", "lt": "<", "gt": ">", "infin": "infty",
    "varnothing": "emptyset", "varphi": "phi", "varepsilon": "epsilon", "vartheta": "theta", "varrho": "rho",
    "varsigma": "sigma", "lvert": "|", "rvert": "|", "vert": "|", "dbinom": "binom", "tbinom": "binom", "dots": "ldots",
    "cdots": "ldots", "smallsetminus": "setminus", "backslash": "setminus", "thickapprox": "approx", "thicksim": "approx", "doteq": "approx", "simeq":
    "approx", "colon": ":", "textdollar": "$", "pounds": "£", "euro": "€", "percent": "%", "textpercent": "%",
    "Reals": "R", "imath": "i", "jmath": "j", "exponentialE": "e", "prime": "'", "mid": "|",
    "textdegree": "degree", "gets": "leftarrow", "rightarrow": "to", "implies": "Rightarrow",
}  # fmt: skip

_DECIMALS = r"(?:\.[0-9]+(?:\[[0-9]+\])?|\.\[[0-9]+\])"
_EXPONENT = r"(?:[eE][+-]?[0-9]+(?![0-9A-Za-z.]))?"
_COMMAS = rf"(?<![0-9,.])[1-9][0-9]{{0,2}}(?:,[0-9]{{3}})+(?![0-9]|,[0-9]){_DECIMALS}?{_EXPONENT}"
_SPACES = rf"(?<![0-9.,])(?<![0-9] )[1-9][0-9]{{0,2}}(?: [0-9]{{3}})+(?![0-9]| [0-9]| ?/ ?[0-9]){_DECIMALS}?"
_PLAIN = rf"(?:[0-9]+{_DECIMALS}?|{_DECIMALS}){_EXPONENT}"
_TOKEN = re.compile(
    rf"(?P<commas>{_COMMAS})|(?P<number>{_SPACES}|{_PLAIN})|(?P<letters>[^\W\d_]+)|\\(?P<command>[A-Za-z]+)\*?|"
    r"\\(?P<escaped>[{}%$#&_|])|(?P<space>\s+)|(?P<sign><=|>=|!=|==|\*\*|[^\s\w\\]|_|\x01)"
)
_SIGN_ALIASES = {
    "<=": ("command", "le"),
    ">=": ("command", "ge"),
    "!=": ("command", "ne"),
    "==": ("sign", "="),
    "**": ("sign", "^"),
}
_OPENING = {"(", "[", "\\{", "{", "langle", "lfloor", "lceil", "begin"}
_CLOSING = {")", "]", "\\}", "}", "rangle", "rfloor", "rceil", "end"}


def tokenize(text: str, is_text: bool = False, group_commas: bool = True) -> list[Token]:
    r"""
    Split a normalized formula into tokens.

    Args:
        text (`str`):
            Result of [`~trl_forking.rewards.comparison.normalize.normalize`].
        is_text (`bool`, *optional*, defaults to `False`):
            Whether it stands in `\text{}`: its letters are words then.
        group_commas (`bool`, *optional*, defaults to `True`):
            Whether `1,234` is one number.

    Returns:
        `list[Token]`: the tokens. The names of equal commands are equal.

    Raises:
        [`NotReadable`]: if a character has no meaning, or a bracket of `\text{` is not closed.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.tokens import tokenize
    >>> [token.kind for token in tokenize(r"5 \text{ km}")]
    ['number', 'word']
    ```
    """
    tokens: list[Token] = []
    place, spaced = 0, False
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise NotReadable(f"{text[place]!r} has no meaning here")
        kind, value = str(match.lastgroup), str(match[match.lastgroup or 0])
        place = match.end()
        if kind == "space":
            spaced = True
            continue
        if kind == "commas" and not group_commas:
            first = value.split(",")[0]
            place, kind, value = match.start() + len(first), "number", first
        if kind == "command" and value in _TEXT_COMMANDS:
            inner, place = _take_group(text, place)
            words = tokenize(inner, True, group_commas)
            if words:
                tokens += [words[0]._replace(spaced=words[0].spaced or spaced), *words[1:]]
            spaced = inner[-1:].isspace()
            continue
        tokens.append(_make_token(kind, value, spaced, is_text))
        spaced = False
    return tokens


def _take_group(text: str, place: int) -> tuple[str, int]:
    while text[place : place + 1].isspace():
        place += 1
    if text[place : place + 1] != "{":
        return text[place : place + 1], place + 1
    depth = 0
    for end in range(place, len(text)):
        depth += (text[end] == "{") - (text[end] == "}")
        if depth == 0:
            return text[place + 1 : end], end + 1
    raise NotReadable("a brace is not closed")


def _make_token(kind: str, value: str, spaced: bool, is_text: bool) -> Token:
    if kind in ("commas", "number"):
        return Token("number", re.sub("[, ]", "", value), spaced)
    if kind == "letters":
        return Token("word" if is_text else "letters", value, spaced)
    if kind == "command":
        name = _ALIASES.get(value, value)
        if name in "*/<>:$£€%'|" or name in ("[", "]"):
            return Token("sign", name, spaced)
        if name in "{}":
            return Token("sign", f"\\{name}", spaced)
        return Token("letters" if name in ("i", "j", "e") else "command", name, spaced)
    if kind == "escaped":
        return Token("sign", value if value in "%$" else f"\\{value}", spaced)
    if value in _SIGN_ALIASES:
        return Token(*_SIGN_ALIASES[value], spaced)
    return Token("sign", value, spaced)


def is_opening(token: Token) -> bool:
    """
    Say whether a token opens a bracket.

    Args:
        token ([`Token`]):
            A token.

    Returns:
        `bool`: whether it does.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.tokens import is_opening, tokenize
    >>> [is_opening(token) for token in tokenize("(x)")]
    [True, False, False]
    ```
    """
    return token.text in _OPENING and token.kind in ("sign", "command")


def is_closing(token: Token) -> bool:
    """
    Say whether a token closes a bracket.

    Args:
        token ([`Token`]):
            A token.

    Returns:
        `bool`: whether it does.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.tokens import is_closing, tokenize
    >>> [is_closing(token) for token in tokenize("(x)")]
    [False, False, True]
    ```
    """
    return token.text in _CLOSING and token.kind in ("sign", "command")


def walk_top(tokens: Sequence[Token]) -> Iterator[tuple[int, Token]]:
    """
    Go over the tokens that stand in no bracket. A bracket itself counts as such a token.

    Args:
        tokens (`Sequence[Token]`):
            A formula.

    Yields:
        `tuple[int, Token]`: place and token.

    Raises:
        [`NotReadable`]: if a bracket is not closed or not opened.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.tokens import tokenize, walk_top
    >>> [token.text for _, token in walk_top(tokenize("f(x,y)=1"))]
    ['f', '(', ')', '=', '1']
    ```
    """
    depth = 0
    for place, token in enumerate(tokens):
        if is_closing(token):
            depth -= 1
        if depth < 0:
            raise NotReadable("a bracket is closed that was not opened")
        if depth == 0:
            yield place, token
        if is_opening(token):
            depth += 1
    if depth:
        raise NotReadable("a bracket is not closed")


def find_end(tokens: Sequence[Token], start: int) -> int:
    """
    Find the bracket that closes another one.

    Args:
        tokens (`Sequence[Token]`):
            A formula.
        start (`int`):
            Place of the opening bracket.

    Returns:
        `int`: place of the closing one.

    Raises:
        [`NotReadable`]: if there is none.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.tokens import find_end, tokenize
    >>> find_end(tokenize("((1)+2)"), 0)
    6
    ```
    """
    depth = 0
    for place in range(start, len(tokens)):
        depth += is_opening(tokens[place]) - is_closing(tokens[place])
        if depth == 0:
            return place
    raise NotReadable("a bracket is not closed")


def join(tokens: Sequence[Token]) -> str:
    """
    Write tokens as one text, for messages and for comparison as text.

    Args:
        tokens (`Sequence[Token]`):
            Tokens.

    Returns:
        `str`: their characters, with a space where there was one.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.tokens import join, tokenize
    >>> join(tokenize(r"2 \\frac{1}{2} \\text{ km}"))
    '2 \\\\frac{1}{2} km'
    ```
    """
    text = ""
    for token in tokens:
        written = f"\\{token.text}" if token.kind == "command" else token.text
        touches = text[-1:].isalnum() and written[:1].isalnum()
        text += (" " if text and (token.spaced or touches) else "") + written
    return text
