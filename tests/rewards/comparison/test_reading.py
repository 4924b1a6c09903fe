"""What is read as which kind of answer, and that every text is read as something."""

import random
import string
import time

import pytest

from trl_forking.rewards.comparison.compare import compare
from trl_forking.rewards.comparison.describe import describe
from trl_forking.rewards.comparison.judge import explain_unreadable, is_right, judge
from trl_forking.rewards.comparison.normalize import normalize
from trl_forking.rewards.comparison.read import read, read_both_ways
from trl_forking.rewards.comparison.tokens import tokenize
from trl_forking.rewards.comparison.units import find_noun, find_unit
from trl_forking.rewards.comparison.words import make_singular


@pytest.mark.parametrize(
    ("text", "description"),
    [
        ("42", "a number: 42"),
        ("12 000", "a number: 12000"),
        ("1,234", "a number: 1234"),
        ("0.50", "a number: 0.50"),
        (r"0.\overline{3}", "a number: 1/3"),
        ("1 1/4", "a number: 5/4"),
        ("forty-two", "a number: 42"),
        (r"5 \text{ million}", "a number: 5000000"),
        ("5th", "a number: 5"),
        (r"4 \cdot 5 = 20", "a number: 20"),
        ("x+1", "an expression: x + 1"),
        (r"5 \text{ apples}", "a number with a unit: 5 apple"),
        (r"3 \text{ feet } 4 \text{ inches}", "a number with a unit: 3 x 381/1250 m 4 x 127/5000 m"),
        (r"\$5.50", "a number with a unit: 5.50 dollar"),
        ("25%", "a number with a unit: 25 percent"),
        (r"60\,\frac{\text{km}}{\text{h}}", "a number with a unit: 60 x 5/18 m s^-1"),
        ("20°C", "a number with a unit: 20 celsius"),
        ("5 m", "a number with a unit: 5 m"),
        ("5m", "an expression: 5 * m"),
        ("1, 2 and 3", "a list: 1, 2, 3"),
        (r"\{1, 2\}", "a set: {1, 2}"),
        ("(1, 2)", "a tuple: (1, 2)"),
        ("(1,234)", "a tuple: (1, 234)"),
        ("[1, 2]", "a list in square brackets: [1, 2]"),
        (r"\pm 3", "a list: 3, -3"),
        ("(1, 2]", "a set of real numbers: (1, 2]"),
        (r"x \ne 0", "a set of real numbers: x in (-infinity, 0) or (0, infinity)"),
        ("at least 5", "a set of real numbers: [5, infinity)"),
        (r"\text{no solution}", "a set of real numbers: the empty set"),
        ("x=2, y=3", "values with names: x = 2, y = 3"),
        ("x=2 or x=3", "a value with a name: x = 2, 3"),
        ("f(x)=x^2", "a value with a name: f(x) = x^2"),
        (r"\angle ABC = 30^\circ", "a value with a name: angleABC = 30 degree"),
        ("2x+3y=6", "an equation: (2 * x) + (3 * y), 6"),
        ("y > 2x", "an inequality: y + -(2 * x), True"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", "a matrix: ((1), (2)), matrix"),
        (r"\textbf{(B)}\ 12", "a choice: B with 12"),
        ("B.", "an expression: B"),
        ("3:4", "a ratio: (3, 4)"),
        ("3:45 PM", "a time: 15, 45, True"),
        ("March 5, 2020", "a date: 2020, 3, 5"),
        ("101_2", "a number in another base: 101, 2"),
        (r"x \equiv 10 \pmod 7", "a congruence: x, 3, 7"),
        (r"\sqrt 2 \approx 1.41", "an approximate value: root(2, 2), about 1.41"),
        (r"\text{the Red ball}", "text: red ball (words)"),
        ("January", "text: january (words)"),
        (r"5 \text{ is wrong}", "text: 5 is wrong ('is wrong' is no unit)"),
        (r"5 \foo", "text: 5 \\foo ('foo' is left over)"),
        ("", "text: nothing (it is empty)"),
    ],
)
def test_kinds(text, description):
    assert describe(read(text)) == description


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        (r"$\displaystyle \left( 1 \right)$", "( 1 )"),
        (r"\[ 5 \]", "5"),
        (r"\\frac{1}{2}", r"\frac{1}{2}"),
        (r"10\,000", "10 000"),
        (r"10{,}000", "10,000"),
        (r"10,\!000", "10,000"),
        (r"\boxed{5}", "{5}"),
        ("**5**", "5"),
        ("$5", "$5"),
        ("0.1666...", "0.1[6]"),
        ("3.14159...", r"3.14159\ldots"),
        ("~5", r"\approx 5"),
        ("5\u200b", "5"),
        ("５", "5"),
        ("x²", "x^{2}"),
        ("{1 \\over 2}", r"\frac{1 }{ 2}"),
    ],
)
def test_one_spelling(text, normal):
    assert normalize(text) == normal


