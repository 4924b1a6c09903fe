"""The process that compares answers with math-verify. No answer can stop, hang or fill up the training process."""

# The process is started by path, because importing the package would load torch and TRL. So this file must not import
# anything of this package.

import functools
import json
import logging
import mmap
import os
import re
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

    A request is `[number, gold, answer]`, and its reply is `[number, equal]`. If `answer` is null, the reply says
    whether the gold answer can be read. The first message is `"ready"`. If the process cannot start, the first message
    is `{"error": ..., "missing": ...}`, and the process ends.

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
    if not (_compare("0.5", r"\frac{1}{2}") and not _compare("0.5", r"\frac{1}{3}")):
        raise RuntimeError("math-verify does not tell 1/2 from 1/3")
    for answer in _TYPICAL_ANSWERS:
        _compare(answer, answer + "+1")


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
            send([number, False])
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
        number, gold, answer = json.loads(line)
        current[:] = number.to_bytes(8, "little")
        if can_time_out:
            signal.setitimer(signal.ITIMER_REAL, TIME_LIMIT)
        try:
            is_equal = bool(_parse_gold(gold)) if answer is None else _compare(gold, answer)
        except Exception:  # this includes RecursionError and MemoryError
            is_equal = False
        if can_time_out:
            signal.setitimer(signal.ITIMER_REAL, 0)
        send([number, is_equal])
        current[:] = bytes(8)
    return _REPLACE_ME


def _compare(gold: str, answer: str) -> bool:
    from math_verify import verify

    # No time-out here, because math-verify's own would cancel ours.
    return bool(verify(_parse_gold(gold), _parse_boxed(answer), timeout_seconds=None))


@functools.lru_cache(maxsize=256)
def _parse_gold(gold: str) -> list[Any]:
    from math_verify import parse

    # In a formula without $, math-verify reads only the last number. In a box it does not read a sentence.
    if re.search(r"[A-Za-z]{2,} +[A-Za-z]{2,}", re.sub(r"\\text *\{[^{}]*\}", "", gold)):
        return parse(gold, parsing_timeout=None) or _parse_boxed(gold)
    return _parse_boxed(gold)


def _parse_boxed(answer: str) -> list[Any]:
    from math_verify import LatexExtractionConfig, parse

    # math-verify reads 10{,}000 correctly, but it reads 10\,000 as ten times zero.
    answer = re.sub(r"(?<=\d)\\[,;:!] *(?=\d{3}(?!\d))", "", answer)
    return parse(
        rf"\boxed{{{answer}}}",
        extraction_config=[LatexExtractionConfig(boxed_match_priority=0, try_extract_without_anchor=False)],
        extraction_mode="first_match",
        parsing_timeout=None,
    )


if __name__ == "__main__":
    main()
