"""Prepares tokens for the readers: it removes what says nothing, and writes words that mean a sign as that sign."""

from collections.abc import Sequence

from .notations import rewrite
from .number_words import write_numbers
from .tokens import Token, is_closing, is_opening
from .units import find_unit
from .words import APPROXIMATIONS, ARTICLES, CLOSED_CLASSES, HARMLESS, MAGNITUDES


_LEADS = {
    "so",
    "thus",
    "therefore",
    "hence",
    "the",
    "my",
    "our",
    "final",
    "correct",
    "exact",
    "required",
    "and",
    "then",
}
_ANSWERS = {"answer", "answers", "ans", "result", "results", "solution", "solutions", "value", "option", "choice"}
_VERBS = {"is", "are", "equals", "equal", "be"}
_OPTIONS = {"option", "choice", "letter", "answer"}
_ORDINALS = {form.replace("th", end) for form in ("th", "^th", "^{th}") for end in ("th", "st", "nd", "rd")}
_EDGES = {",", ";", ":", "."}

# Words before a value, words after it, and the relation that they mean.
_RELATIONS_BEFORE = {
    ("at", "least"): "ge", ("no", "less", "than"): "ge", ("no", "fewer", "than"): "ge", ("not", "less", "than"): "ge",
    ("minimum", "of"): "ge", ("a", "minimum", "of"): "ge", ("greater", "than", "or", "equal", "to"): "ge",
    ("at", "most"): "le", ("no", "more", "than"): "le", ("not", "more", "than"): "le", ("up", "to"): "le",
    ("maximum", "of"): "le", ("a", "maximum", "of"): "le", ("less", "than", "or", "equal", "to"): "le",
    ("more", "than"): ">", ("greater", "than"): ">", ("larger", "than"): ">", ("over",): ">", ("above",): ">",
    ("less", "than"): "<", ("fewer", "than"): "<", ("smaller", "than"): "<", ("under",): "<", ("below",): "<",
    ("not", "equal", "to"): "ne", ("equal", "to"): "=", ("is", "equal", "to"): "=", ("equals",): "=",
    ("belongs", "to"): "in",
}  # fmt: skip
_RELATIONS_AFTER = {
    ("or", "more"): "ge", ("or", "greater"): "ge", ("or", "larger"): "ge", ("or", "higher"): "ge", ("or", "above"): "ge",
    ("and", "above"): "ge", ("or", "over"): "ge", ("at", "least"): "ge", ("minimum",): "ge",
    ("or", "less"): "le", ("or", "fewer"): "le", ("or", "smaller"): "le", ("or", "lower"): "le", ("or", "below"): "le",
    ("and", "below"): "le", ("or", "under"): "le", ("at", "most"): "le", ("maximum",): "le",
}  # fmt: skip


def is_wordlike(token: Token) -> bool:
    """
    Say whether a token is a run of letters, inside or outside of `\\text{}`.

    Args:
        token ([`~trl_forking.rewards.comparison.tokens.Token`]):
            A token.

    Returns:
        `bool`: whether it is.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.prepare import is_wordlike
    >>> from trl_forking.rewards.comparison.tokens import tokenize
    >>> [is_wordlike(token) for token in tokenize("5 km")]
    [False, True]
    ```
    """
    return token.kind in ("word", "letters")


def prepare(tokens: Sequence[Token]) -> list[Token]:
    r"""
    Take away lead-ins, braces and punctuation around an answer, and read number words and phrases.

    Args:
        tokens (`Sequence[Token]`):
            An answer.

    Returns:
        `list[Token]`: the answer. `at least 5` has become `\ge 5`, `forty-two` has become `42`.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.prepare import prepare
    >>> from trl_forking.rewards.comparison.tokens import join, tokenize
    >>> join(prepare(tokenize("The final answer is: at least five.")))
    '\\ge 5'
    ```
    """
    prepared = _strip_edges(rewrite(tokens))
    prepared = _strip_restatement(_strip_condition(_turn_brackets(_strip_edges(_strip_lead(prepared)))))
    prepared = _strip_ordinal(prepared)
    prepared = _read_single_letters(_read_articles(write_numbers(prepared, get_words(prepared))))
    prepared = _strip_harmless(prepared)
    return _strip_edges(_read_relations(_mark_approximation(prepared)))


