"""The paper's verifier: 1 or 0 for the last boxed answer. A separate process compares it with the gold answer."""

import atexit
import functools
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from typing import Any, NamedTuple

from . import math_worker
from .extract import extract_boxed, find_answer, find_gold, read_completion


__all__ = [
    "Explanation",
    "explain_unreadable",
    "explain_verdict",
    "extract_boxed",
    "math_reward",
    "verify_math",
]

# Seconds. The worker stops a comparison after math_worker.TIME_LIMIT. If it cannot, this process kills the worker.
_REPLY_LIMIT = 0.8
_START_LIMIT = 120.0

# Late replies in a row that the worker may send. With fork the worker stops every comparison itself, so a single late
# reply means only that the machine is busy.
_MAX_LATE = 1 if hasattr(os, "fork") else 0

# Number of characters at the end of a text that are searched for the box. The search takes up to 50 ms.
_MAX_TEXT = 250_000

# Longer or deeper answers cannot be judged in time.
_MAX_LENGTH = 1000
_MAX_DEPTH = 20

NO_TIME = "the comparison took too long or too much memory"
"""The reason that [`explain_unreadable`] gives where there is no verdict."""

_START_ERROR = "The process that runs math-verify could not be started: {}."


class Explanation(NamedTuple):
    """
    A verdict with its reasons.

    Args:
        reward (`float`, *optional*):
            1.0 or 0.0. `None` if the gold answer cannot be read.
        rule (`str`):
            The rule that decided.
        gold (`str`):
            What was read as the gold answer.
        answer (`str`):
            What was read as the answer.
    """

    reward: float | None
    rule: str
    gold: str
    answer: str


def verify_math(answer: str, solution: str) -> float | None:
    r"""
    Compare the last boxed answer of a text with the gold answer. It takes at most a second for any text.

    The first call takes about two seconds more, because it starts the process that compares. A box between `<think>` and
    `</think>`, or in a think block that is never closed, is no answer.

    Args:
        answer (`str`):
            Answer of a model, with its reasoning. It is wrong if its last 250,000 characters have no complete
            `\boxed{...}`. It is also wrong if the box has more than 1,000 characters or more than 20 nested brackets,
            or if the comparison does not finish in time.
        solution (`str`):
            Gold answer. It may be plain, as in `42` or `\frac{1}{2}`, between dollar signs, in a `\boxed{...}` (also
            at the end of a whole solution), after the last `####`, as in GSM8K, or after "the answer is".

    Returns:
        `float` or `None`:
            1.0 if they are equal, 0.0 if not, `None` if the gold answer cannot be read.

    Raises:
        `ImportError`: if math-verify is not installed.
        `RuntimeError`: if the process cannot be started.

    Example:
    ```python
    >>> from trl_forking.rewards.math_reward import verify_math
    >>> verify_math(r"Half of it, so \boxed{\frac{1}{2}}.", "0.5")
    1.0
    >>> verify_math(r"All of it, so \boxed{1}.", "0.5")
    0.0
    >>> verify_math(r"\boxed{1}", "") is None
    True
    ```
    """
    gold = _clean(find_gold(solution))
    if explain_unreadable(gold) is not None:
        return None
    boxed = _clean(find_answer(answer, _MAX_TEXT) or "")
    if not _is_within_limits(boxed):
        return 0.0
    return float(boxed == gold or _ask(gold, boxed))


