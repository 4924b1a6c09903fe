"""The gold answer is found in what data sets write, and the answer in what models write."""

import time

import pytest

from trl_forking.rewards.extract import find_answer, find_gold, remove_reasoning


@pytest.mark.parametrize(
    ("solution", "gold"),
    [
        ("42", "42"),
        (42, "42"),
        (None, ""),
        (r"So \boxed{1}, or rather \boxed{\frac{1}{2}}. Done.", r"\frac{1}{2}"),
        ("Twice 4 is 8.\n#### 8", " 8"),
        ("<answer>-3</answer>", "-3"),
        ("<answer>1</answer> no, <answer> 2 </answer>", " 2 "),
        ("Answer: 42", "42"),
        ("**Final answer:** 42", "42"),
        ("The final answer is 3.5 km.", "3.5 km"),
        ("We add both numbers. The answer is $x = 5$. This was easy.", "$x = 5$"),
        ("It is $x = 2$", "x = 2"),
        (r"Thus we get \(\frac{1}{2}\).", r"\frac{1}{2}"),
        ("It is not $5$", "It is not $5$"),
        ("At least $5$", "At least $5$"),
        ("$5$ apples and $6$ pears", "$5$ apples and $6$ pears"),
        (r"\text{Answer: } 18", r"\text{Answer: } 18"),
        ("<think>Is it 1? The answer is 1.</think>2", "2"),
    ],
)
def test_gold(solution, gold):
    assert find_gold(solution) == gold


@pytest.mark.parametrize(
    ("text", "outside"),
    [
        ("no block", "no block"),
        ("a<think>b</think>c", "ac"),
        ("a<think>b", "a"),
        ("b</think>c", "c"),
        ("a<think>b</think>c<think>d</think>e", "ace"),
        ("<THINK>b</Think>c", "c"),
        ("<thinking>b</thinking>c", "c"),
        ("<think>a<think>b</think>c", "c"),
        ("a</think>b</think>c", "c"),
    ],
)
def test_reasoning_is_removed(text, outside):
    assert remove_reasoning(text) == outside


def test_time_is_linear():
    for unit in (
        "<think>",
        "</think>",
        "<think></think>",
        "<answer>",
        "answer is ",
        "#### ",
        r"\boxed{",
        "$",
        "think",
    ):
        text = unit * (1_000_000 // len(unit))
        start = time.perf_counter()
        find_gold(text), find_answer(text, 250_000)
        assert time.perf_counter() - start < 1.5, unit
