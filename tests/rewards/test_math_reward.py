"""The verifier judges answers correctly, and no string can stop it or slow it down."""

import ast
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from trl.rewards import accuracy_reward

from helpers.math_answers import ANSWERS, HANGING, box, build_answers, build_expression
from trl_forking.rewards import math_reward as verifier
from trl_forking.rewards.math_reward import (
    Explanation,
    explain_unreadable,
    explain_verdict,
    extract_boxed,
    math_reward,
    verify_math,
)


def test_last_complete_box():
    assert extract_boxed("no box") is None
    assert extract_boxed(r"\boxed{1} and \boxed{2}") == "2"
    assert extract_boxed(r"\boxed{1} and \boxed{2") == "1"
    assert extract_boxed(r"} { \boxed {\frac{1}{2}} }") == r"\frac{1}{2}"
    assert extract_boxed(r"\boxed{x = \boxed{3}}") == "3"
    assert extract_boxed(r"\boxed{\left\{ 1 \right.} and }") == r"\left\{ 1 \right."
    assert extract_boxed(r"a \\\boxed{1} \\boxed{2}") == "2"
    assert extract_boxed(r"\fbox{1}, \boxedx{2}, \boxed 3") is None
    assert extract_boxed("\\boxed{}") == ""
    assert extract_boxed("\\boxed{\n1\n}") == "\n1\n"


@pytest.mark.parametrize(("gold", "right", "wrong"), ANSWERS, ids=[gold for gold, _, _ in ANSWERS])
def test_right_and_wrong_answers(gold, right, wrong):
    assert [answer for answer in [gold, *right] if verify_math(box(answer), gold) != 1.0] == []
    assert [answer for answer in wrong if verify_math(box(answer), gold) != 0.0] == []


@pytest.mark.slow
def test_agrees_with_trl_where_trl_reads_the_gold_answer():
    """TRL reads a gold formula between dollars only, and not every answer that LaTeX would print."""
    ours, theirs = {}, {}
    for gold, right, wrong in ANSWERS:
        for answer in [*right, *wrong]:
            pair = (gold, answer)
            ours[pair] = verify_math(box(answer), gold)
            (theirs[pair],) = accuracy_reward([[{"role": "assistant", "content": box(answer)}]], [f"${gold}$"])
    differing = {answer for gold, answer in ours if ours[gold, answer] != theirs[gold, answer]}
    assert differing == {"42.", r"\frac12", r"2\sqrt3", r"\frac{\sqrt2}{2}", r"10\,000"}  # all of them right
    assert sum(value == 1.0 for value in theirs.values()) > 40
    # Without the dollars TRL reads another number than the gold answer.
    assert accuracy_reward([[{"role": "assistant", "content": box("2")}]], [r"2\sqrt{3}"]) == [1.0]


@pytest.mark.parametrize(
    "solution",
    ["2", "$2$", r"\(2\)", r"\boxed{2}", "Both of 4.\n#### 2", 2, "The answer is 2.", "It is $x = 2$",
     r"First \boxed{3}, then \boxed{2}. Done."],
)  # fmt: skip
def test_gold_answers(solution):
    assert verify_math(box("2.0"), solution) == 1.0
    assert verify_math(box("3"), solution) == 0.0


@pytest.mark.parametrize(
    "solution",
    ["", " ", None, "####", r"\boxed{}", "1" * 1001, "(" * 30 + "1" + ")" * 30, "x^{" * 20 + "1" + "}" * 20],
)  # fmt: skip
def test_unreadable_gold_answers(solution):
    assert verify_math(box("1"), solution) is None
    assert verify_math("no box", solution) is None


def test_reasoning_is_no_answer():
    """Only a box outside of think blocks counts. A block that was cut off holds no answer."""
    right, wrong = box("2.0"), box("3")
    assert verify_math(f"<think>{wrong}</think>{right}", "2") == 1.0
    assert verify_math(f"<think>{right}</think>{wrong}", "2") == 0.0
    assert verify_math(f"<think>{right}", "2") == 0.0
    assert verify_math(f"<think>{right}</think> So it is 2.", "2") == 0.0
    assert verify_math(f"{wrong}</think>{right}", "2") == 1.0  # the prompt opened the block
    assert verify_math(f"{right}</think> So it is 2.", "2") == 0.0
    assert verify_math(f"<think>a</think>{right}<think>{wrong}", "2") == 1.0
    assert verify_math(f"I <b>think</b> {right}", "2") == 1.0
    assert verify_math("<think>" * 100_000 + right, "2") == 0.0
    assert verify_math("<think></think>" * 50_000 + right, "2") == 1.0


@pytest.mark.parametrize(
    ("solution", "reason"),
    [
        ("", "it is empty"),
        (None, "it is empty"),
        ("1" * 1001, "it has 1,001 characters, more than 1,000"),
        ("(" * 30 + "1" + ")" * 30, "it has 30 nested brackets, more than 20"),
        (r"\frac{1}{", "a bracket is not closed"),
        (r"x \to \infty", "'to' is left over"),
        ("We add the numbers of both rows and then we divide by them", "it is prose of 12 words"),
        ("First we add the numbers, then we divide, and at last we square the result", "it is prose of 14 words"),
        ("x^{" * 20 + "1" + "}" * 20, "brackets are nested more than 15 times"),
    ],
)  # fmt: skip
def test_why_a_gold_answer_cannot_be_read(solution, reason):
    assert explain_unreadable(solution) == reason
    assert verify_math(box("1"), solution) is None


