"""The entry of `trl-forking demo`: reads the flags, trains the built-in task, and shows and writes the figures."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from ...countdown import evaluate_countdown, load_countdown_model, make_countdown_dataset
from ...run.user_errors import UserError, exit_on_user_error
from ...writing.files import write_atomically
from ..arguments import ForkingParser
from ..quiet import quiet_libraries
from .plot import plot_demo
from .preparation import GROUPS, RESULTS_FILE, DemoArguments, DemoRun, prepare_demo
from .results import (
    collect_results,
    compute_fork_agreement,
    print_accuracy,
    print_results,
    print_start,
    read_completions,
)
from .training import train_with_figures


NUM_EVAL_PROBLEMS = 512


def run_demo(flags: list[str]) -> None:
    """
    Run `trl-forking demo`.

    Args:
        flags (`list[str]`):
            Fields of [`DemoArguments`] as flags.

    Raises:
        `SystemExit`: with code 2 and one sentence if a flag or a value is wrong, and with code 130 after an interruption
            that came before the first step, or twice.

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
    quiet_libraries()
    with exit_on_user_error(parser.debug):
        _check_writable(arguments.json)
        run = prepare_demo(arguments)
    try:
        results = train_and_evaluate(run, Console())
    except KeyboardInterrupt:
        # The first Ctrl-C during training does not get here: the run ends after its step, and saves a checkpoint.
        print(
            f"\nInterrupted. What was saved is in {run.folder}; trl-forking demo --resume goes on with it.",
            file=sys.stderr,
        )
        sys.exit(130)
    if arguments.json is not None:
        write_atomically(Path(arguments.json), json.dumps(results, indent=2))


def _check_writable(path: str | None) -> None:
    if path is not None and not Path(path).absolute().parent.is_dir():
        raise UserError(f"--json {path}: the folder {Path(path).absolute().parent} does not exist; make it first.")


def train_and_evaluate(run: DemoRun, console: Console) -> dict[str, Any]:
    """
    Evaluate, train and evaluate again, and print and write the figures.

    Args:
        run ([`DemoRun`]):
            The run, from [`prepare_demo`].
        console (`Console`):
            Terminal to print to.

    Returns:
        `dict[str, Any]`: the figures, as `--json` writes them. For an interrupted run: its step, and the command that
        goes on with it.
    """
    start = time.perf_counter()
    arguments, trainer, tokenizer = run.arguments, run.trainer, run.trainer.processing_class
    problems = make_countdown_dataset("eval", NUM_EVAL_PROBLEMS, seed=arguments.seed)
    print_start(console, run)
    # The shipped model, not the trainer's: the trainer of a resumed run has trained its own already.
    before = evaluate_countdown(load_countdown_model().to(trainer.args.device), tokenizer, problems, arguments.seed)
    print_accuracy(console, "before", before)
    if not train_with_figures(run, console):
        command = f"{sys.argv[0]} demo --resume --output_dir {run.folder}"
        console.print(
            f"Interrupted at step {trainer.state.global_step}. Go on with: [bold]{command}[/]", soft_wrap=True
        )
        return {"interrupted_at_step": trainer.state.global_step, "resume_command": command}
    after = evaluate_countdown(trainer.model, tokenizer, problems, arguments.seed)
    print_accuracy(console, "after", after)

    trainer.save_model(str(run.folder / "model"))
    trainer.create_model_card(model_name="countdown-search", example_prompt=problems[0]["prompt"])
    completions = read_completions(run.folder)
    plot_demo(completions, trainer.state.log_history, run.folder / "entropy.png")
    agreement = compute_fork_agreement(completions)
    results = collect_results(run, before, after, agreement, seconds=time.perf_counter() - start)
    write_atomically(run.folder / RESULTS_FILE, json.dumps(results, indent=2))
    print_results(console, results, completions)
    return results
