"""Names of values, and equations between them."""

import pytest

from trl_forking.rewards.comparison.judge import is_right
from trl_forking.rewards.comparison.names import read_name
from trl_forking.rewards.comparison.tokens import tokenize


@pytest.mark.parametrize(
    "text",
    ["x", "a_1", "f(2)", r"\angle ABC", r"\text{area of the square}", r"\text{third term}", "|AB|", "P(A)", "y(0)"],
)
def test_names(text):
    assert read_name(tokenize(text)) is not None
    assert is_right("5", f"{text} = 5")


@pytest.mark.parametrize(
    "text",
    [
        "-x", "2x", "x^2", "|x|", r"\sqrt{x}", r"\frac{1}{x}", r"\log x", r"\text{half the answer}", r"\text{square root of } x",
        r"\text{twice the number}", r"\text{the wrong number}", r"\text{not } x", r"\text{rejected value}",
    ],
)  # fmt: skip
def test_what_belongs_to_another_value(text):
    assert not is_right("5", f"{text} = 5")


@pytest.mark.parametrize(
    ("gold", "right", "wrong"),
    [
        ("xy=6", [r"y=\frac{6}{x}", r"x=\frac{6}{y}", "2xy=12"], [r"y=\frac{x}{6}", "x^2y=6x", "x^2y^2=36", "0=0"]),
        (r"\frac{x}{a}+\frac{y}{b}=1", ["bx+ay=ab"], ["ax+by=ab"]),
        (r"v=\frac{d}{t}", ["d=vt", r"t=\frac{d}{v}"], ["v=dt"]),
        ("PV=nRT", [r"P=\frac{nRT}{V}"], [r"P=\frac{nR}{VT}"]),
        ("x=5", ["5=x"], ["2x=10", "x^2=25", r"\frac{x}{5}=1"]),
        ("y=0", [], ["xy=0"]),
    ],
)
def test_equations(gold, right, wrong):
    assert [answer for answer in right if not is_right(gold, answer)] == []
    assert [answer for answer in wrong if is_right(gold, answer)] == []


def test_names_of_several_answers_must_be_the_same():
    assert is_right("x=2, y=3", "2, 3") and is_right("2, 3", "x=2 or x=3")
    assert not is_right("x=-2 or x=2", "X=-2 or x=2")
    assert not is_right("P(A)=1/2, P(B)=1/3", "P(A)=1/2, P(A)=1/3")
    assert not is_right(r"\{x \mid x<0\}", r"\{x \mid X<0\}")
