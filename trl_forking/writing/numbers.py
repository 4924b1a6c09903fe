"""Numbers as people read them."""

import math
from decimal import Decimal


def format_percent(share: float, digits: int = 3) -> str:
    """
    Write a fraction as a percentage. A part is never rounded to nothing or to all.

    Args:
        share (`float`):
            Fraction, usually in [0, 1].
        digits (`int`, *optional*, defaults to `3`):
            Significant digits, at least those before the decimal point. Above 99 % there is one more, and as many as it
            takes not to write 100 %.

    Returns:
        `str`: percentage.

    Example:
    ```python
    >>> format_percent(0.2), format_percent(0.125), format_percent(0.9996), format_percent(0.0004)
    ('20 %', '12.5 %', '99.96 %', '0.04 %')
    >>> format_percent(0.4142, digits=2), format_percent(0.9999999, digits=2), format_percent(1.0, digits=2)
    ('41 %', '99.99999 %', '100 %')
    ```
    """
    digits += 0.99 < share < 1
    digits = max(digits, len(str(int(abs(100 * share)))) if math.isfinite(share) else 1)
    text = f"{100 * share:.{digits}g}"
    while share < 1 and float(text) >= 100:
        digits += 1
        text = f"{100 * share:.{digits}g}"
    return f"{Decimal(text):f} %"  # without an exponent


def format_ordinal(number: float) -> str:
    """
    Write a number as an ordinal, as percentiles are named.

    Args:
        number (`float`):
            Number, 0 or more.

    Returns:
        `str`: ordinal.

    Example:
    ```python
    >>> format_ordinal(80.0), format_ordinal(93.0), format_ordinal(99.5)
    ('80th', '93rd', '99.5th')
    ```
    """
    whole = round(number)
    if abs(number - whole) > 1e-9:
        return f"{number:.3g}th"
    suffix = "th" if whole % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(whole % 10, "th")
    return f"{whole}{suffix}"


def count_noun(number: int, noun: str) -> str:
    """
    Write a number and what it counts.

    Args:
        number (`int`):
            The number.
        noun (`str`):
            The word for one; its plural has an s.

    Returns:
        `str`

    Example:
    ```python
    >>> count_noun(1, "prompt"), count_noun(1200, "prompt")
    ('1 prompt', '1,200 prompts')
    ```
    """
    return f"{number:,} {noun}{'s' * (number != 1)}"


def format_count(number: int) -> str:
    """
    Write a large number of things, such as parameters, in three digits and a letter.

    Args:
        number (`int`):
            Number, 0 or more.

    Returns:
        `str`: number with k for thousands, M for millions and B for billions.

    Example:
    ```python
    >>> format_count(665_088), format_count(8_190_735_360), format_count(12)
    ('665 k', '8.19 B', '12')
    ```
    """
    for size, unit in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)
