"""Answers to math problems: written by hand, and drawn at random to stop or slow down a verifier."""

import random
import string


HANGING = r"\sum_{k=1}^{2} 10^{10^{10}}"  # a power that SymPy computes in C, where no signal handler of its own is run

# Gold answer, right answers, wrong answers.
ANSWERS = [
    ("42", ["42", "42.0", "42.", "$42$", r"x=42", r"42\text{ cm}", r"\text{42}", r"6 \cdot 7"],
     ["43", "-42", "4.2", "42x"]),
    ("1/2", [r"\frac{1}{2}", r"\frac12", "0.5", ".5", r"\dfrac{2}{4}", "2^{-1}", r"50\%"],
     ["2", r"\frac{1}{3}", "0.51"]),
    (r"-\frac{1}{3}", [r"\frac{-1}{3}", "-1/3", "-0.333333"], ["-0.33", r"\frac{1}{3}"]),
    (r"2\sqrt{3}", [r"\sqrt{12}", r"2\sqrt3", r"\frac{6}{\sqrt{3}}"], ["3", "2", r"3\sqrt{2}"]),
    ("10000", ["10,000", "10{,}000", r"10\,000", r"10,\!000", "10^4", r"\$10000"], ["1000", "10", "0"]),
    ("25%", [r"25\%", r"\frac{1}{4}", "0.25", "25"], ["2.5", r"\frac{1}{25}"]),
    ("18.90", ["18.9", r"\$18.90", r"\frac{189}{10}"], ["18.91", "19"]),
    (r"90^\circ", ["90", r"90^{\circ}", r"90\text{ degrees}"], ["9", "180"]),
    (r"\{1,2,3\}", ["3,2,1", r"\{3, 1, 2\}", r"1, 2 \text{ and } 3"], ["1,2", r"\{1,2,4\}", "6"]),
    (r"\pm 3", ["3,-3", r"\{-3, 3\}"], ["3", "-3"]),
    ("(1,2)", [r"\left(1, 2\right)", "(1.0, 2)"], ["(2,1)", "[1,2]", "(1,2,3)"]),
    ("[1,2)", [r"\left[1,2\right)", r"x \in [1, 2)"], ["[1,2]", "(1,2)", "[1,3)"]),
    (r"(-\infty, 3]", [r"(-\infty, 3.0]", r"\left(-\infty,3\right]"], [r"(-\infty, 3)", "3", r"[3, \infty)"]),
    (r"x \le 3", [r"3 \ge x", r"x \leq 3", r"(-\infty, 3]"], ["x < 3", r"x \ge 3"]),
    (r"x^2+2x+1", ["(x+1)^2", "1 + 2x + x^2"], ["(x+2)^2", "x^2", "1"]),
    ("y=2x+3", ["2x+3", "y = 3+2x"], ["2x-3", "3"]),
    ("3+4i", ["4i+3"], ["3-4i", "4i"]),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", [r"\begin{bmatrix}1&2\\3&4\end{bmatrix}"],
     [r"\begin{pmatrix}1&2\\3&5\end{pmatrix}", "4"]),
    (r"\text{Yes}", ["Yes", r"\text{yes}", r"\textbf{Yes}"], ["No", r"\text{No}", "1"]),
    ("(A)", ["A", r"\text{A}", r"\text{(A)}"], ["B", r"\text{B}"]),
    ("January", [r"\text{January}", "january"], ["June"]),
    (r"\frac{\sqrt{2}}{2}", [r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt2}{2}"], [r"\sqrt{2}", "0.7"]),
]  # fmt: skip


NUMBERS = ["0", "1", "2", "3", "7", "12", "42", "100", "0.5", "3.14", "1,000", "-1", "-7"]
SYMBOLS = ["x", "y", "n", "a", r"\pi", "e", "i"]
CHARACTERS = (
    string.printable + r"\\\\{{{{}}}}^^__$$%&~#" + "½²√π∞−×÷٣①Ⅷé漢字🙂\u0000\u0007\u001b\u200b\u202e\ufeff\ud800\udfff"
)


def box(answer: str) -> str:
    return rf"Therefore the answer is \boxed{{{answer}}}."


