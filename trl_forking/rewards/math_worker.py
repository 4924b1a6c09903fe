"""The process that compares answers. No answer can stop, hang or fill up the training process."""

# Nothing of this package that is imported here may load torch or TRL: the process would start seconds later, and would
# need their memory too.

import json
import logging
import mmap
import os
import signal
import sys
from collections.abc import Callable
from typing import Any


# Every message on standard output begins with this mark, because Python's start-up may print there too.
MARK = b"math-verify: "

# Seconds of wall-clock time that one comparison may take, and bytes of memory.
TIME_LIMIT = 0.6
MEMORY_LIMIT = 2**30

# A child is replaced after this many requests, because SymPy's and ANTLR's caches grow with every new answer.
_REQUESTS_PER_CHILD = 2000
_REPLACE_ME = 3

# ANTLR builds its tables while it parses, and each new form costs 100 ms. Parsing these answers first gives every
# child the tables.
_TYPICAL_ANSWERS = (
    r"-\frac{1}{2}",
    r"2\sqrt{3}+1",
    r"x^2+3x-1",
    r"(x+1)(x-2)",
    r"\frac{n(n+1)}{2}",
    r"e^{2\pi i/3}",
    r"x=5",
    r"x \ge 3",
    r"(-\infty, 3]",
    r"\left(\frac{1}{2},3\right)",
    r"\{1,2,3\}",
    r"\begin{pmatrix}1&2\\3&4\end{pmatrix}",
    r"\log_2 3",
    r"10!",
    r"|x|",
    r"50\%",
    r"\text{Yes}",
    r"((1+2)\cdot 3)^2",
    r"a_{n}=2^{n-1}",
    r"\binom{10}{3}",
    r"\sin^2 x",
    r"\{(1,2),(3,4)\}",
)


def main() -> None:
    """
    Answer the requests on standard input until it ends. Each request is one line of JSON.

    A request is `[number, question, gold, answer]`, and its reply is `[number, value]`. The question is one of [`QUESTIONS`].
    The first message is `"ready"`. If the process cannot start, the first message is `{"error": ..., "missing": ...}`,
    and the process ends.

    A forked child makes the comparisons. The kernel kills a child that takes too long, even in C code. A new child,
    with all modules loaded, takes over within milliseconds.
    """
    logging.disable()
    replies = os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)  # nothing that a library prints can be mistaken for a reply

    def send(message: Any) -> None:
        os.write(replies, MARK + json.dumps(message).encode() + b"\n")

    try:
        _limit_resources()
        _warm_up()
    except Exception as error:
        send({"error": f"{type(error).__name__}: {error}", "missing": getattr(error, "name", None)})
        return
    os.dup2(null, 2)
    if hasattr(os, "fork"):
        _supervise(send)
    else:
        send("ready")
        while _serve(send, bytearray(8)) == _REPLACE_ME:
            pass


def _limit_resources() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    for kind, limit in ((resource.RLIMIT_AS, MEMORY_LIMIT), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(kind)
        try:
            resource.setrlimit(kind, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
        except (OSError, ValueError):  # macOS refuses RLIMIT_AS
            continue


def _warm_up() -> None:
    # math-verify treats every error of its parser as an unreadable answer, so find a broken parser before it scores.
    if not _ask_math_verify("0.5", r"\frac{1}{2}") or _ask_math_verify("0.5", r"\frac{1}{3}"):
        raise RuntimeError("math-verify does not tell 1/2 from 1/3")
    from .comparison.judge import is_right, judge

    for answer in _TYPICAL_ANSWERS:
        _ask_math_verify(answer, answer + "+1")
        is_right(answer, answer + "+1")
    judge("1", "2")


def _ask_math_verify(gold: str, answer: str) -> bool:
    from math_verify import verify

    from .comparison.fallback import parse_by_math_verify

    return bool(verify(parse_by_math_verify(gold), parse_by_math_verify(answer), timeout_seconds=None))


def _supervise(send: Callable[[Any], None]) -> None:
    """Keep one child running, and reply in its place if it dies during a request."""
    current = mmap.mmap(-1, 8)  # shared with the child: number of its current request, or 0
    is_first = True
    while True:
        child = os.fork()
        if child == 0:
            if is_first:
                send("ready")
            os._exit(_serve(send, current))
        is_first = False
        status = os.waitpid(child, 0)[1]
        if status == 0:
            return
        if number := int.from_bytes(current[:], "little"):
            send([number, None])
        current[:] = bytes(8)


def _serve(send: Callable[[Any], None], current: Any) -> int:
    """Answer requests and return the exit status, which is 0 after the last request."""
    can_time_out = hasattr(signal, "setitimer")
    if can_time_out:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the default action ends the process in any code
    for _ in range(_REQUESTS_PER_CHILD):
        line = sys.stdin.buffer.readline()
        if not line:
            return 0
        number, question, gold, answer = json.loads(line)
        current[:] = number.to_bytes(8, "little")
        if can_time_out:
            signal.setitimer(signal.ITIMER_REAL, TIME_LIMIT)
        try:
            value = QUESTIONS[question](gold, answer)
        except Exception:  # this includes RecursionError and MemoryError
            value = None
        if can_time_out:
            signal.setitimer(signal.ITIMER_REAL, 0)
        send([number, value])
        current[:] = bytes(8)
    return _REPLACE_ME


def _is_right(gold: str, answer: str) -> bool:
    from .comparison.judge import is_right

    return is_right(gold, answer)


def _judge(gold: str, answer: str) -> dict[str, Any]:
    from .comparison.judge import judge

    return judge(gold, answer)._asdict()


def _explain_unreadable(gold: str, answer: str) -> str:
    from .comparison.judge import explain_unreadable

    return explain_unreadable(gold) or ""


# What a request may ask. A reply of null says that there was no time or memory, or an error.
QUESTIONS: dict[str, Callable[[str, str], Any]] = {
    "is_right": _is_right,
    "judge": _judge,
    "explain_unreadable": _explain_unreadable,
}


if __name__ == "__main__":
    main()
