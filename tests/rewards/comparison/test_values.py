"""Numbers and expressions: what is equal, what is equal after rounding, and what is neither."""

import random
import time
from fractions import Fraction
from itertools import combinations

import pytest

from trl_forking.rewards.comparison.equality import estimate, is_same_value
from trl_forking.rewards.comparison.evaluate import NoValue, find_rational, raise_to
from trl_forking.rewards.comparison.numbers import is_same_number
from trl_forking.rewards.comparison.parse import parse_text
from trl_forking.rewards.comparison.tokens import NotReadable
from trl_forking.rewards.comparison.tree import find_symbols, read_literal


def is_same(left, right):
    return is_same_value(parse_text(left), parse_text(right))


def build(source, depth, variables):
    """A random formula as LaTeX, and the same formula for Python."""
    if depth == 0:
        if variables and source.random() < 0.5:
            name = source.choice(variables)
            return name, name
        number = source.randint(1, 9)
        return str(number), f"Fraction({number})"
    (a, x), (b, y) = (build(source, source.randrange(depth), variables) for _ in range(2))
    power = source.randint(2, 3)
    return source.choice(
        [
            (rf"\frac{{{a}}}{{{b}}}", f"(({x})/({y}))"),
            (f"({a})+({b})", f"(({x})+({y}))"),
            (f"({a})-({b})", f"(({x})-({y}))"),
            (rf"({a}) \cdot ({b})", f"(({x})*({y}))"),
            (f"({a})({b})", f"(({x})*({y}))"),
            (f"({a})/({b})", f"(({x})/({y}))"),
            (f"({a})^{{{power}}}", f"(({x})**{power})"),
            (rf"-\left({a}\right)", f"(-({x}))"),
        ]
    )


def test_numbers_have_the_value_that_python_computes():
    source = random.Random(0)
    for _ in range(500):
        latex, python = build(source, source.randint(0, 3), [])
        try:
            expected = eval(python)
        except ZeroDivisionError:
            expected = None
        assert find_rational(parse_text(latex)) == expected, latex


def test_expressions_are_the_same_where_python_finds_no_difference():
    """Two random expressions in two variables are the same if they agree at many whole numbers."""
    source, num_same = random.Random(1), 0
    points = [(Fraction(source.randint(2, 10**6)), Fraction(source.randint(2, 10**6))) for _ in range(12)]

    def evaluate(code):
        values = []
        for x, y in points:
            try:
                values.append(eval(code, {"Fraction": Fraction, "x": x, "y": y}))
            except ZeroDivisionError:
                values.append(None)
        return values

    formulas = [build(source, source.randint(0, 2), ["x", "y"]) for _ in range(90)]
    tables = [evaluate(python) for _, python in formulas]
    for (one, other), (first, second) in zip(combinations(formulas, 2), combinations(tables, 2), strict=True):
        if None not in first and None not in second:
            assert is_same(one[0], other[0]) == (first == second), (one[0], other[0])
            num_same += first == second and one[0] != other[0]
    assert num_same > 10


