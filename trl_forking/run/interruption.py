"""What a long command says when it is interrupted: what is kept and how to go on, with the exit code that shells expect."""

import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interrupted(BaseException):
    """
    The process got SIGINT (Ctrl-C) or SIGTERM (`kill`, Slurm, a closed container).

    Args:
        number (`int`):
            Number of the signal.
    """

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


class _Handler:
    """Raises [`Interrupted`] at the first signal, and ends the process at the second one."""

    def __init__(self) -> None:
        self.received: int | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            os._exit(128 + number)
        self.received = number
        raise Interrupted(number)


@contextmanager
def exit_on_interruption(
    describe: Callable[[], str] = lambda: "Interrupted.", is_quiet: bool = False, at_once: bool = False
) -> Iterator[None]:
    """
    End the program with exit code 130 after SIGINT and 143 after SIGTERM, and say how to go on. It can be nested.

    A second signal ends the program without waiting for anything.

    Args:
        describe (`Callable[[], str]`, *optional*):
            Says what is kept and how to go on. It is called after the interruption, and printed on standard error.
        is_quiet (`bool`, *optional*, defaults to `False`):
            Whether to print nothing, because another process does.
        at_once (`bool`, *optional*, defaults to `False`):
            Whether to leave without the clean-up of Python, which can wait for other processes of the run.

    Raises:
        `SystemExit`: with that code, if a signal ended the body.

    Example:
    ```python
    >>> import os, signal
    >>> from trl_forking.run.interruption import exit_on_interruption
    >>> with exit_on_interruption(lambda: "Interrupted. The same command goes on."):
    ...     os.kill(os.getpid(), signal.SIGTERM)
    Traceback (most recent call last):
        ...
    SystemExit: 143
    ```
    """
    handler = _Handler()
    with _handled(handler):
        try:
            yield
        except BaseException:
            # Whatever the body makes of the signal: an import that it breaks off in C is an ImportError.
            if handler.received is None:
                raise
        if handler.received is None:
            return
        if not is_quiet:
            print(f"\n{describe()}", file=sys.stderr, flush=True)
    code = 128 + handler.received
    if at_once:
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)


@contextmanager
def _handled(handler: _Handler) -> Iterator[None]:
    """Let a handler take both signals, unless the program that called this has handlers of its own."""
    replaced: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number, default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
            current = signal.getsignal(number)
            if current is default or isinstance(current, _Handler):
                replaced[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for replaced_number, former in replaced.items():
            signal.signal(replaced_number, former)


def describe_command(name: str, flags: Iterable[str], without: Iterable[str] = (), added: Iterable[str] = ()) -> str:
    """
    Write a command as it goes on: with the same flags, without some of them, and with others.

    Args:
        name (`str`):
            Name of the command.
        flags (`Iterable[str]`):
            Its flags.
        without (`Iterable[str]`, *optional*, defaults to `()`):
            Names of flags that are left out with their values.
        added (`Iterable[str]`, *optional*, defaults to `()`):
            Flags at the end.

    Returns:
        `str`: a line for a shell.

    Example:
    ```python
    >>> describe_command("analyze", ["--overwrite", "--prompts", "my file.txt"], without=["overwrite"])
    "trl-forking analyze --prompts 'my file.txt'"
    ```
    """
    names, kept, is_left_out = {word.replace("-", "_") for word in without}, [], False
    for flag in flags:
        if flag.startswith("--"):
            is_left_out = flag.split("=")[0].lstrip("-").replace("-", "_") in names
        if not is_left_out:
            kept.append(flag)
        elif "=" in flag:
            is_left_out = False
    return f"trl-forking {shlex.join([name, *kept, *added])}"


@contextmanager
def exit_on_closed_pipe() -> Iterator[None]:
    """
    End the program quietly, with exit code 141, if nobody reads its output any more, as after `| head`.

    Raises:
        `SystemExit`: with that code.

    Example:
    ```python
    >>> from trl_forking.run.interruption import exit_on_closed_pipe
    >>> with exit_on_closed_pipe():
    ...     print("done")
    done
    ```
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # What is still in the buffer would raise the error again when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)  # 128 and the number of SIGPIPE
