"""The command line: `trl-forking COMMAND`."""

import difflib
import importlib
import sys
from typing import NamedTuple

from .. import __version__
from ..run.user_errors import UserError, exit_on_user_error


class Command(NamedTuple):
    """
    A command: what it is for, and its entry function, which takes the list of flags.

    The module is imported only when the command runs. Importing TRL takes seconds, and neither the help nor the answer
    to a mistyped name should take so long.
    """

    purpose: str
    module: str
    function: str


COMMANDS = {
    "demo": Command(
        "train the built-in task on the CPU in about 3 minutes and show its forks", ".demo.command", "run_demo"
    ),
    "grpo": Command("train a real model from a recipe or a YAML file, on one GPU or many", ".grpo", "run_grpo"),
    "analyze": Command(
        "show the forks of a model on any prompts: a page, plots and tables", ".analyze", "run_analyze"
    ),
    "compare": Command(
        "show how far the forks moved in training: a base model and its checkpoints", ".compare", "run_compare"
    ),
    "evaluate": Command(
        "measure how many answers of a model are right: AIME, AMC, MATH-500, your own file",
        ".evaluate",
        "run_evaluate",
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
        `SystemExit`: with code 2 and one sentence if the command, a flag or a value is wrong.

    Example:
    ```python
    >>> from trl_forking.commands.main import main
    >>> main(["--version"])
    trl-forking 0.1.0
    ```
    """
    args = sys.argv[1:] if args is None else list(args)
    name, flags = (args[0], args[1:]) if args else ("--help", [])
    if name in ("-h", "--help"):
        print(_format_help())
    elif name == "--version":
        print(f"trl-forking {__version__}")
    else:
        with exit_on_user_error("--debug" in flags):
            command = _find_command(name)
        module = importlib.import_module(command.module, __package__)
        getattr(module, command.function)(flags)


def _find_command(name: str) -> Command:
    if name in COMMANDS:
        return COMMANDS[name]
    close = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f"did you mean {close[0]}?" if close else f"the commands are {', '.join(COMMANDS)}."
    raise UserError(f"unknown command {name!r}; {hint}")


def _format_help() -> str:
    commands = "\n".join(f"  {name:12s} {command.purpose}" for name, command in COMMANDS.items())
    return f"usage: trl-forking COMMAND [--help] ...\n\n{commands}"


if __name__ == "__main__":
    main()
