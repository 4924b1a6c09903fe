"""The verifier judges answers correctly, and no string can stop it or slow it down."""

import ast
import json
import os
import random
import signal
import string
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from trl.rewards import accuracy_reward

from trl_forking.rewards import math_reward as verifier
from trl_forking.rewards.math_reward import (
    Explanation,
    explain_unreadable,
    explain_verdict,
    extract_boxed,
    math_reward,
    verify_math,
)


HANGING = r"\sum_{k=1}^{2} 10^{10^{10}}"  # a power that SymPy computes in C, where no signal handler of its own is run


def box(answer: str) -> str:
    return rf"Therefore the answer is \boxed{{{answer}}}."


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


NUMBERS = ["0", "1", "2", "3", "7", "12", "42", "100", "0.5", "3.14", "1,000", "-1", "-7"]
SYMBOLS = ["x", "y", "n", "a", r"\pi", "e", "i"]
CHARACTERS = (
    string.printable + r"\\\\{{{{}}}}^^__$$%&~#" + "½²√π∞−×÷٣①Ⅷé漢字🙂\u0000\u0007\u001b\u200b\u202e\ufeff\ud800\udfff"
)


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


def get_pids() -> tuple[int, int]:
    """Of the worker and of its child that makes the comparisons."""
    parent = psutil.Process(verifier._worker.process.pid)
    return parent.pid, parent.children()[0].pid


def test_an_answer_that_hangs_costs_its_child_only():
    assert verify_math(box("42.0"), "42") == 1.0
    worker, child = get_pids()
    start = time.perf_counter()
    answers = [HANGING, "42.0", HANGING, HANGING, HANGING, "43"]
    assert math_reward([box(answer) for answer in answers], ["42"] * 6) == [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    assert 2 < time.perf_counter() - start < 5
    assert get_pids()[0] == worker
    assert get_pids()[1] != child


@pytest.mark.skipif(sys.platform != "linux", reason="psutil reads the limits of another process on Linux only")
def test_memory_is_limited():
    assert verify_math(box("42.0"), "42") == 1.0
    child = psutil.Process(get_pids()[1])
    assert child.rlimit(psutil.RLIMIT_AS)[0] == verifier.math_worker.MEMORY_LIMIT
    assert child.rlimit(psutil.RLIMIT_CORE)[0] == 0


def test_a_late_reply_is_not_taken_for_the_next_one():
    assert verify_math(box("42.0"), "42") == 1.0
    worker = get_pids()[0]
    os.killpg(worker, signal.SIGSTOP)
    assert verify_math(box("42.0"), "42") == 0.0
    os.killpg(worker, signal.SIGCONT)
    assert math_reward([box("43"), box("42.0"), box("43")], ["42"] * 3) == [0.0, 1.0, 0.0]
    assert get_pids()[0] == worker


@pytest.mark.slow
@pytest.mark.parametrize("question", [lambda gold: verify_math(box(gold), gold) is None, explain_unreadable])
def test_a_gold_answer_is_read_again_after_the_machine_stood_still(question):
    """That there was no reply in time is no verdict on the gold answer."""
    assert verify_math(box("42.0"), "42") == 1.0
    gold = f"{time.time_ns()}"  # which no test has asked about
    os.killpg(get_pids()[0], signal.SIGSTOP)
    assert question(gold)
    assert not question(gold)
    assert verify_math(box(f"{gold}.0"), gold) == 1.0


def test_the_golds_of_a_data_set_are_asked_about_once(monkeypatch):
    asked = []
    monkeypatch.setattr(verifier, "_request", lambda question, gold, answer: asked.append(gold) or "")
    golds = [f"{time.time_ns() + number}" for number in range(3)]
    assert not any(explain_unreadable(gold) for gold in golds * 5) and asked == golds


@pytest.mark.slow
@pytest.mark.parametrize("kill", ["child", "worker", "both", "stop"])
def test_a_killed_worker_is_replaced(kill):
    assert verify_math(box("42.0"), "42") == 1.0
    worker, child = get_pids()
    if kill == "stop":
        os.killpg(worker, signal.SIGSTOP)
        start = time.perf_counter()
        assert verify_math(box("42.0"), "42") == 0.0
        assert time.perf_counter() - start < 1
        assert verify_math(box("42.0"), "42") == 0.0  # the first one may have been a busy machine
    for pid in {"child": [child], "worker": [worker], "both": [worker, child], "stop": []}[kill]:
        os.kill(pid, signal.SIGKILL)
    time.sleep(0.2)
    first = verify_math(box("42.00"), "42")
    assert first == 1.0 or kill == "both"  # an answer may be on its way to a process that is dying
    assert [verify_math(box(answer), "42") for answer in ("42.000", HANGING, "42.0000", "41")] == [1.0, 0.0, 1.0, 0.0]


@pytest.mark.slow
def test_a_worker_killed_over_an_answer():
    assert verify_math(box("42.0"), "42") == 1.0
    killer = threading.Timer(0.3, lambda: os.killpg(get_pids()[0], signal.SIGKILL))
    killer.start()
    assert verify_math(box(HANGING), "42") == 0.0
    killer.join()
    assert verify_math(box("42.0"), "42") == 1.0


def test_children_take_turns_unnoticed():
    """A child ends after a number of requests, so that what SymPy remembers does not add up."""
    assert verify_math(box("42.0"), "42") == 1.0
    worker, child = get_pids()
    assert {verify_math(box(f"{number}"), "-1") for number in range(2100)} == {0.0}
    assert get_pids()[0] == worker
    assert get_pids()[1] != child


def test_two_threads_at_once():
    answers = [box(f"{number}.0") for number in range(200)]
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(math_reward, answers, [str(number) for number in range(200)])
        second = pool.submit(math_reward, answers, [str(number + number % 2) for number in range(200)])
    assert first.result() == [1.0] * 200
    assert second.result() == [1.0, 0.0] * 100


@pytest.mark.slow
def test_forked_child_has_a_worker_of_its_own():
    """Also where another thread holds the lock at the fork. It ends with the child, even without a good-bye."""
    assert verify_math(box("42.0"), "42") == 1.0
    pids = get_pids()
    thread = threading.Thread(target=verify_math, args=(box(HANGING), "42"))
    thread.start()
    time.sleep(0.1)
    reader, writer = os.pipe()
    pipe = verifier._worker.process.stdin.fileno()
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        try:
            with pytest.raises(OSError):  # an open copy would keep the worker from seeing its process end
                os.fstat(pipe)
            rewards = math_reward([box("42.0"), box("41")], ["42", "42"])
            os.write(writer, json.dumps([rewards, get_pids()]).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    rewards, child_pids = json.loads(os.read(reader, 1000))
    os.close(reader)
    assert rewards == [1.0, 0.0]
    assert not set(child_pids) & set(pids)
    thread.join()
    assert verify_math(box("42.0"), "42") == 1.0
    assert get_pids()[0] == pids[0]
    psutil.wait_procs([psutil.Process(pid) for pid in child_pids if psutil.pid_exists(pid)], timeout=10)
    assert [pid for pid in child_pids if psutil.pid_exists(pid)] == []


@pytest.fixture
def own_worker(monkeypatch, tmp_path):
    """A worker that finds the modules of `tmp_path` before the installed ones."""
    monkeypatch.setattr(verifier, "_worker", None)
    monkeypatch.syspath_prepend(tmp_path)
    verifier._explain_gold.cache_clear()
    yield tmp_path
    verifier._stop_worker()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "error", "sentence"),
    [
        ("raise ModuleNotFoundError('no', name=__name__)", ImportError,
         r"^math_verify is not installed: pip install 'trl-forking\[math\]'$"),
        ("raise ModuleNotFoundError('No antlr4', name='antlr4')", RuntimeError,
         "could not be started: ModuleNotFoundError: No antlr4.$"),
        ("import os; os._exit(7)", RuntimeError, "could not be started: it ended with exit status 7.$"),
        ("LatexExtractionConfig = dict\ndef parse(*a, **k): return []\ndef verify(*a, **k): return 0", RuntimeError,
         "does not tell 1/2"),
        ("import time; time.sleep(60)", RuntimeError,
         "could not be started: it was not ready after 1 seconds.$"),
    ],
)  # fmt: skip
def test_a_worker_that_cannot_start(own_worker, monkeypatch, code, error, sentence):
    (own_worker / "math_verify.py").write_text(code)
    monkeypatch.setattr(verifier, "_START_LIMIT", 1.0 if "sleep" in code else 60.0)
    for _ in range(2):
        with pytest.raises(error, match=sentence):
            verify_math("no box", "42")


