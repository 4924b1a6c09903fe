"""The verdict on an answer, with the reason."""

import functools
from typing import NamedTuple

from .compare import Outcome, compare
from .describe import describe
from .fallback import compare_by_math_verify, may_decide, parse_by_math_verify
from .kinds import Kind, Listing, Text, Value
from .normalize import normalize
from .read import read, read_both_ways
from .words import SENTENCE_WORDS


# A gold answer with more words is prose.
MAX_WORDS = 8


class Verdict(NamedTuple):
    """
    A verdict with its reasons.

    Args:
        is_right (`bool`):
            Whether the answer is right.
        rule (`str`):
            The rule that decided.
        gold (`str`):
            What was read as the gold answer.
        answer (`str`):
            What was read as the answer.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.judge import judge
    >>> judge("12 000", "12000")
    Verdict(is_right=True, rule='equal values', gold='a number: 12000', answer='a number: 12000')
    ```
    """

    is_right: bool
    rule: str
    gold: str
    answer: str


def is_right(gold: str, answer: str) -> bool:
    r"""
    Judge an answer.

    Args:
        gold (`str`):
            Gold answer.
        answer (`str`):
            Answer, without its box.

    Returns:
        `bool`: whether it is right.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.judge import is_right
    >>> is_right("5", r"5 \text{ km}"), is_right("5", r"5 \text{ or } 6")
    (True, False)
    ```
    """
    return _decide(gold, answer)[0].is_right


def judge(gold: str, answer: str) -> Verdict:
    r"""
    Judge an answer and say why.

    Args:
        gold (`str`):
            Gold answer.
        answer (`str`):
            Answer, without its box.

    Returns:
        [`Verdict`]: the verdict.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.judge import judge
    >>> judge("5", r"5 \text{ or } 6").rule
    'a list is not a number'
    ```
    """
    outcome, kind = _decide(gold, answer)
    return Verdict(outcome.is_right, outcome.rule, describe(_read_gold(gold)), describe(kind))


def _decide(gold: str, answer: str) -> tuple[Outcome, Kind]:
    expected, readings = _read_gold(gold), read_both_ways(answer)
    if normalize(gold) == normalize(answer):
        return Outcome(True, "the same text"), readings[0]
    outcomes = [compare(expected, reading) for reading in readings]
    for outcome, reading in zip(outcomes, readings, strict=True):
        if outcome.is_right:
            return outcome, reading
    if all(
        isinstance(kind, Value) or (isinstance(kind, Text) and kind.is_formula) for kind in (expected, readings[0])
    ):
        is_formula = isinstance(expected, Text) or isinstance(readings[0], Text)
        if is_formula and may_decide(gold, answer) and compare_by_math_verify(gold, answer):
            return Outcome(True, "math-verify, which reads what no rule of ours reads"), readings[0]
    return outcomes[0], readings[0]


@functools.lru_cache(maxsize=256)
def _read_gold(gold: str) -> Kind:
    return read(gold)


def explain_unreadable(gold: str) -> str | None:
    r"""
    Say why a gold answer cannot be read.

    Args:
        gold (`str`):
            Gold answer.

    Returns:
        `str` or `None`: the reason, `None` if it can be read.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.judge import explain_unreadable
    >>> explain_unreadable("42") is None
    True
    >>> explain_unreadable(r"\frac{1}{")
    'a bracket is not closed'
    ```
    """
    kind = _read_gold(gold)
    texts = [kind] if isinstance(kind, Text) else _find_texts(kind)
    num_words = sum(word.isalpha() and len(word) > 1 for text in texts for word in text.words)
    if num_words > MAX_WORDS:
        return f"it is prose of {num_words} words"
    if any(character.isdigit() for character in gold) and any(map(_is_sentence, texts)):
        return "it is a sentence around a number: give the number alone"
    if not isinstance(kind, Text) or (kind.words and not kind.is_formula):
        return None
    if not kind.words:
        return "it is empty"
    parsed = parse_by_math_verify(gold) if may_decide(gold, gold) else []
    return None if parsed and not isinstance(parsed[0], str) else kind.reason


def _is_sentence(text: Text) -> bool:
    """Say whether words are those of a sentence, such as `she has 5 left`. No answer could be compared with its number."""
    return bool(SENTENCE_WORDS & {word.lower() for word in text.words})


def _find_texts(kind: Kind) -> list[Text]:
    return [item for item in kind.items if isinstance(item, Text)] if isinstance(kind, Listing) else []