def test_units():
    assert find_unit("kilometers") == find_unit("km") == find_unit("kilometre")
    assert find_unit("km").powers == find_unit("inch").powers != find_unit("kg").powers
    assert find_unit("is") is find_unit("x") is find_unit("wrong") is None
    assert find_noun(["pieces", "of", "candy"], False).powers == (("piece of candy", 1),)
    for words in (
        ["more"],
        ["or", "more"],
        ["wrong"],
        ["maybe"],
        ["apple"],
        ["probably"],
        ["halves"],
        ["x"],
        ["not", "apples"],
    ):
        assert find_noun(words, False) is None, words
    assert [make_singular(word) for word in ("boxes", "cities", "classes", "feet", "bus")] == [
        "box",
        "city",
        "class",
        "foot",
        "bus",
    ]


def write_in_many_ways(value: int) -> list[str]:
    """The same whole number between 1,000 and 999,999."""
    thousands, rest = divmod(value, 1000)
    return [
        f"{value}", f"{value}.0", f"{value}.", f"+{value}", f"{thousands},{rest:03d}", f"{thousands} {rest:03d}",
        rf"{thousands}\,{rest:03d}", rf"{thousands}{{,}}{rest:03d}", f"${value}$", rf"\({value}\)", rf"\text{{{value}}}",
        f"x = {value}", rf"\frac{{{2 * value}}}{{2}}", f"{value - 1} + 1", rf"\sqrt{{{value}^2}}", f"{value} apples",
        f"{value / 1000:.3f} thousand", f"{value}.00 dollars", f"the answer is {value}", f"{value / 10**6:.6f}e6",
        f"{value}_{{10}}", rf"\left({value}\right)", f"{thousands} {rest:03d} km", f"0{value}", rf"{value} \text{{ cm}}^2",
    ]  # fmt: skip


def test_every_way_to_write_a_number_is_that_number_and_no_other():
    source = random.Random(3)
    for _ in range(60):
        value = source.randint(1000, 999_999)
        others = {value + 1, value * 10, value // 10 + 1000, value % 1000 + 1000, int(str(value)[::-1]) + 1000} - {
            value
        }
        gold = str(value)
        assert [text for text in write_in_many_ways(value) if not is_right(gold, text)] == []
        other = source.choice(sorted(others))
        assert [text for text in write_in_many_ways(other) if is_right(gold, text)] == []


WORDS_THAT_CHANGE = """
    or more,or less,or so,is wrong,is not the answer,maybe,probably,at least,at most,or fewer,and above,tenths,squared,halves,
    dozen,million,factorial,times two,plus one,minus one,is too small,more than that,if possible,without units but not sure,
    unless it is,however,below zero,percent of x,hundredths,mod three,remainder two,over two,twice,each but not all
"""


@pytest.mark.parametrize("words", [words.strip() for words in WORDS_THAT_CHANGE.split(",")])
def test_words_that_change_the_meaning(words):
    for value in ("5", "12", r"\frac{7}{2}", "1.25"):
        assert not is_right(value, rf"{value} \text{{ {words}}}")
        assert not is_right(value, f"{value} {words}")


@pytest.mark.slow
def test_every_text_is_read_as_something():
    """No text makes the reader fail or stop, whatever is in it."""
    source = random.Random(4)
    parts = [r"\frac{1}{2}", r"\text{ or }", "x=", ",", "(", ")", "{", "}", "[", "]", r"\{", r"\}", "|", "^", "_", "5", "0.5", r"\pm",
             r"\cup", r"\infty", "<", r"\le", r"\begin{pmatrix}", r"\end{pmatrix}", "&", r"\\", "km", "%", "$", r"\approx", "and",
             ":", "PM", "base", r"\sqrt",
             "C(5,2)", "_5C_2", r"\begin{cases}", r"\end{cases}", "x 10^", "by", r"\Omega", r"\mu\text{m}", "+-", "half", "two thirds", "(five)", r"\in", "!", "'", "²", "½", "of", "per", "10 000", "e5", r"\pmod", "AB", "not", " "]  # fmt: skip
    start = time.perf_counter()
    for _ in range(4000):
        count = source.randint(1, 9)
        text = "".join(
            source.choice(parts) if source.random() < 0.9 else source.choice(string.printable) for _ in range(count)
        )
        for kind in read_both_ways(text):
            describe(kind)
        assert is_right(text, text) or not text.strip()
        judge("5", text)
    assert time.perf_counter() - start < 60


