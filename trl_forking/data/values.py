"""Values of a row as texts, and the reasons why a value is none."""

import math
from decimal import Decimal
from typing import Any


class LeftOut(ValueError):
    """
    A row that cannot be used. The message is the reason.

    Example:
    ```python
    >>> from trl_forking.data.values import LeftOut, to_text
    >>> to_text(None)
    Traceback (most recent call last):
        ...
    trl_forking.data.values.LeftOut: null
    ```
    """


class NoQuestion(LeftOut):
    """A row without a question."""


class NoAnswer(LeftOut):
    """A row without a right answer."""


class UnreadableAnswer(LeftOut):
    """
    A row with a right answer that nothing can be compared with.

    Args:
        reason (`str`):
            Why not.
        column (`str`):
            Column of the answer.
        text (`str`):
            The answer.
    """

    def __init__(self, reason: str, column: str, text: str):
        super().__init__(reason)
        self.column, self.text = column, text


class WrittenFloat(float):
    """
    A decimal number of a text file, which keeps its digits as they are written.

    Args:
        text (`str`):
            The number as it stands in the file.

    Example:
    ```python
    >>> from trl_forking.data.values import WrittenFloat
    >>> WrittenFloat("1.10") == 1.1, str(WrittenFloat("1.10")), str(WrittenFloat("0.1000000000000000000001"))
    (True, '1.10', '0.1000000000000000000001')
    ```
    """

    def __init__(self, text: str):
        self.text = text

    def __str__(self) -> str:
        return self.text


# What programs write in place of a value that is missing, and what data sets write in place of an answer: NuminaMath has
# "proof" and "notfound".
_MISSING = {"none", "null", "nan", "n/a", "<na>", "notfound", "not found", "not available", "no answer", "proof", "unknown", "tbd",
            "todo", "missing"}  # fmt: skip


def to_text(value: Any) -> str:
    r"""
    Write a value of a row as text.

    Args:
        value (`Any`):
            Text, number, or a list of one such value.

    Returns:
        `str`: the text, without white space around it. A number keeps all its digits.

    Raises:
        [`LeftOut`]: if there is no value: `None`, NaN, an empty text, the word None, a list of several values.

    Example:
    ```python
    >>> from trl_forking.data.values import to_text
    >>> [to_text(value) for value in (2, 2.0, 0.5, 10**24 + 1, " $5$ ", ["x"], True)]
    ['2', '2', '0.5', '1000000000000000000000001', '$5$', 'x', 'True']
    ```
    """
    if value is None:
        raise LeftOut("null")
    if isinstance(value, list | tuple):
        if len(value) == 1:
            return to_text(value[0])
        raise LeftOut(f"a list of {len(value)} values" if value else "empty")
    if isinstance(value, dict):
        raise LeftOut("an object and no text")
    text = _write(value).strip()
    if not text:
        raise LeftOut("empty")
    if text.lower() in _MISSING or text == "NA":
        raise LeftOut(f"the word {text}" if text.isalpha() else f"the text {text}")
    return text


def _write(value: Any) -> str:
    if isinstance(value, str):
        return make_storable(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, Decimal) and value.is_finite():
        return format(value, "f")
    if isinstance(value, float) and not isinstance(value, WrittenFloat):
        return _write_float(value)
    return str(value)


def make_storable(text: str) -> str:
    r"""
    Replace what no table can hold: half of a character, which JSON can write as `\ud83d`.

    Args:
        text (`str`):
            Text.

    Returns:
        `str`: the text, with a question mark in such places.

    Example:
    ```python
    >>> from trl_forking.data.values import make_storable
    >>> make_storable("1 + 1" + chr(0xD83D))
    '1 + 1?'
    ```
    """
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _write_float(value: float) -> str:
    if math.isinf(value):
        return r"\infty" if value > 0 else r"-\infty"
    # A table stores the integers of a column that has missing values as 2.0.
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(float(value))


def shorten(value: Any, length: int = 60) -> str:
    """
    Quote a text for a message, in one line and not longer than a limit.

    Args:
        value (`Any`):
            A text or another value.
        length (`int`, *optional*, defaults to `60`):
            Largest number of characters between the quotes.

    Returns:
        `str`: the quoted text.

    Example:
    ```python
    >>> from trl_forking.data.values import shorten
    >>> shorten("What is\\n1 + 1?"), shorten("a" * 90, length=8)
    ('"What is 1 + 1?"', '"aaaaa..."')
    ```
    """
    text = " ".join(str(value)[: 4 * length].split())
    return f'"{text if len(text) <= length else text[: length - 3] + "..."}"'
