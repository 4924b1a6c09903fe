"""Numbers in words, against a writer that is as simple as can be."""

import random
from fractions import Fraction

import pytest

from trl_forking.rewards.comparison.judge import is_right
from trl_forking.rewards.comparison.number_words import read_number_words


ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
TENS = [None, None, "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def write(number, joint=" "):
    for size, name in ((10**9, "billion"), (10**6, "million"), (10**3, "thousand"), (10**2, "hundred")):
        if number >= size:
            whole, rest = divmod(number, size)
            is_small = size == 100 or rest < 100
            return f"{write(whole)} {name}" + (f"{joint if is_small else ' '}{write(rest, joint)}" if rest else "")
    if number >= 20:
        whole, rest = divmod(number, 10)
        return f"{TENS[whole]}-{ONES[rest]}" if rest else TENS[whole]
    return ONES[number]


def test_every_number_in_words_is_that_number_and_no_other():
    source = random.Random(5)
    for _ in range(150):
        number = source.randrange(10 ** source.randint(1, 11))
        for joint in (" ", " and "):
            words = write(number, joint)
            assert read_number_words(words.replace("-", " ").split()) == (
                number,
                len(words.replace("-", " ").split()),
            ), words
        assert is_right(str(number), rf"\text{{{words}}}"), words
        assert not is_right(str(number + 1), rf"\text{{{words}}}")
        assert not is_right(str(number), rf"\text{{{words} or so}}")


@pytest.mark.parametrize(
    ("words", "number", "length"),
    [
        ("half", Fraction(1, 2), 1),
        ("a third of", Fraction(1, 3), 2),
        ("two thirds", Fraction(2, 3), 2),
        ("5 halves", Fraction(5, 2), 2),
        ("three and a half hours", Fraction(7, 2), 4),
        ("3 and a half", Fraction(7, 2), 4),
        ("one and two thirds", Fraction(5, 3), 4),
        ("half a million people", 500_000, 3),
        ("half an hour", Fraction(1, 2), 2),
        ("negative one half", Fraction(-1, 2), 3),
        ("2 million 500 thousand", 2_500_000, 4),
        ("eleven hundred", 1100, 2),
        ("forty or five", 40, 1),
        ("forty and five", 40, 1),
        ("two forty", 2, 1),
        ("twenty thirteen", 20, 1),
    ],
)
def test_parts_and_signs(words, number, length):
    assert read_number_words(words.split()) == (number, length)


@pytest.mark.parametrize(
    "words", ["", "red", "5", "5 million", "third", "hundred", "thirds", "and five", "negative", "minus zero"]
)
def test_no_number_in_words(words):
    assert read_number_words(words.split()) is None


def test_a_number_within_a_word_is_none():
    assert is_right(r"\text{half-life}", r"\text{Half-life}")
    assert not is_right(r"\frac{1}{2}", r"\text{half-life}") and not is_right("2", r"\text{two-way}")


def test_minus_behind_a_number_is_no_sign():
    assert is_right("-5", r"\text{minus five}") and is_right("-5, 2", r"2 \text{ and negative five}")
    assert not is_right("7", r"\text{twelve minus five or so}") and not is_right("-1", r"5 \text{ negative } 6")