def get_words(tokens: Sequence[Token]) -> list[str]:
    """
    Write tokens in small letters, to look for phrases.

    Args:
        tokens (`Sequence[Token]`):
            Tokens.

    Returns:
        `list[str]`: their texts. A token that is no word is empty.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.prepare import get_words
    >>> from trl_forking.rewards.comparison.tokens import tokenize
    >>> get_words(tokenize("5 Or 6"))
    ['', 'or', '']
    ```
    """
    return [token.text.lower() if is_wordlike(token) else "" for token in tokens]


def _strip_edges(tokens: list[Token]) -> list[Token]:
    while tokens:
        if tokens[-1].kind == "sign" and tokens[-1].text in _EDGES:
            tokens = tokens[:-1]
        elif tokens[0].kind == "sign" and tokens[0].text in ("=", ":", ",", ";"):
            tokens = tokens[1:]
        elif tokens[0].text == "{" and _find_brace_end(tokens) == len(tokens) - 1:
            tokens = tokens[1:-1]
        else:
            break
    return tokens


def _find_brace_end(tokens: list[Token]) -> int:
    depth = 0
    for place, token in enumerate(tokens):
        depth += is_opening(token) - is_closing(token)
        if depth == 0:
            return place
    return -1


def _strip_lead(tokens: list[Token]) -> list[Token]:
    words = get_words(tokens)
    place = 0
    while place < len(words) and words[place] in _LEADS:
        place += 1 + (tokens[place + 1 : place + 2] != [] and tokens[place + 1].text == ",")
    if words[place : place + 1] == ["there"] and words[place + 1 : place + 2] in (["is"], ["are"]):
        return tokens[place + 2 :]
    if place < len(words) and words[place] in _ANSWERS:
        end = _pass_attribute(words, place + 1)
        start = end
        while end < len(words) and (words[end] in _VERBS or tokens[end].text in (":", "=")):
            end += 1
        if end > start or (end == place + 1 < len(tokens) and tokens[end].kind == "number"):
            return _strip_lead(tokens[end:])
    if words and words[0] in _OPTIONS and len(tokens) >= 2 and _is_letter(tokens[1:]):
        return tokens[1:]
    return tokens


def _pass_attribute(words: list[str], place: int) -> int:
    """Pass `of x` in `the value of x is 5`."""
    for end in range(place + 2, min(place + 5, len(words))):
        if words[place] == "of" and words[end] in _VERBS and not set(words[place + 1 : end]) & (CLOSED_CLASSES | {""}):
            return end
    return place


def _is_letter(tokens: list[Token]) -> bool:
    inner = [token for token in tokens if token.text not in ("(", ")", ".", ":")]
    return len(inner) == 1 and is_wordlike(inner[0]) and len(inner[0].text) == 1


def _turn_brackets(tokens: list[Token]) -> list[Token]:
    """Write `]0,1[` with round brackets."""
    if len(tokens) < 3 or (tokens[0].text not in "[]" or tokens[-1].text not in "[]"):
        return tokens
    first = tokens[0]._replace(text="(") if tokens[0].text == "]" else tokens[0]
    last = tokens[-1]._replace(text=")") if tokens[-1].text == "[" else tokens[-1]
    return [first, *tokens[1:-1], last]


def _strip_condition(tokens: list[Token]) -> list[Token]:
    """Take `for all x` at the end away. It says nothing about the answer."""
    words = get_words(tokens)
    for place in range(1, len(words) - 2):
        rest = tokens[place + 2 :]
        if words[place] == "for" and words[place + 1] in ("all", "every", "any", "each") and len(rest) <= 7:
            is_plain = all(is_wordlike(token) or token.text in ("in", "mathbb", "{", "}") for token in rest)
            return tokens[:place] if is_plain else tokens
    return tokens


