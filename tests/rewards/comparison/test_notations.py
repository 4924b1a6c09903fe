"""Notations that stand for others."""

import pytest

from trl_forking.rewards.comparison.describe import describe
from trl_forking.rewards.comparison.judge import is_right
from trl_forking.rewards.comparison.normalize import normalize
from trl_forking.rewards.comparison.notations import rewrite
from trl_forking.rewards.comparison.read import read
from trl_forking.rewards.comparison.tokens import join, tokenize


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (r"\begin{cases} x=1 \\ y=2 \end{cases}", "x=1, y=2"),
        (r"\left\{\begin{aligned} x &= 1, \\ y &= 2. \end{aligned}\right.", "x = 1, y = 2"),
        (r"1 \\ 2", "1, 2"),
        (r"9 \frac{\text{m}}{\text{s}^2}", r"9 m/s^2"),
        (r"90^{\circ}", r"90\degree"),
        (r"30^\circ 15'", "30 degrees 15 arcminutes"),
        (r"30^{\circ} 15^{\prime} 20^{\prime\prime}", "30 degrees 15 arcminutes 20 arcseconds"),
        ("6'2\"", "6 feet 2 inches"),
        (r"5 \Omega", "5 ohm"),
        (r"5\,\text{k}\Omega", "5 kiloohm"),
        (r"3\,\mu\text{s}", "3 us"),
        ("+-3", r"\pm 3"),
        ("x + -3", "x + -3"),
        ("5 x 10^3", "5 * 10^3"),
        ("C(5,2)", r"\binom{5}{2}"),
        ("C_5^2", r"\binom{5}{2}"),
        (r"{}_5 P_2", r"\permutations{5}{2}"),
        (r"{5 \choose 2}", r"\binom{5 }{ 2}"),
    ],
)
def test_rewriting(text, written):
    assert join(rewrite(tokenize(normalize(text)))).replace(" ", "") == written.replace(" ", "")


@pytest.mark.parametrize(
    "text",
    [
        r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}",
        r"5\Omega",
        "C_n^2",
        "C_2^5",
        "x_{5}C_{2}",
        r"\frac{m}{s}",
        "C(5)",
        "5 x 10",
    ],
)
def test_what_is_left_as_it_is(text):
    tokens = tokenize(normalize(text))
    assert rewrite(tokens) == tokens


@pytest.mark.parametrize(
    ("text", "description"),
    [
        (r"12 \text{ cm by } 5 \text{ cm}", "sizes: 12 x 1/100 m, 5 x 1/100 m"),
        (r"12 \text{ cm} \times 5 \text{ cm}", "sizes: 12 x 1/100 m, 5 x 1/100 m"),
        (r"12 \times 5", "a number: 60"),
        ("5 (five)", "a number: 5"),
        (r"\frac{1}{2} (0.5)", "a number: 1/2"),
        ("3(4)", "a number: 12"),
        ("I(0)", "a number: I(0)"),
        (r"\text{USD } 20", "a number with a unit: 20 dollar"),
        (r"\$20/\text{hour}", "a number with a unit: 20 x 1/3600 dollar s^-1"),
        ("3mn", "an expression: 3 * (m * n)"),
        (r"\text{the value of x is 5}", "a number: 5"),
        (r"\text{The correct answer is option B}", "an expression: B"),
        (r"\text{infinitely many solutions}", "text: infinitely many (a word with a fixed meaning)"),
        ("|AB| = 5", "a value with a name: |AB| = 5"),
        ("-221_3", "a number in another base: -221, 3"),
        ("0.0110_2", "a number in another base: 0.011, 2"),
    ],
)
def test_kinds(text, description):
    assert describe(read(text)) == description


@pytest.mark.parametrize("text", ["5 (6)", "2 (wrong)", "1{0}", "{5}{6}", "x^2=0 is wrong", r"\text{~5} or", "~~5~~"])
def test_what_is_not_clear_is_no_number(text):
    assert describe(read(text)).startswith("text") or not any(
        is_right(str(value), text) for value in (0, 2, 5, 6, 10, 30)
    )
