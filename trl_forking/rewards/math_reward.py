"""The paper's verifier: 1 or 0 for the last boxed answer. math-verify judges it in a separate process."""

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
from typing import Any

from . import math_worker


# Seconds. The worker stops a comparison after math_worker.TIME_LIMIT. If it cannot, this process kills the worker.
_REPLY_LIMIT = 0.8
_START_LIMIT = 120.0

# Late replies in a row that the worker may send. With fork the worker stops every comparison itself, so a single late
# reply means only that the machine is busy.
_MAX_LATE = 1 if hasattr(os, "fork") else 0

# Number of characters at the end of a text that are searched for the box. The search takes up to 50 ms.
_MAX_TEXT = 250_000

# math-verify cannot judge longer or deeper answers in time. A pair of brackets inside another costs about 50 ms.
_MAX_LENGTH = 1000
_MAX_DEPTH = 20

_START_ERROR = "The process that runs math-verify could not be started: {}."

_BRACE = re.compile(r"\\{1,2}boxed\s*+\{|\\.|[{}]", re.DOTALL)


def extract_boxed(text: str) -> str | None:
    r"""
    Return the content of the last complete `\boxed{...}` of a text, in time linear in its length.

    Args:
        text (`str`):
            Answer of a model, of any length and content.

    Returns:
        `str` or `None`:
            The text between the braces. `None` if there is no box, or if no box is closed.

    Example:
    ```python
    >>> extract_boxed(r"Perhaps \boxed{1}. No: \boxed{\frac{1}{2}}, for \boxed{ never ends.")
    '\\frac{1}{2}'
    ```
    """
    opened: list[int | None] = []  # where the content of each open box begins; None for other braces
    start, end = -1, -1
    for match in _BRACE.finditer(text):
        token = match.group()
        if token == "{":
            opened.append(None)
        elif token == "}":
            content_start = opened.pop() if opened else None
            if content_start is not None and content_start > start:
                start, end = content_start, match.start()
        elif len(token) > 2:
            opened.append(match.end())
    return text[start:end] if start >= 0 else None


def verify_math(answer: str, solution: str) -> float | None:
    r"""
    Compare the last boxed answer of a text with the gold answer. It takes at most a second for any text.

    The first call takes about two seconds more, because it starts the process in which math-verify runs.

    Args:
        answer (`str`):
            Answer of a model, with its reasoning. It is wrong if its last 250,000 characters have no complete
            `\boxed{...}`. It is also wrong if the box has more than 1,000 characters or more than 20 nested brackets,
            or if math-verify does not finish in time.
        solution (`str`):
            Gold answer. It may be plain, as in `42` or `\frac{1}{2}`, between dollar signs, in a `\boxed{...}` (also
            at the end of a whole solution), or after the last `####`, as in GSM8K.

    Returns:
        `float` or `None`:
            1.0 if they are equal, 0.0 if not, `None` if the gold answer cannot be read.

    Raises:
        `ImportError`: if math-verify is not installed.
        `RuntimeError`: if its process cannot be started.

    Example:
    ```python
    >>> verify_math(r"Half of it, so \boxed{\frac{1}{2}}.", "0.5")
    1.0
    >>> verify_math(r"All of it, so \boxed{1}.", "0.5")
    0.0
    >>> verify_math(r"\boxed{1}", "") is None
    True
    ```
    """
    gold = _clean(_find_gold(solution))
    if not _is_within_limits(gold) or not _is_readable(gold):
        return None
    boxed = _clean(extract_boxed(answer[-_MAX_TEXT:]) or "")
    if not _is_within_limits(boxed):
        return 0.0
    return float(boxed == gold or _ask(gold, boxed))


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
    return [verify_math(_read_text(answer), gold) for answer, gold in zip(completions, solution, strict=True)]


def _read_text(completion: Any) -> str:
    if isinstance(completion, str):
        return completion
    messages = [message for message in completion or () if message.get("role", "assistant") == "assistant"]
    content = messages[-1].get("content") if messages else None
    if isinstance(content, list):
        return "".join(block.get("text") or "" for block in content)
    return content or ""


def _find_gold(solution: str | None) -> str:
    text = "" if solution is None else str(solution)  # a dataset may contain numbers
    boxed = extract_boxed(text)
    return text.rpartition("####")[2] if boxed is None else boxed


def _clean(text: str) -> str:
    return re.sub(r"(?<!\.)\.$", "", text.strip()).strip()  # remove the full stop of a sentence


def _is_within_limits(text: str) -> bool:
    if not 0 < len(text) <= _MAX_LENGTH:
        return False
    depth = deepest = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        depth = max(depth, 0)
        deepest = max(deepest, depth)
    return deepest <= _MAX_DEPTH


class _Worker:
    """The process that runs `math_worker`. It takes one request at a time."""

    def __init__(self) -> None:
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-P", math_worker.__file__],
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

    def ask(self, gold: str, answer: str | None) -> bool | None:
        """Return the reply. Return False if it is late, and `None` if the process is lost."""
        self._number += 1
        request = json.dumps([self._number, gold, answer]).encode() + b"\n"
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
            return False if self._num_late <= _MAX_LATE else None
        except OSError:
            pass
        return None

    def kill(self) -> None:
        try:
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, signal.SIGKILL)  # this also kills the child that compares
            else:
                self.process.kill()
        except OSError:  # the process has ended already
            pass


def _read_replies(process: subprocess.Popen, replies: queue.SimpleQueue) -> None:
    for line in iter(process.stdout.readline, b""):  # type: ignore[union-attr]
        _, mark, message = line.partition(math_worker.MARK)
        if mark:
            replies.put(json.loads(message))
    process.wait()
    replies.put(None)


_lock = threading.Lock()
_worker: _Worker | None = None


def _ask(gold: str, answer: str | None) -> bool:
    global _worker
    with _lock:
        _worker = _worker or _Worker()
        try:
            _worker.wait_until_ready()
        except (ImportError, RuntimeError):
            _worker = None
            raise
        reply = _worker.ask(gold, answer)
        if reply is None:
            _worker.kill()
            _worker = _Worker()  # starts while training goes on
        return bool(reply)


@functools.lru_cache(maxsize=16384)
def _is_readable(gold: str) -> bool:
    return _ask(gold, None) or _ask(gold, None)  # ask twice: the worker may have been killed from outside


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