def build_expression(source: random.Random, depth: int) -> str:
    if depth == 0:
        return source.choice(NUMBERS if source.random() < 0.8 else SYMBOLS)
    a, b = (build_expression(source, source.randrange(depth)) for _ in range(2))
    forms = [rf"\frac{{{a}}}{{{b}}}", rf"\sqrt{{{a}}}", rf"{a}+{b}", rf"{a}-{b}", rf"{a} \cdot {b}", rf"({a})^{{{b}}}"]
    forms += [rf"{a}/{b}", rf"\left({a}\right)", rf"\{{{a},{b}\}}", rf"({a},{b}]", rf"x={a}", rf"{a}\%", rf"|{a}|"]
    forms += [
        rf"\text{{{a} or}} {b}",
        rf"{a}!",
        rf"\log_{{{a}}} {b}",
        rf"{a} \le x < {b}",
        rf"\sin({a})",
        rf"{a}\pm{b}",
    ]
    forms += [
        rf"\begin{{pmatrix}}{a}\\{b}\end{{pmatrix}}",
        rf"{a}\text{{ cm}}",
        rf"\sqrt[3]{{{a}}}",
        rf"\binom{{{a}}}{{{b}}}",
    ]
    return source.choice(forms)


def mutate(source: random.Random, text: str) -> str:
    """Delete, double, swap or put in a few characters."""
    for _ in range(source.randint(1, 6)):
        place = source.randrange(len(text) + 1)
        end = min(place + source.randint(1, 4), len(text))
        middle = source.choice(["", 2 * text[place:end], text[place:end][::-1], source.choice(CHARACTERS)])
        text = text[:place] + middle + text[end:]
    return text


def build_heavy(source: random.Random) -> str:
    """An expression that takes long to evaluate, or fills the memory."""
    n = source.randint(6, 10)
    return source.choice(
        [
            HANGING,
            rf"{n}^{{{n}^{{{n}^{n}}}}}",
            rf"{n}^{{-{n}^{{{n}}}}}",
            rf"((({n}!)!)!)!",
            rf"\binom{{{n}00000000}}{{500000000}}",
            rf"\sum_{{k=1}}^{{{n}00000000}} k^k",
            rf"\prod_{{k=1}}^{{{n}00000000}} k",
            rf"(x+y+z)^{{{n}00}} - 1",
            "(" * 18 + str(n) + ")" * 18,
            "x^{" * 15 + str(n) + "}" * 15,
        ]
    )


def build_deep(source: random.Random) -> str:
    opening, closing = source.choice(
        [("(", ")"), ("{", "}"), ("[", "]"), (r"\frac{1}{", "}"), (r"\sqrt{", "}"), ("x^{", "}")]
    )
    depth = source.choice([1, 2, 3, 4, 30, 100, 300, 1000, 3000, 10000])
    return opening * depth + "1" + closing * max(0, depth + source.choice([-1, 0, 0, 0, 1]))


def build_long(source: random.Random) -> str:
    """A text of a million characters."""
    unit = source.choice(
        [r"\boxed{", r"\boxed{1}", "{", "}", "{}", "\\", r"\{", "a", "1", "\n", "🙂", r"\boxed ", r"\frac{1}{"]
    )
    text = unit * (1_000_000 // len(unit))
    return source.choice([text, box(text), text + box("42"), box("42") + text])


def build_answers(source: random.Random) -> list[str]:
    """Ten thousand, of which somewhat more than half have a box that the worker gets to see."""
    answers = [box(build_expression(source, source.choice([0, 1, 1, 1, 2]))) for _ in range(1400)]
    answers += [box(mutate(source, build_expression(source, source.choice([0, 1, 1, 2])))) for _ in range(2000)]
    answers += [mutate(source, box(build_expression(source, 1))) for _ in range(1000)]
    answers += [box("".join(source.choices(CHARACTERS, k=source.randint(0, 40)))) for _ in range(1000)]
    answers += [box("".join(source.choices(CHARACTERS, k=source.randint(1100, 5000)))) for _ in range(1000)]
    answers += [r"\boxed{" * source.randint(0, 5) + build_expression(source, 2) for _ in range(2125)]
    answers += [box(build_deep(source)) for _ in range(1400)]
    answers += [box("1") * source.randint(1000, 5000) + mutate(source, box("42")) for _ in range(20)]
    answers += [build_long(source) for _ in range(40)]
    answers += [box(build_heavy(source)) for _ in range(15)]
    source.shuffle(answers)
    return answers
