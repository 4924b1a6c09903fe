"""The process that compares answers: it is started, limited and replaced, and no request gets the reply to another one."""

import json
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from helpers.math_answers import HANGING, box
from trl_forking.rewards import math_reward as verifier
from trl_forking.rewards.math_reward import explain_unreadable, math_reward, verify_math


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
