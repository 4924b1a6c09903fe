"""The entry of `trl-forking demo`: reads and checks the flags, and writes the figures where `--json` says."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ...run.checkpoints import find_last_complete
from ...run.interruption import exit_on_interruption
from ...run.user_errors import UserError, exit_on_user_error
from ...writing.files import write_atomically
from ..arguments import ForkingParser
from ..quiet import quiet_libraries
from .arguments import GROUPS, DemoArguments, check_demo, format_resume


if TYPE_CHECKING:
    from .preparation import DemoRun


def run_demo(flags: list[str]) -> None:
    """
    Run `trl-forking demo`.

    Args:
        flags (`list[str]`):
            Fields of [`DemoArguments`] as flags.

    Raises:
        `SystemExit`: with code 2 and one sentence if a flag or a value is wrong; with code 130 or 143 after a signal, and the
            command that goes on.

    Example:
    ```python
    >>> from trl_forking.commands.demo.command import run_demo
    >>> run_demo(["--max_steps", "0"])
    Traceback (most recent call last):
        ...
    SystemExit: 2
    ```
    """
    # TRL refuses several GPUs in one process, and a model of this size needs one at most.
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")
    parser = ForkingParser(
        DemoArguments,
        prog="trl-forking demo",
        description="Train the built-in task on the CPU in about 3 minutes, and show its forks.",
        groups=GROUPS,
    )
    (arguments,) = parser.parse_args_and_config(flags)
    with exit_on_user_error(parser.debug), parser.naming_places():
        _check_writable(arguments.json)
        check_demo(arguments)
    quiet_libraries()
    from rich.console import Console

    from .preparation import prepare_demo
    from .run import train_and_evaluate

    with exit_on_user_error(parser.debug), parser.naming_places():
        run = prepare_demo(arguments)
    # The first signal during training does not get there: the run ends after its step, and saves a checkpoint.
    with exit_on_interruption(lambda: _describe_way_on(run)):
        results = train_and_evaluate(run, Console())
    if arguments.json is not None:
        write_atomically(Path(arguments.json), json.dumps(results, indent=2))
    if "signal" in results:
        sys.exit(128 + results["signal"])


def _describe_way_on(run: "DemoRun") -> str:
    if find_last_complete(str(run.folder)) is None:
        return f"Interrupted. {run.folder} has no checkpoint yet; start again with: trl-forking demo"
    return f"Interrupted. What was saved is in {run.folder}; go on with: {format_resume(run.folder)}"


def _check_writable(path: str | None) -> None:
    if path is not None and not Path(path).absolute().parent.is_dir():
        raise UserError(f"--json {path}: the folder {Path(path).absolute().parent} does not exist; make it first.")