EQUAL = [
    (r"\sqrt{12}", r"2\sqrt{3}"), (r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt{2}}{2}"), (r"\sqrt{3+2\sqrt{2}}", r"1+\sqrt{2}"),
    (r"\sqrt[3]{-8}", "-2"), ("(-8)^{1/3}", "-2"), (r"\sin 30^\circ", r"\frac{1}{2}"), (r"\cos\frac{\pi}{4}", r"\frac{\sqrt{2}}{2}"),
    (r"e^{i\pi}", "-1"), ("(2+i)^2", "3+4i"), (r"\log_2 8", "3"), (r"\frac{\ln 8}{\ln 2}", "3"), (r"\arctan 1", r"\pi/4"),
    (r"\sqrt{x^2}", "|x|"), (r"\sin^2 x+\cos^2 x", "1"), (r"\tan x", r"\frac{\sin x}{\cos x}"), ("e^{x}e^{y}", "e^{x+y}"),
    ("n!", "n(n-1)!"), (r"\binom{n}{2}", r"\frac{n(n-1)}{2}"), ("2^n + 2^n", "2^{n+1}"), ("(-1)^{n+1}", "-(-1)^n"),
    ("(x+y+z)^{900}", "(y+z+x)^{900}"), ("0.1+0.2", "0.3"), ("1 1/4", "5/4"), (r"2\frac{1}{3}", "7/3"), ("f(2x)", "f(x+x)"),
    (r"\lfloor 2.7 \rfloor", "2"), (r"\log_2 8 - \log_2 4", "1"), ("e^2", r"e \cdot e"), (r"\exp(2)", "e^2"),
    (r"(\sqrt{2}+1)(\sqrt{2}-1)-1", "0"), (r"10^{40}(\sqrt{2}^2-2)", "0"), (r"\max(x,y)", r"\frac{x+y+|x-y|}{2}"), ("C_1+C_2", "C_2+C_1"),
]  # fmt: skip
DIFFERENT = [
    ("2^{1000}", "2^{1000}+1"), (r"\frac{1}{2^{60}}", r"\frac{1}{2^{59}}"), (r"\sqrt{2}+10^{-100}", r"\sqrt{2}"),
    ("x", "x+10^{-100}"), (r"\sin x", r"\sin x + 10^{-100}"), (r"\sqrt{x^2}", "x"), ("(2+i)^2", "3-4i"), (r"\ln x", r"\log x"),
    (r"\log 100", "2"), ("10^{10^{10}}", "10^{10^{10}}+1"), ("((9!)!)!", "1"), (r"\frac{1}{0}", "1"), ("0^0", "1"),
    ("x+y", "X+Y"), (r"\theta", r"\Theta"), ("a_1", "a_2"), (r"\frac{dy}{dx}", r"\frac{y}{x}"), ("n!", "n"), ("e^x", "x^e"),
    (r"\infty", r"-\infty"), (r"\infty", "10^{100}"), ("f(x)", "f(y)"), ("2^n", "n^2"), ("e", "2.718281828"),
    # A difference below the last digit of a quick look, and expressions that agree at small numbers.
    (r"\sin(10^{-110})", "10^{-110}"), (r"\cos(10^{-149})", "1"), (r"\sqrt{2} \cdot 10^{-149} \cdot 10^{-149}", "0"),
    ("|x+40|", "x+40"), (r"\min(x, 40)", "x"), (r"\sqrt{(x+\pi)^2}", r"x+\pi"), (r"\sqrt{(x+50)^2}", "x+50"), ("I(0)", "0"),
    (r"x+\infty", r"\infty"),
]  # fmt: skip


@pytest.mark.parametrize(("left", "right"), EQUAL)
def test_equal(left, right):
    assert is_same(left, right)
    assert is_same(right, left)


@pytest.mark.parametrize(("left", "right"), DIFFERENT)
def test_different(left, right):
    assert not is_same(left, right)
    assert not is_same(right, left)


