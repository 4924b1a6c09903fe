"""Reads an answer: what kind it is, and what it says."""

import re
from collections.abc import Callable, Sequence

from .formats import make_choice, read_format, split_choice
from .kinds import BARE_FORMS, Kind, Listing, Named, Quantity, RealSet, Text, Value
from .normalize import normalize
from .prepare import is_wordlike, prepare
from .real_sets import complement, intersect, make_point, unite
from .relations import find_relations, has_modulus, read_relation, read_remainder
from .tokens import NotReadable, Token, is_closing, is_opening, join, tokenize, walk_top
from .values import is_only_words, read_value
from .words import ARTICLES, fold_case


_GROUPED = re.compile(r"\d,\d{3}(?!\d)")


def read(text: str) -> Kind:
    r"""
    Read an answer or a gold answer.

    Args:
        text (`str`):
            Content of a box, or a gold answer.

    Returns:
        `Kind`: what it says. What no rule reads is a [`~trl_forking.rewards.comparison.kinds.Text`].

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.read import read
    >>> [type(read(text)).__name__ for text in ("5", r"5 \text{ km}", "x=2, y=3", "[0,1)", r"5 \text{ is wrong}")]
    ['Value', 'Quantity', 'Named', 'RealSet', 'Text']
    ```
    """
    return read_both_ways(text)[0]


def read_both_ways(text: str) -> list[Kind]:
    """
    Read an answer in which a comma may stand in a number or between two.

    Args:
        text (`str`):
            Content of a box.

    Returns:
        `list[Kind]`: one reading, or two: first the likely one.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.read import read_both_ways
    >>> [type(kind).__name__ for kind in read_both_ways("2,100")]
    ['Value', 'Listing']
    ```
    """
    text = normalize(text)
    groups = _groups_commas(text)
    kinds = [_read_tokens(text, groups)]
    if groups and _GROUPED.search(text):
        kinds.append(_read_tokens(text, False))
    return kinds


def _groups_commas(text: str) -> bool:
    """Say whether `1,234` is one number. In brackets it is two, except where other commas have a space behind them."""
    depth = 0
    for place, character in enumerate(text):
        depth += (character in "([") - (character in ")]")
        depth += (text[place - 1 : place + 1] == "\\{") - (text[place - 1 : place + 1] == "\\}")
        if depth > 0 and character == "," and _GROUPED.match(text, place - 1):
            return ", " in text or ";" in text
    return True


def _read_tokens(text: str, group_commas: bool) -> Kind:
    try:
        tokens = tokenize(text, group_commas=group_commas)
    except NotReadable as error:
        return Text((text,), True, str(error))
    if not tokens:
        return Text((), False, "it is empty")
    prepared = prepare(tokens)
    try:
        choice = split_choice(prepared)
        if choice is not None:
            letter, rest = choice
            return make_choice(letter, _read_prepared_or_text(rest) if rest else None)
        return _read_prepared_or_text(prepared or tokens)
    except NotReadable as error:
        return make_text(tokens, str(error))
    except RecursionError:
        return make_text(tokens, "it is too deep")


def make_text(tokens: Sequence[Token], reason: str) -> Text:
    """
    Take tokens for words.

    Args:
        tokens (`Sequence[Token]`):
            An answer.
        reason (`str`):
            Why it is nothing else.

    Returns:
        [`~trl_forking.rewards.comparison.kinds.Text`]: the words, without articles and punctuation.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.read import make_text
    >>> from trl_forking.rewards.comparison.tokens import tokenize
    >>> make_text(tokenize("The red ball."), "words").words
    ('red', 'ball')
    ```
    """
    words = [
        fold_case(token.text) if is_wordlike(token) else join([token])
        for place, token in enumerate(tokens)
        if not (token.kind == "sign" and (_is_punctuation(tokens, place) or _is_hyphen(tokens, place)))
    ]
    if len(words) > 1 and words[0].lower() in ARTICLES:
        words = words[1:]
    has_words = any(token.kind == "word" or (token.kind == "letters" and len(token.text) > 3) for token in tokens)
    unjoined = [token for place, token in enumerate(tokens) if not _is_hyphen(tokens, place)]
    is_formula = not has_words and not is_only_words(unjoined)
    return Text(tuple(words), is_formula, reason)


