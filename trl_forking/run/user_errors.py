"""What a user has to put right: one sentence, exit code 2, no traceback."""

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any


class UserError(ValueError):
    """
    Something the user has to put right: a flag, a file, a value.

    Its message is one sentence that says what is wrong, where, and the remedy. [`exit_on_user_error`] prints it.

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
    End the program with exit code 2 and a short message where its body raises what a user can put right.

    As it stands it is meant for set-up (arguments, files, construction of the trainer), not for the training loop: there,
    an error of the same type is more likely a fault of the program.

    Args:
        debug (`bool`, *optional*, defaults to `False`):
            Whether to print the traceback as well.
        errors (`tuple[type[Exception], ...]`, *optional*, defaults to `(ValueError, ImportError, OSError)`):
            What a user can put right: [`UserError`] and any other `ValueError`, an optional dependency, a file or a model
            of the Hub.

    Raises:
        SystemExit: with code 2 in their place.

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
    except errors as error:
        if debug:
            traceback.print_exc()
        else:
            # Messages from below us may have many lines; this is the one place that makes them one.
            print(f"error: {' '.join(str(error).split())}\n(--debug shows the traceback)", file=sys.stderr)
        sys.exit(2)


def check_at_least(least: int, arguments: Any, *names: str) -> None:
    """
    Check fields from below.

    Args:
        least (`int`):
            Lowest value that is right.
        arguments (`Any`):
            Object with the fields.
        *names (`str`):
            Their names; one that is `None` was not set, and is right.

    Raises:
        `ValueError`: if one is lower.

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
    Check that an optional dependency is there, without importing it.

    Args:
        package (`str`):
            Name that it is imported by.
        install (`str`):
            What `pip install` takes to bring it.

    Raises:
        [`UserError`]: if it is missing; the message has the command that installs it.

    Example:
    ```python
    >>> from trl_forking.run.user_errors import require

    >>> require("no_such_package", "trl-forking[math]")
    Traceback (most recent call last):
        ...
    trl_forking.run.user_errors.UserError: no_such_package is not installed: pip install trl-forking[math]
    ```
    """
    if find_spec(package) is None:
        raise UserError(f"{package} is not installed: pip install {install}")