def test_verdicts_do_not_depend_on_how_a_list_is_written():
    kinds = [read(text) for text in (r"\{1, 2, 3\}", "3, 2, 1", "1, 2 and 3")]
    assert all(compare(gold, answer).is_right for gold in kinds for answer in kinds)


@pytest.mark.parametrize(
    "gold", ["42", "January", "A", r"\{1, 2\}", "the red ball", "5 or more", "10^{10^{10}}", r"\sum_{k=1}^n k"]
)
def test_readable_gold_answers(gold):
    assert explain_unreadable(gold) is None


@pytest.mark.parametrize("gold", ["", "?", r"\frac{1}{", "(1,2", r"x \to 3", "٣", "5 5", r"\foo", "2^3^4^5^"])
def test_unreadable_gold_answers(gold):
    assert explain_unreadable(gold)


@pytest.mark.parametrize(
    "gold",
    [
        "It takes 42 minutes.",
        "She has 5 apples left.",
        "5 is the answer",
        "42, since it is",
        "x = 5 (see figure)",
        "12 ways to choose",
    ],
)
def test_a_sentence_around_a_number_is_no_gold_answer(gold):
    """No answer could be compared with it, so every right answer would be wrong."""
    assert "sentence" in explain_unreadable(gold)


@pytest.mark.parametrize(
    "gold", ["12 ways", r"3 \text{ red and } 2 \text{ blue}", "Team 3", "no solution", "one-to-one", "at least 5"]
)
def test_words_that_are_no_sentence(gold):
    assert explain_unreadable(gold) is None


@pytest.mark.parametrize(
    "answer",
    [
        "A. B",
        "A) C)",
        "(A) (B)",
        "(A) 5 (B) 6",
        "A) is wrong",
        "(A) is incorrect",
        r"\text{A. Not correct}",
        r"\text{(A) or (B)}",
    ],
)
def test_a_choice_that_names_another_or_judges_itself_is_none(answer):
    assert not is_right("A", answer)
    assert (
        is_right("A", r"\text{A. none of these}")
        and is_right("A", "(A) 12")
        and is_right("A", r"\text{(A) the red ball}")
    )


def test_a_set_of_sets_is_no_set():
    assert is_right(r"\{\{1,2\},\{3\}\}", r"\{\{3\},\{2,1\}\}") and is_right(r"\{5\}", "5")
    for gold, answer in ((r"\{1,2\}", r"\{\{1,2\}\}"), (r"\{\{1\},2\}", r"\{1,2\}"), (r"\emptyset", r"\{\emptyset\}")):
        assert not is_right(gold, answer) and not is_right(answer, gold)


def test_an_approximate_value_must_be_right_in_its_last_digit():
    assert is_right(r"\sqrt{3}", r"\sqrt{3} \approx 1.732") and is_right(r"\sqrt{3}", r"\sqrt{3} \approx 1.73")
    assert is_right(r"\frac{2}{3}", r"\frac{2}{3} \approx 0.66") and not is_right(r"\sqrt{2}", r"\sqrt{2} \approx 1.5")
    assert not is_right(r"\sqrt{3}", r"\sqrt{3} \approx 1.742") and not is_right(r"\sqrt{3}", r"\sqrt{3} \approx 88\%")


def test_an_inequality_may_be_solved_but_not_repeated():
    """The inequality may be the question itself."""
    assert (
        is_right("|x-1| < 2", "-1 < x < 3")
        and is_right("|x-1| < 2", "(-1, 3)")
        and is_right(r"|2x| \ge 6", r"x \le -3 \text{ or } x \ge 3")
    )
    assert not is_right("(-1, 3)", "|x-1| < 2") and not is_right("|x-1| < 2", r"-1 \le x \le 3")


def test_tokens():
    tokens = tokenize(r"10 000 \text{ km} \le x_{12}")
    assert [(token.kind, token.text) for token in tokens] == [
        ("number", "10000"), ("word", "km"), ("command", "le"), ("letters", "x"), ("sign", "_"), ("sign", "{"),
        ("number", "12"), ("sign", "}"),
    ]  # fmt: skip


def test_values_without_names_need_names_in_order():
    """In y=3, x=2 it is not sure whether a bare 2 or 3 comes first."""
    assert is_right("x=2, y=3", "2, 3") and is_right("2, 3", "x=2, y=3")
    assert not is_right("y=3, x=2", "2, 3") and not is_right("y=3, x=2", "3, 2")
    assert is_right("width=5, length=8", "5, 8") and not is_right("width=5, length=8", "8, 5")