def test_no_interpreter(own_worker, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(own_worker / "python"))
    with pytest.raises(RuntimeError, match="could not be started: .*No such file"):
        verify_math(box("42.0"), "42")


@pytest.mark.slow
def test_what_a_library_prints_is_no_reply(own_worker):
    (own_worker / "sitecustomize.py").write_text(
        "import builtins, sys\n"
        "old = builtins.__import__\n"
        "def noisy(*args, **kwargs):\n"
        "    print('[1, true]', flush=True)\n"
        "    return old(*args, **kwargs)\n"
        "if 'math_worker' in ' '.join(sys.orig_argv): builtins.__import__ = noisy\n"
    )
    assert math_reward([box("42.0"), box("41")], ["42", "42"]) == [1.0, 0.0]


@pytest.mark.slow
def test_where_there_is_neither_fork_nor_a_timer(own_worker, monkeypatch):
    """As on Windows: the process itself is ended and replaced."""
    monkeypatch.setattr(verifier, "_MAX_LATE", 0)
    (own_worker / "sitecustomize.py").write_text("import os, signal\ndel os.fork, signal.setitimer")
    assert math_reward([box("42.0"), box(HANGING), box("42.0")], ["42"] * 3) == [1.0, 0.0, 1.0]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is there on Linux only")
def test_the_worker_loads_no_torch():
    """It starts in two seconds, not in ten, and a gigabyte of memory is enough for it."""
    assert verify_math(box("42.0"), "42") == 1.0
    for pid in get_pids():
        maps = Path(f"/proc/{pid}/maps").read_text()
        assert "mpmath" in maps or "python" in maps
        assert "libtorch" not in maps


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