def _is_punctuation(tokens: Sequence[Token], place: int) -> bool:
    """Say whether a sign only separates words. Between numbers, as in `(1, 2)`, it counts."""
    neighbors = [*tokens[max(place - 1, 0) : place], *tokens[place + 1 : place + 2]]
    return tokens[place].text in ".,;\"'" and (len(neighbors) < 2 or any(map(is_wordlike, neighbors)))


def _is_hyphen(tokens: Sequence[Token], place: int) -> bool:
    neighbors = [*tokens[max(place - 1, 0) : place], *tokens[place + 1 : place + 2]]
    return tokens[place].text == "-" and len(neighbors) == 2 and all(map(is_wordlike, neighbors))


def _read_prepared_or_text(tokens: Sequence[Token]) -> Kind:
    try:
        kind = read_format(tokens)
        return read_list(tokens) if kind is None else kind
    except NotReadable as error:
        return make_text(tokens, str(error))


def read_list(tokens: Sequence[Token]) -> Kind:
    """
    Read answers that commas, `and` or `or` separate, or a single one.

    Args:
        tokens (`Sequence[Token]`):
            A prepared answer.

    Returns:
        `Kind`: the answer.

    Raises:
        [`~trl_forking.rewards.comparison.tokens.NotReadable`]: if no rule reads it.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.read import read_list
    >>> from trl_forking.rewards.comparison.tokens import tokenize
    >>> len(read_list(tokenize("2, 3 or 5")).items)
    3
    ```
    """
    alternatives = _split(tokens, lambda token: _is_joining(token, "or"))
    if len(alternatives) > 1:
        return _join_alternatives([read_list(part) for part in alternatives])
    parts = _split(tokens, lambda token: token.text in (",", ";", "&") or _is_joining(token, "and"))
    conditions = [part for part in parts if _is_whole_condition(part)]
    if 0 < len(conditions) < len(parts):
        parts = [part for part in parts if part not in conditions]
    if len(parts) == 1:
        return read_item(parts[0])
    is_and = any(_is_joining(token, "and") for _, token in walk_top(tokens))
    return _join_items(
        [make_text(part, "words") if is_only_words(part) else read_item(part) for part in parts], is_and
    )


def _is_whole_condition(tokens: Sequence[Token]) -> bool:
    r"""Say whether tokens are `k \in \mathbb{Z}`, which says of what kind a letter of the answer is."""
    texts = [token.text for token in tokens]
    return len(texts) == 6 and texts[1:4] == ["in", "mathbb", "{"] and texts[4] in "ZN" and is_wordlike(tokens[0])


def _is_joining(token: Token, word: str) -> bool:
    return token.text.lower() == word and token.kind in ("word", "letters", "command")


def _split(tokens: Sequence[Token], is_separator: Callable[[Token], bool]) -> list[Sequence[Token]]:
    places = [
        place
        for place, token in walk_top(tokens)
        if is_separator(token) and not is_opening(token) and not is_closing(token)
    ]
    bounds = [-1, *places, len(tokens)]
    parts = [tokens[start + 1 : end] for start, end in zip(bounds, bounds[1:], strict=False)]
    if len(parts) > 1:
        # ", and" and ", or" leave one part empty, as does a comma at the end.
        inner = [part for part in parts if part]
        num_words = sum(is_wordlike(tokens[place]) for place in places)
        is_open = not parts[-1] and tokens[-1].text in (",", ";")
        if not parts[0] or (not parts[-1] and not is_open) or len(parts) - len(inner) > num_words + is_open:
            raise NotReadable("an item of a list is empty")
        parts = inner
    if not parts or not parts[0]:
        raise NotReadable("it is empty")
    return parts


def read_item(tokens: Sequence[Token]) -> Kind:
    """
    Read one answer: a value or a relation.

    Args:
        tokens (`Sequence[Token]`):
            Tokens without a comma outside of brackets.

    Returns:
        `Kind`: the answer.

    Raises:
        [`~trl_forking.rewards.comparison.tokens.NotReadable`]: if no rule reads it.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.read import read_item
    >>> from trl_forking.rewards.comparison.tokens import tokenize
    >>> read_item(tokenize("x=2")).values[0][0]
    'x'
    ```
    """
    if find_relations(tokens):
        return read_relation(tokens, read_list)
    return read_remainder(tokens) if has_modulus(tokens) else read_value(tokens, read_list)