def explain_verdict(answer: str, solution: str, is_bare: bool = False) -> Explanation:
    r"""
    Verify an answer and say why it is right or wrong.

    Args:
        answer (`str`):
            Answer of a model, as [`verify_math`] takes it.
        solution (`str`):
            Gold answer, as [`verify_math`] takes it.
        is_bare (`bool`, *optional*, defaults to `False`):
            Whether the answer is the content of a box.

    Returns:
        [`Explanation`]: the reward, the rule that decided, and what was read on each side.

    Raises:
        `ImportError`: if math-verify is not installed.
        `RuntimeError`: if the process cannot be started.

    Example:
    ```python
    >>> from trl_forking.rewards.math_reward import explain_verdict
    >>> explain_verdict(r"It is \boxed{5 \text{ million}}.", "5")
    Explanation(reward=0.0, rule='the values differ', gold='a number: 5', answer='a number: 5000000')
    ```
    """
    gold = _clean(find_gold(solution))
    reason = explain_unreadable(solution)
    if reason is not None:
        return Explanation(None, f"the gold answer cannot be read: {reason}", gold, "nothing")
    found = answer if is_bare else find_answer(answer, _MAX_TEXT)
    boxed = _clean(found or "")
    if not _is_within_limits(boxed):
        rule = "there is no box outside of a think block" if found is None else f"the answer {_explain_limits(boxed)}"
        return Explanation(0.0, rule, gold, "nothing")
    verdict = _request("judge", gold, boxed)
    if verdict is None:
        return Explanation(0.0, NO_TIME, gold, boxed)
    return Explanation(float(verdict["is_right"]), verdict["rule"], verdict["gold"], verdict["answer"])


def explain_unreadable(solution: Any) -> str | None:
    r"""
    Say why a gold answer cannot be read, so that a data set can be checked before training.

    Args:
        solution (`Any`):
            Gold answer, as [`verify_math`] takes it.

    Returns:
        `str` or `None`: the reason, `None` if the gold answer can be read.

    Raises:
        `ImportError`: if math-verify is not installed.
        `RuntimeError`: if the process cannot be started.

    Example:
    ```python
    >>> from trl_forking.rewards.math_reward import explain_unreadable
    >>> explain_unreadable("42") is None
    True
    >>> explain_unreadable(None), explain_unreadable(r"\frac{1}{")
    ('it is empty', 'a bracket is not closed')
    ```
    """
    gold = _clean(find_gold(solution))
    if not _is_within_limits(gold):
        return f"it {_explain_limits(gold)}"
    try:
        return _explain_gold(gold) or None
    except TimeoutError:
        return NO_TIME


def math_reward(completions: list[Any], solution: list[str], **kwargs: Any) -> list[float | None]:
    r"""
    Reward function of the paper: 1.0 if the last boxed answer is right, otherwise 0.0. See [`verify_math`].

    Args:
        completions (`list[str]` or `list[list[dict]]`):
            Answers, as texts or as messages. Of messages, the last one of the assistant counts.
        solution (`list[str]`):
            Gold answers: the column `solution` of the dataset.
        **kwargs:
            Other columns. TRL passes them to every reward function.

    Returns:
        `list[float | None]`:
            One reward per answer. It is `None` if the gold answer cannot be read; TRL leaves such rewards out.

    Raises:
        `ImportError`: if math-verify is not installed.
        `RuntimeError`: if its process cannot be started.

    Example:
    ```python
    >>> chat = [{"role": "assistant", "content": r"The answer is \boxed{2}."}]
    >>> math_reward([chat, chat], ["2", "3"])
    [1.0, 0.0]
    ```
    """
    return [verify_math(read_completion(answer), gold) for answer, gold in zip(completions, solution, strict=True)]


def _clean(text: str) -> str:
    return re.sub(r"(?<!\.)\.$", "", text.strip()).strip()  # remove the full stop of a sentence


def _is_within_limits(text: str) -> bool:
    return not _explain_limits(text)


def _explain_limits(text: str) -> str:
    if not text:
        return "is empty"
    if len(text) > _MAX_LENGTH:
        return f"has {len(text):,} characters, more than {_MAX_LENGTH:,}"
    depth = deepest = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        depth = max(depth, 0)
        deepest = max(deepest, depth)
    return f"has {deepest} nested brackets, more than {_MAX_DEPTH}" if deepest > _MAX_DEPTH else ""


_LOST = object()