def test_reasons_of_a_verdict():
    assert explain_verdict(box("x=3, y=2"), "x=2, y=3") == Explanation(
        0.0, "the values differ", "values with names: x = 2, y = 3", "values with names: x = 3, y = 2"
    )
    assert explain_verdict("12000", "12 000", is_bare=True).reward == 1.0
    assert explain_verdict("12000", "12 000").rule == "there is no box outside of a think block"
    assert explain_verdict(box(""), "2").rule == "the answer is empty"
    assert explain_verdict(box("1"), "").reward is None
    assert explain_verdict(box(HANGING), "2").rule == "the comparison took too long or too much memory"


def test_completions_of_every_form():
    right, wrong = box("2"), box("3")
    completions = [
        right,
        wrong,
        "",
        None,
        [],
        [{"role": "assistant", "content": right}],
        [{"content": right}],
        [{"role": "assistant", "content": wrong}, {"role": "tool", "content": wrong}, {"content": right}],
        [{"role": "assistant", "content": right}, {"role": "tool", "content": wrong}],
        [{"role": "assistant", "content": None, "tool_calls": []}],
        [{"role": "assistant", "content": [{"type": "text", "text": right}, {"type": "image"}]}],
        [{"role": "user", "content": right}],
    ]  # fmt: skip
    rewards = math_reward(completions=completions, solution=["2"] * len(completions), prompts=None, trainer_state=None)
    assert rewards == [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 0.0]
    assert math_reward([right, right], ["2", ""]) == [1.0, None]
    assert math_reward.__name__ == "math_reward"
    with pytest.raises(ValueError, match="shorter"):
        math_reward([right, right], ["2"])


def score(answers: list[str]) -> list[tuple[float | None, float]]:
    """Reward and seconds of each."""
    scores = []
    for index, answer in enumerate(answers):
        start = time.perf_counter()
        reward = verify_math(answer, ANSWERS[index % len(ANSWERS)][0])
        scores.append((reward, time.perf_counter() - start))
    return scores


@pytest.mark.slow
def test_ten_thousand_answers(monkeypatch):
    """Each gets a number within a second, in the main thread and in another."""
    answers = build_answers(random.Random(0))
    assert len(answers) == 10_000
    assert None not in [verify_math(box("1"), gold) for gold, _, _ in ANSWERS]
    asked, started = [], []
    ask, worker_class = verifier._ask, verifier._Worker
    monkeypatch.setattr(verifier, "_ask", lambda gold, answer: asked.append(answer) or ask(gold, answer))
    monkeypatch.setattr(verifier, "_Worker", lambda: started.append(0) or worker_class())
    start = time.perf_counter()
    scores = score(answers[:7500])
    with ThreadPoolExecutor(1) as pool:
        scores += pool.submit(score, answers[7500:]).result()
    seconds = sorted(seconds for _, seconds in scores)
    print(
        f"{len(asked)} of {len(answers)} reached the worker; median {1000 * seconds[5000]:.1f} ms, "
        f"99 % {1000 * seconds[9900]:.0f} ms, slowest {seconds[-1]:.2f} s, {sum(s > 0.55 for s in seconds)} too slow, "
        f"{len(started)} workers restarted, {time.perf_counter() - start:.0f} s"
    )
    assert {reward for reward, _ in scores} == {0.0, 1.0}
    assert seconds[-1] < 1
    assert len(asked) > 5000
    assert verify_math(box("42.0"), "42") == 1.0


def test_generated_answers_equal_themselves():
    """With the expression itself, written in another way, for a gold answer: the verifier can say yes."""
    source = random.Random(1)
    expressions = [build_expression(source, 1) for _ in range(100)]
    rewards = [verify_math(box(rf"\displaystyle {expression}"), f"${expression}$") for expression in expressions]
    assert rewards.count(1.0) > 90
    assert [verify_math(box("987"), f"${expression}$") for expression in expressions].count(1.0) == 0


def test_the_golds_of_a_data_set_are_asked_about_once(monkeypatch):
    asked = []
    monkeypatch.setattr(verifier, "_request", lambda question, gold, answer: asked.append(gold) or "")
    golds = [f"{time.time_ns() + number}" for number in range(3)]
    assert not any(explain_unreadable(gold) for gold in golds * 5) and asked == golds


def test_modules_need_no_math_verify():
    for path in Path(verifier.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text())
        imported = [
            node
            for node in tree.body
            if isinstance(node, (ast.Import, ast.ImportFrom)) and not getattr(node, "level", 0)
        ]
        names = {
            alias.name if isinstance(node, ast.Import) else node.module for node in imported for alias in node.names
        }
        assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names
