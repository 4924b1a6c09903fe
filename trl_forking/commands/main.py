"""The command line: `trl-forking COMMAND`."""

import difflib
import importlib
import os
import shutil
import socket
import sys
import textwrap
from typing import NamedTuple

from .. import __version__
from ..run.interruption import describe_command, exit_on_closed_pipe, exit_on_interruption
from ..run.user_errors import UserError, exit_on_user_error


_WIDEST = 120


class Command(NamedTuple):
    """
    A command: what it is for, and its entry function, which takes the list of flags.

    The module is imported only when the command runs. Importing TRL takes seconds, and neither the help nor the answer
    to a mistyped name should take so long.
    """

    purpose: str
    module: str
    function: str
    goes_on: bool = False  # whether the same command goes on after an interruption


COMMANDS = {
    "demo": Command(
        "train the built-in task on the CPU in about 3 minutes and show its forks", ".demo.command", "run_demo"
    ),
    "grpo": Command("train a real model from a recipe or a YAML file, on one GPU or many", ".grpo", "run_grpo"),
    "analyze": Command(
        "show the forks of a model on any prompts: a page, plots and tables", ".analyze", "run_analyze", goes_on=True
    ),
    "compare": Command(
        "show how far the forks moved in training: a base model and its checkpoints",
        ".compare",
        "run_compare",
        goes_on=True,
    ),
    "evaluate": Command(
        "measure how many answers of a model are right: AIME, AMC, MATH-500, your own file",
        ".evaluate",
        "run_evaluate",
        goes_on=True,
    ),
    "compare-runs": Command(
        "tell whether a run is better than another: paired differences with intervals, settings, curves",
        ".compare_runs",
        "run_compare_runs",
    ),
    "card": Command("make the model card of a finished run again, from the files in its folder", ".card", "run_card"),
    "verdict": Command(
        "say whether a run learned, and what stands in its way: this library's runs and TRL's",
        ".verdict",
        "run_verdict",
    ),
    "rules": Command(
        "list the rules that choose and weight tokens: what each selects, its paper and its cost",
        ".rules",
        "run_rules",
    ),
    "doctor": Command(
        "say before a run what it will do, what it needs, and what stands in its way", ".doctor", "run_doctor"
    ),
    "env": Command("print versions, devices and what is missing, for a bug report", ".env", "run_env"),
    "verify": Command("say whether the reward takes an answer for right, and why", ".verify", "run_verify"),
}


def main(args: list[str] | None = None) -> None:
    """
    Run a command.

    Args:
        args (`list[str]`, *optional*, defaults to `sys.argv[1:]`):
            Command and flags.

    Raises:
        `SystemExit`: with code 2 and one sentence if the command, a flag or a value is wrong; with code 130 or 143, and
            the command that goes on, after a signal; with code 141 if nobody reads the output any more.

    Example:
    ```python
    >>> from trl_forking.commands.main import main
    >>> main(["--version"])
    trl-forking 0.1.0
    ```
    """
    args = sys.argv[1:] if args is None else list(args)
    name, flags = (args[0], args[1:]) if args else ("--help", [])
    with exit_on_closed_pipe(), exit_on_interruption(lambda: _describe_interruption(name, flags)):
        _run(name, flags)


def _run(name: str, flags: list[str]) -> None:
    if name in ("-h", "--help"):
        print(_format_help())
    elif name == "--version":
        print(f"trl-forking {__version__}")
    else:
        with exit_on_user_error("--debug" in flags):
            command = _find_command(name)
        _note_missing_network()
        module = importlib.import_module(command.module, __package__)
        getattr(module, command.function)(flags)


def _note_missing_network() -> None:
    """
    Keep the client of the Hub from trying again and again for a minute, where the name of the Hub has no address at all.

    It reads this variable when it is imported. Behind a proxy, or with another Hub, the name says nothing.
    """
    asked = ("HF_HUB_OFFLINE", "HF_ENDPOINT", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
    if any(name in os.environ for name in asked):
        return
    try:
        socket.getaddrinfo("huggingface.co", 443)
    except OSError:
        os.environ["HF_HUB_OFFLINE"] = "1"


def _describe_interruption(name: str, flags: list[str]) -> str:
    if name not in COMMANDS:
        return "Interrupted."
    if not COMMANDS[name].goes_on:
        return f"Interrupted. This starts again:\n{describe_command(name, flags)}"
    # Without the flag that would delete what is finished.
    command = describe_command(name, flags, without=["overwrite"])
    return f"Interrupted. Finished answers are kept, and this command goes on from them:\n{command}"


def _find_command(name: str) -> Command:
    if name in COMMANDS:
        return COMMANDS[name]
    close = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f"did you mean {close[0]}?" if close else f"the commands are {', '.join(COMMANDS)}."
    raise UserError(f"unknown command {name!r}; {hint}")


def _format_help() -> str:
    width = min(max(shutil.get_terminal_size((_WIDEST, 24)).columns, 40), _WIDEST)
    lines = [f"  {name:12s} {command.purpose}" for name, command in COMMANDS.items()]
    indent = " " * (15 if width >= 80 else 4)
    commands = "\n".join(textwrap.fill(line, width, subsequent_indent=indent) for line in lines)
    return f"usage: trl-forking COMMAND [--help] ...\n\n{commands}"


if __name__ == "__main__":
    main()
