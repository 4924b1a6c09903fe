"""The command line: `trl-forking COMMAND`."""

import json
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any

from rich.console import Console

from .. import __version__
from ..run.user_errors import UserError, exit_on_user_error
from .arguments import ForkingParser


_COMMANDS = {
    "demo": "train the built-in task on the CPU in about two minutes and show its forks",
    "grpo": "train a real model from a recipe or a YAML file, on one GPU or many",
    "analyze": "show the forks of a model on any prompts: a page, plots and tables",
    "compare": "show how far the forks moved in training: a base model and its checkpoints",
    "card": "make the model card of a finished run again, from the files in its folder",
}


def main(args: list[str] | None = None) -> None:
    """
    Run a command.

    Args:
        args (`list[str]`, *optional*, defaults to `sys.argv[1:]`):
            Command and flags.

    Raises:
        `SystemExit`: with code 2 and one sentence if a flag or a value is wrong.

    Example:
    ```python
    >>> main(["--version"])
    trl-forking 0.1.0
    ```
    """
    args = sys.argv[1:] if args is None else list(args)
    command, flags = (args[0], args[1:]) if args else ("--help", [])
    if command in ("-h", "--help"):
        print(_format_help())
    elif command == "--version":
        print(f"trl-forking {__version__}")
    elif command == "demo":
        _run_demo(flags)
    elif command == "grpo":
        from .grpo import run_grpo

        run_grpo(flags)
    elif command == "analyze":
        from .analyze import run_analyze

        _quiet_upstream()
        run_analyze(flags)
    elif command == "compare":
        from .compare import run_compare

        _quiet_upstream()
        run_compare(flags)
    elif command == "card":
        from .card import run_card

        run_card(flags)
    else:
        with exit_on_user_error():
            raise UserError(f"unknown command {command!r}; the commands are: {', '.join(_COMMANDS)}.")


def _format_help() -> str:
    commands = "\n".join(f"  {name:8s} {purpose}" for name, purpose in _COMMANDS.items())
    return f"usage: trl-forking COMMAND [--help] ...\n\n{commands}"


def _run_demo(flags: list[str]) -> None:
    from .demo import DemoArguments, prepare_demo, run_demo

    # TRL refuses several GPUs in one process, and so small a model needs one at most.
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")
    parser = ForkingParser(DemoArguments, prog="trl-forking demo")
    (arguments,) = parser.parse_args_and_config(flags)
    _quiet_upstream()
    with exit_on_user_error(parser.debug):
        _check_writable(arguments.json)
        run = prepare_demo(arguments)
    try:
        results = run_demo(run, Console())
    except KeyboardInterrupt:  # before the first step, or a second time: training ends after a step by itself
        print(
            f"\nInterrupted. What was saved is in {run.folder}; trl-forking demo --resume takes it up.",
            file=sys.stderr,
        )
        sys.exit(130)
    _write_json(arguments.json, results)


def _quiet_upstream() -> None:
    """Leave the terminal to the command: what upstream warns of is none of its user's business."""
    import datasets
    import torch
    import transformers

    warnings.filterwarnings("ignore")
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if not torch.accelerator.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # or DeepSpeed, where it is installed, warns that it chose it
    for name in ("transformers", "accelerate", "datasets"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _check_writable(path: str | None) -> None:
    if path is not None and not Path(path).absolute().parent.is_dir():
        raise UserError(f"--json {path}: the folder {Path(path).absolute().parent} does not exist; make it first.")


def _write_json(path: str | None, results: dict[str, Any]) -> None:
    if path is not None:
        Path(path).write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
