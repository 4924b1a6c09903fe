"""Mistakes of a user: one sentence, exit code 2, no traceback."""

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any


class UserError(ValueError):
    """
    A mistake of the user: a wrong flag, file or value.

    The message is one sentence. It says what is wrong and where, and how to correct it. [`exit_on_user_error`] prints it.

    Example:
    ```python
    >>> from trl_forking.run.user_errors import UserError

    >>> raise UserError("train.yaml: model_name_or_path is missing: give a model of the Hub or a folder.")
    Traceback (most recent call last):
        ...
    trl_forking.run.user_errors.UserError: train.yaml: model_name_or_path is missing: give a model of the Hub or a folder.
    ```
    """


@contextmanager
def exit_on_user_error(
    debug: bool = False, errors: tuple[type[Exception], ...] = (ValueError, ImportError, OSError)
) -> Iterator[None]:
    """
    End the program with exit code 2 and a short message if the body raises an error that a user can correct.

    The default errors are for the set-up: arguments, files, construction of the trainer. In the training loop, an error
    of the same type is more likely a fault of the program, so name fewer errors there.

    Args:
        debug (`bool`, *optional*, defaults to `False`):
            Whether to print the traceback as well.
        errors (`tuple[type[Exception], ...]`, *optional*, defaults to `(ValueError, ImportError, OSError)`):
            Errors that a user can correct: [`UserError`] and any other `ValueError`, a missing dependency, a missing file
            or model of the Hub.

    Raises:
        SystemExit: with code 2, in place of such an error.

    Example:
    ```python
    >>> from trl_forking.run.user_errors import UserError, exit_on_user_error

    >>> with exit_on_user_error():
    ...     raise UserError("train.yaml does not exist.")  # prints "error: train.yaml does not exist."
    Traceback (most recent call last):
        ...
    SystemExit: 2
    ```
    """
    try:
        yield
    except BrokenPipeError:
        raise  # nobody reads the output any more: `exit_on_closed_pipe` ends the program quietly
    except errors as error:
        if debug:
            traceback.print_exc()
        else:
            # Messages of other libraries may have many lines. Only this place joins them.
            print(f"error: {' '.join(str(error).split())}\n(--debug shows the traceback)", file=sys.stderr)
        sys.exit(2)


def check_at_least(least: int, arguments: Any, *names: str) -> None:
    """
    Check that numbers are not too low.

    Args:
        least (`int`):
            Lowest allowed value.
        arguments (`Any`):
            Object with the fields.
        *names (`str`):
            Names of the fields. A field that is `None` was not set, and passes.

    Raises:
        `ValueError`: if a value is lower.

    Example:
    ```python
    >>> from types import SimpleNamespace
    >>> from trl_forking.run.user_errors import check_at_least

    >>> check_at_least(1, SimpleNamespace(num_prompts=0), "num_prompts")
    Traceback (most recent call last):
        ...
    ValueError: num_prompts must be at least 1, but it is 0.
    ```
    """
    for name in names:
        value = getattr(arguments, name)
        if value is not None and value < least:
            raise ValueError(f"{name} must be at least {least}, but it is {value}.")


def require(package: str, install: str) -> None:
    """
    Check that an optional dependency is installed, without importing it.

    Args:
        package (`str`):
            Name of the package in an import.
        install (`str`):
            The argument of `pip install` that installs it.

    Raises:
        [`UserError`]: if it is missing; the message has the command that installs it.

    Example:
    ```python
    >>> from trl_forking.run.user_errors import require

    >>> require("no_such_package", "trl-forking[math]")
    Traceback (most recent call last):
        ...
    trl_forking.run.user_errors.UserError: no_such_package is not installed: pip install 'trl-forking[math]'
    ```
    """
    if find_spec(package) is None:
        quoted = f"'{install}'" if "[" in install else install  # or some shells look for files of that name
        raise UserError(f"{package} is not installed: pip install {quoted}")
