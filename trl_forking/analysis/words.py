"""Which tokens a reader sees as words, ranked by their mean entropy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


# Words are ranked if so many of the tokens with the highest means are words.
_MIN_WORDS, _NUM_HIGHEST = 3, 20
# White space has no ink; these characters stand for it.
_MARKS = str.maketrans({" ": "␣", "\n": "↵", "\t": "⇥"})


@dataclass(frozen=True)
class RankedWord:
    """
    A word and how uncertain the model was where it wrote the word.

    Args:
        text (`str`):
            The word as it is shown.
        mean_entropy (`float`):
            Mean over all places where it was written, in nats.
        count (`int`):
            Number of these places.
    """

    text: str
    mean_entropy: float
    count: int


def is_word(token: str) -> bool:
    """
    Check that a token is a word to a reader: printable, with a letter in it.

    Example:
    ```python
    >>> is_word(" wait"), is_word("\\n"), is_word(" =")
    (True, False, False)
    ```
    """
    text = token.strip()
    return text.isprintable() and any(character.isalpha() for character in text)


def rank_words(rows: Sequence[Mapping[str, Any]]) -> tuple[list[RankedWord], str]:
    """
    Rank words by their mean entropy, the highest first.

    Tokens that differ only in the white space around them are one word, with their common mean and count. Words without
    any entropy are left out. If fewer than 3 of the 20 tokens with the highest means are words, as in answers that are
    made of numbers and signs, all tokens are ranked.

    Args:
        rows (sequence of `dict`):
            Rows of [`compute_token_table`], such as `top_tokens` of [`summarize`].

    Returns:
        `tuple`: the words (`list[RankedWord]`), and what they are (`str`): `"words"` or `"tokens"`.

    Example:
    ```python
    >>> rows = [{"token": token, "count": 5, "mean_entropy": mean} for token, mean in [(" *", 1.0), (" 7", 0.2)]]
    >>> words, kind = rank_words(rows)
    >>> [word.text for word in words], kind
    (['*', '7'], 'tokens')
    ```
    """
    uncertain = sorted((row for row in rows if row["mean_entropy"] > 0), key=lambda row: -row["mean_entropy"])
    if sum(is_word(row["token"]) for row in uncertain[:_NUM_HIGHEST]) < _MIN_WORDS:
        return _merge(uncertain), "tokens"
    return _merge([row for row in uncertain if is_word(row["token"])]), "words"


def _merge(rows: Sequence[Mapping[str, Any]]) -> list[RankedWord]:
    counts: dict[str, int] = {}
    sums: dict[str, float] = {}
    for row in rows:
        word = _show(row["token"])
        counts[word] = counts.get(word, 0) + row["count"]
        sums[word] = sums.get(word, 0.0) + row["count"] * row["mean_entropy"]
    words = [RankedWord(word, sums[word] / counts[word], counts[word]) for word in counts]
    return sorted(words, key=lambda word: -word.mean_entropy)  # equal means keep the order of the rows


def _show(token: str) -> str:
    text = token.strip() or token.translate(_MARKS)
    return "".join(character if character.isprintable() else f"U+{ord(character):04X}" for character in text)