class _Worker:
    """The process that runs `math_worker`. It takes one request at a time."""

    def __init__(self) -> None:
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", math_worker.__name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,  # a fork could copy a buffer's lock while another thread holds it
                env=os.environ
                | {"PYTHONPATH": os.pathsep.join(map(str, sys.path))},  # the worker finds the same packages
                start_new_session=True,  # Ctrl-C then reaches only the trainer
            )
        except OSError as error:
            raise RuntimeError(_START_ERROR.format(error)) from error
        self._replies: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._is_ready = False
        self._number = 0
        self._num_late = 0
        threading.Thread(target=_read_replies, args=(self.process, self._replies), daemon=True).start()

    def wait_until_ready(self) -> None:
        if self._is_ready:
            return
        try:
            reply = self._replies.get(timeout=_START_LIMIT)
        except queue.Empty:
            reply = {"error": f"it was not ready after {_START_LIMIT:.0f} seconds"}
        if reply == "ready":
            self._is_ready = True
            return
        self.kill()
        if reply is None:
            reply = {"error": f"it ended with exit status {self.process.wait()}"}
        if reply.get("missing") == "math_verify":
            raise ImportError("math_verify is not installed: pip install 'trl-forking[math]'", name="math_verify")
        raise RuntimeError(_START_ERROR.format(reply["error"]))

    def ask(self, question: str, gold: str, answer: str) -> Any:
        """Return the reply. Return `None` if it is late or says that there was no time, and `_LOST` without a process."""
        self._number += 1
        request = json.dumps([self._number, question, gold, answer]).encode() + b"\n"
        deadline = time.monotonic() + _REPLY_LIMIT
        try:
            # A request is smaller than a pipe's buffer, so a worker that does not read cannot block this process.
            self.process.stdin.write(request)  # type: ignore[union-attr]
            while (reply := self._replies.get(timeout=max(0.0, deadline - time.monotonic()))) is not None:
                if reply[0] == self._number:  # skip late replies to earlier requests
                    self._num_late = 0
                    return reply[1]
        except queue.Empty:
            self._num_late += 1
            return None if self._num_late <= _MAX_LATE else _LOST
        except OSError:
            pass
        return _LOST

    def kill(self) -> None:
        try:
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, signal.SIGKILL)  # this also kills the child that compares
            else:
                self.process.kill()
        except OSError:  # the process has ended already
            pass


def _read_replies(process: subprocess.Popen[bytes], replies: queue.SimpleQueue[Any]) -> None:
    for line in iter(process.stdout.readline, b""):  # type: ignore[union-attr]
        _, mark, message = line.partition(math_worker.MARK)
        if mark:
            replies.put(json.loads(message))
    process.wait()
    replies.put(None)


_lock = threading.Lock()
_worker: _Worker | None = None


def _request(question: str, gold: str, answer: str) -> Any:
    """Put one of `math_worker.QUESTIONS`. The reply is `None` if there was no time for one."""
    global _worker
    with _lock:
        _worker = _worker or _Worker()
        try:
            _worker.wait_until_ready()
        except (ImportError, RuntimeError):
            _worker = None
            raise
        reply = _worker.ask(question, gold, answer)
        if reply is _LOST:
            _worker.kill()
            _worker = _Worker()  # starts while training goes on
        return None if reply is _LOST else reply


def _ask(gold: str, answer: str) -> bool:
    return _request("is_right", gold, answer) is True


@functools.lru_cache(maxsize=16384)  # an error is not cached: a machine that stands still for seconds is no verdict
def _explain_gold(gold: str) -> str:
    for _ in range(2):  # the worker may have been killed from outside
        reason: str | None = _request("explain_unreadable", gold, "")
        if reason is not None:
            return reason
    raise TimeoutError(NO_TIME)


def _stop_worker() -> None:
    if _worker is not None:
        _worker.kill()


def _forget_worker() -> None:
    """Leave the worker to the parent process after a fork. The parent may hold the lock, so make a new one."""
    global _lock, _worker
    if _worker is not None:
        _worker.process.stdin.close()  # type: ignore[union-attr]  # or it would not see the parent end
    _lock, _worker = threading.Lock(), None


atexit.register(_stop_worker)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_worker)