@pytest.mark.parametrize(
    ("gold", "right", "wrong"),
    [
        # The gold answer is a decimal: at least 3 digits for an answer without a decimal, 4 for one with more digits.
        ("0.333", ["1/3", "0.333"], ["0.3333", "0.33", "0.334"]),
        ("0.33", ["0.33"], ["1/3", "0.333"]),
        ("0.5", ["1/2", "0.50"], ["0.51", "0.5000001"]),
        ("3.1416", [r"\pi", "3.14159", "3.14159265"], ["3.1417", "3.142", "3.14"]),
        ("3.14", [r"\pi", r"\frac{22}{7}"], ["3.1416", "3.1"]),
        ("0.38", ["0.38", "19/50"], ["3/8"]),
        ("0.1234567", ["0.12345674"], ["0.1234571", "0.123457"]),
        # A power of ten states how many digits are meant.
        (r"6.02 \times 10^{23}", ["6.02e23", "6.022e23", "602e21"], ["6.03e23", "6.02e22", "6e23"]),
        (r"1.6 \times 10^{-19}", ["1.6e-19"], ["1.602e-19", "0", "9.1e-31"]),
        ("0.0", ["0"], ["1e-9"]),
        ("194.0", ["194", "194.00"], ["194.02"]),  # a table may write the whole number 194 so
        ("194.00", ["194", "194.001"], ["194.02"]),
        # The gold answer is exact.
        ("1/3", ["0.333333", "0.3333333"], ["0.33333", "0.333334", "0.3"]),
        ("3/8", ["0.375"], ["0.38", "0.3750001"]),
        (r"\sqrt{2}", ["1.41421", "1.41421356"], ["1.4142", "1.41422"]),
        ("100", ["100.0"], ["100.0001", "99.99999"]),
        ("2^{60}", [], ["1.152922e18"]),
    ],
)
def test_rounding(gold, right, wrong):
    def compare(answer):
        return is_same_number(parse_text(gold), parse_text(answer)) is not None

    assert [answer for answer in right if not compare(answer)] == []
    assert [answer for answer in wrong if compare(answer)] == []


def test_a_changed_digit_is_a_changed_number():
    """No decimal is equal to the same one with another digit."""
    source = random.Random(2)
    for _ in range(300):
        digits = [str(source.randint(1, 9)) for _ in range(source.randint(1, 9))]
        place = source.randrange(len(digits))
        other = [*digits]
        other[place] = source.choice([digit for digit in "123456789" if digit != digits[place]])
        exponent = source.choice(["", "e-20", "e12"])
        point = source.randint(0, len(digits))
        left, right = ("".join(row[:point]) + "." + "".join(row[point:]) + exponent for row in (digits, other))
        left, right = left.replace(".e", ".0e"), right.replace(".e", ".0e")
        if left.endswith("."):
            left, right = left + "0", right + "0"
        assert is_same_number(parse_text(left), parse_text(left))
        assert is_same_number(parse_text(left), parse_text(right)) is None, (left, right)


@pytest.mark.parametrize(
    "text",
    ["", "5 6", "(5", "5)", r"\frac{1}{", "5+", "5?", "5'", "x2", r"\foo", "2^3^2", "5..6", "n!!", r"\sin", r"\sqrt", "[1",
     r"1\frac{3}{2}", r"\sqrt12", "5 \\ 6", "a_", "^2", r"\log_", "|x", "1.2.3", "(" * 30 + "1" + ")" * 30],
)  # fmt: skip
def test_not_readable(text):
    with pytest.raises(NotReadable):
        parse_text(text)


def test_literals():
    literal = read_literal("0.0120")
    assert (literal.value, literal.digits, literal.last) == (Fraction(12, 1000), 3, Fraction(1, 10**4))
    assert read_literal("1.2e3").value == 1200
    assert read_literal("0.1[6]") == (Fraction(1, 6), None, None, False)
    with pytest.raises(ValueError, match="too large"):
        read_literal("1e99999")


def test_large_numbers_are_refused_at_once():
    start = time.perf_counter()
    for text in ["9^{9^{9^{9}}}", "(((9!)!)!)!", r"\binom{900000000}{500000000}", "2^{99999999}", "1/7^{9999999}",
                 r"e^{e^{e^{e^9}}}", r"\sqrt{10^{10^{9}}}", "x^{999999999}", r"\sinh(10^9)", "1.5^{10^9}"]:  # fmt: skip
        assert not is_same(text, "1"), text
        estimate(parse_text(text))
    assert time.perf_counter() - start < 2
    with pytest.raises(NoValue, match="too large"):
        raise_to(Fraction(2), Fraction(10**6))


def test_symbols():
    assert find_symbols(parse_text(r"2xy + \pi e^{i} + a_n + \alpha")) == {"x", "y", "a_n", "alpha"}