def _join_alternatives(kinds: list[Kind]) -> Kind:
    sets = [kind for kind in kinds if isinstance(kind, RealSet)]
    if len(sets) == len(kinds):
        return RealSet(unite([piece for kind in sets for piece in kind.pieces]), _find_common_name(sets))
    if sets:
        raise NotReadable("a relation stands beside a value")
    return _join_named(kinds, are_all_true=False) or Listing("alternatives", _flatten(kinds))


def _flatten(kinds: Sequence[Kind]) -> tuple[Kind, ...]:
    items: list[Kind] = []
    for kind in kinds:
        items += kind.items if isinstance(kind, Listing) and kind.form in BARE_FORMS else (kind,)
    return tuple(items)


def _find_common_name(sets: Sequence[RealSet]) -> str | None:
    names = {kind.name for kind in sets} - {None}
    if len(names) > 1:
        raise NotReadable("relations of several variables")
    return next(iter(names), None)


def _join_items(kinds: list[Kind], is_and: bool) -> Kind:
    named = _join_named(kinds)
    if named is not None:
        return named
    sets = [kind for kind in kinds if isinstance(kind, RealSet)]
    if sets:
        return _join_sets(kinds, sets, is_and)
    quantities = [kind for kind in kinds if isinstance(kind, Quantity)]
    if len(quantities) == len(kinds):
        units = [unit for kind in quantities for _, unit in kind.parts]
        if len(set(units)) == len(units):
            return Quantity(tuple(part for kind in quantities for part in kind.parts))
    return Listing("list", _flatten(kinds))


def _join_named(kinds: Sequence[Kind], are_all_true: bool = True) -> Kind | None:
    """Join `x=2, y=3` to one answer, and `x=2, x=3` or `x=2, 3` to a list of values of one name."""
    first, named = kinds[0], [kind for kind in kinds if isinstance(kind, Named)]
    if not named:
        return None
    if isinstance(first, Named) and len(named) == 1 and len(first.values) > 1:
        return _join_named_tuples(first, kinds)
    if len(named) == len(kinds):
        values = [value for kind in named for value in kind.values]
        names = {name for name, _ in values}
        if len(names) == len(values) and (are_all_true or len(values) == 1):
            return Named(tuple(values))
        if len(names) == 1:
            return Named(((values[0][0], Listing("alternatives", _flatten([value for _, value in values]))),))
        return Listing("list", tuple(kinds))
    if not isinstance(first, Named) or len(named) > 1 or len(first.values) > 1:
        raise NotReadable("only some values have names")
    name, value = first.values[0]
    return Named(((name, Listing("list", _flatten([value, *kinds[1:]]))),))


def _join_named_tuples(first: Named, kinds: Sequence[Kind]) -> Kind:
    """Join `(a,b) = (1,2), (2,1)` to two answers with names."""
    names = [name for name, _ in first.values]
    tuples = [kind for kind in kinds if isinstance(kind, Listing) and len(kind.items) == len(names)]
    if len(tuples) + 1 < len(kinds):
        raise NotReadable("only some values have names")
    return Listing("list", (first, *(Named(tuple(zip(names, kind.items, strict=True))) for kind in tuples)))


def _join_sets(kinds: Sequence[Kind], sets: Sequence[RealSet], is_and: bool) -> Kind:
    name = _find_common_name(sets)
    first = kinds[0]
    # x \ne 0, 1 is short for two relations. Behind an interval, a number would belong to the set.
    if (
        len(sets) == 1
        and isinstance(first, RealSet)
        and first.name
        and all(isinstance(kind, Value) for kind in kinds[1:])
    ):
        points = [make_point(kind.node) for kind in kinds[1:] if isinstance(kind, Value)]
        if not _is_without_points(first):
            raise NotReadable("a relation stands beside a value")
        return RealSet(intersect(first.pieces, complement(points)), name)
    if len(sets) < len(kinds):
        raise NotReadable("a relation stands beside a value")
    if not is_and and not all(_is_without_points(kind) for kind in sets):
        return Listing("list", tuple(kinds))
    pieces = sets[0].pieces
    for kind in sets[1:]:
        pieces = intersect(pieces, kind.pieces)
    return RealSet(pieces, name)


def _is_without_points(kind: RealSet) -> bool:
    """Say whether a set has all real numbers but some points, as `x \\ne 1` leaves them."""
    return (
        bool(kind.pieces)
        and all(piece.has_low for piece in complement(kind.pieces))
        and all(piece.low == piece.high for piece in complement(kind.pieces))
    )