def _strip_restatement(tokens: list[Token]) -> list[Token]:
    """Write `5 (five)` as 5."""
    places = [place for place, token in enumerate(tokens) if token.text == "("]
    if len(places) != 1 or not places[0] or tokens[-1].text != ")":
        return tokens
    before, inner = tokens[: places[0]], tokens[places[0] + 1 : -1]
    numbers = [write_numbers(part, get_words(part)) for part in (before, inner)]
    is_same = [token.text for token in numbers[0]] == [token.text for token in numbers[1]]
    return numbers[0] if is_same and before[0].text != inner[:1][0].text else tokens


def _strip_ordinal(tokens: list[Token]) -> list[Token]:
    """Write `5th` as 5."""
    texts = [token.text for token in tokens]
    if len(tokens) > 1 and tokens[0].kind == "number" and "".join(texts[1:]) in _ORDINALS and not tokens[1].spaced:
        return tokens[:1]
    return tokens


def _read_articles(tokens: list[Token]) -> list[Token]:
    """Write `a dozen` as `1 dozen`."""
    words = [*get_words(tokens), ""]
    return [
        Token("number", "1", token.spaced) if word in ARTICLES and following in MAGNITUDES else token
        for token, word, following in zip(tokens, words, words[1:], strict=False)
    ]


def _read_single_letters(tokens: list[Token]) -> list[Token]:
    r"""Take one letter in `\text{}` for a letter, except for a unit behind a number."""
    read: list[Token] = []
    for token in tokens:
        if token.kind == "word" and len(token.text) == 1:
            last = read[-1] if read else None
            is_behind = last is not None and (last.kind in ("number", "word") or is_closing(last))
            is_below = last is not None and last.text in ("/", "*") and len(read) > 1 and read[-2].kind == "word"
            if find_unit(token.text) is None or not (is_behind or is_below):
                token = token._replace(kind="letters")
        read.append(token)
    return read


def _strip_harmless(tokens: list[Token]) -> list[Token]:
    words = get_words(tokens)
    start, end = 0, len(tokens)
    while start < end - 1 and (words[start] in HARMLESS or _is_article(tokens, start)):
        start += 1
    while end > start + 1 and words[end - 1] in HARMLESS:
        end -= 1
    if words[end - 2 : end] == ["in", "all"]:
        end -= 2
    if end < len(tokens) and end > start + 1 and words[end - 1] == "in":  # "in total"
        end -= 1
    return tokens[start:end]


def _is_article(tokens: list[Token], place: int) -> bool:
    following = tokens[place + 1]
    is_noun = is_wordlike(following) and len(following.text) > 1 and following.text.lower() not in CLOSED_CLASSES
    return tokens[place].text.lower() in ARTICLES and is_noun and following.spaced


def _mark_approximation(tokens: list[Token]) -> list[Token]:
    words = get_words(tokens)
    if len(tokens) < 2:
        return tokens
    if words[0] in APPROXIMATIONS:
        return [Token("command", "approx"), *tokens[1:]]
    end = len(tokens)
    while end > 1 and tokens[end - 1].text in (")", "."):
        end -= 1
    if words[end - 1] in APPROXIMATIONS and end > 1:
        return [Token("command", "approx"), *tokens[: end - 1 - (tokens[end - 2].text == "(")]]
    return tokens


def _read_relations(tokens: list[Token]) -> list[Token]:
    words = get_words(tokens)
    if not any(words):
        return tokens
    for phrase, relation in _RELATIONS_AFTER.items():
        if len(words) > len(phrase) and tuple(words[-len(phrase) :]) == phrase:
            return [_make_relation(relation), *tokens[: -len(phrase)]]
    read: list[Token] = []
    place = 0
    while place < len(tokens):
        found = [phrase for phrase in _SORTED if tuple(words[place : place + len(phrase)]) == phrase]
        if found and place + len(found[0]) < len(tokens):
            if read and read[-1].text.lower() == "is":
                read.pop()
            read.append(_make_relation(_RELATIONS_BEFORE[found[0]]))
            place += len(found[0])
        else:
            read.append(tokens[place])
            place += 1
    return read


def _make_relation(name: str) -> Token:
    return Token("sign" if name in "<>=" else "command", name, True)


_SORTED = sorted(_RELATIONS_BEFORE, key=len, reverse=True)
