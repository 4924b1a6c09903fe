"""Names of values: which side of an equation is a name, and which letters are a product."""

from collections.abc import Sequence

from .parse_commands import ACCENTS, FUNCTIONS, GREEK
from .prepare import get_words, is_wordlike
from .tokens import Token, find_end


_DENIALS = {"not", "no", "never", "wrong", "false", "incorrect", "without", "except", "or", "and", "if", "than", "isn", "other",
            "neither", "nor", "unless", "but", "about", "approximately"}  # fmt: skip
# Words of a name that belongs to another value than the answer: half of it, its square, one that is not the answer.
_CHANGES = {
    "twice",
    "thrice",
    "times",
    "squared",
    "cubed",
    "minus",
    "plus",
    "less",
    "rejected",
    "previous",
    "guess",
    "estimate",
}
_PARTS = {"half", "third", "quarter", "fourth", "fifth", "tenth", "square", "cube", "root", "reciprocal", "inverse", "opposite",
          "negative", "double", "triple", "log", "logarithm"}  # fmt: skip
_NAME_COMMANDS = GREEK | ACCENTS | {"angle", "triangle", "measuredangle", "det"}


def read_name(tokens: Sequence[Token]) -> str | None:
    r"""
    Read the name of a value: `x`, `a_1`, `f(x)`, `\angle ABC`, `total cost`.

    Args:
        tokens (`Sequence[Token]`):
            One side of an equation.

    Returns:
        `str` or `None`: the name, `None` if it is a formula.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.names import read_name
    >>> from trl_forking.rewards.comparison.tokens import tokenize
    >>> read_name(tokenize("f(x)")), read_name(tokenize("x+1"))
    ('f(x)', None)
    ```
    """
    texts = [token.text for token in tokens]
    if len(texts) == 3 and texts[::2] == ["|", "|"] and len(texts[1]) > 1 and texts[1].isupper():
        return f"|{texts[1]}|"  # the length of AB
    if not tokens or not (is_wordlike(tokens[0]) or tokens[0].text in _NAME_COMMANDS):
        return None
    words = get_words(tokens)
    if _names_another_value(words) or any(word in FUNCTIONS - {"max", "min", "sec"} for word in words):
        return None
    if len(tokens) == 1 and tokens[0].kind == "letters" and is_product(tokens[0].text):
        return None
    place, function = 0, tokens[0]
    while place < len(tokens):
        token = tokens[place]
        function = token if is_wordlike(token) else function
        if token.text in ("_", "^") and place + 1 < len(tokens):
            place = find_end(tokens, place + 1) if tokens[place + 1].text == "{" else place + 1
            if token.text == "^" and "".join(other.text for other in tokens[:place]).find("^{-1") < 0:
                return None
        elif token.text in ("(", "{") and place:
            if token.text == "(" and not _takes_arguments(function, tokens[place + 1 :]):
                return None
            place = find_end(tokens, place)
        elif not (is_wordlike(token) or token.text in _NAME_COMMANDS or token.text == "'"):
            return None
        place += 1
    return "".join(
        token.text.lower() if token.kind == "word" else token.text for token in tokens if token.text not in "{}"
    )


def is_product(run: str) -> bool:
    """
    Say whether letters that stand alone are a product. English has no words without a vowel, so `mn` is one.

    Args:
        run (`str`):
            Letters.

    Returns:
        `bool`: whether they are a product.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.names import is_product
    >>> [is_product(run) for run in ("xy", "mn", "no", "sky", "AB")]
    [True, True, False, False, False]
    ```
    """
    vowels = set("aeiou") if set(run) <= set("xyzwt") else set("aeiouy")
    return 1 < len(run) <= 3 and run.islower() and not set(run) & vowels


def _names_another_value(words: Sequence[str]) -> bool:
    pairs = zip(words, words[1:], strict=False)
    return bool(set(words) & (_DENIALS | _CHANGES)) or any(
        first in _PARTS and second in ("of", "the") for first, second in pairs
    )


def _takes_arguments(function: Token, rest: Sequence[Token]) -> bool:
    """Say whether a bracket behind a letter holds arguments. Behind `x` it holds a factor, except in `x(0)`."""
    is_number = len(rest) > 1 and rest[0].kind == "number" and rest[1].text == ")"
    return is_wordlike(function) and (function.text not in ("x", "y", "z") or rest[:1] == [] or is_number)
