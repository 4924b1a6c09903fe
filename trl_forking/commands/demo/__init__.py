"""`trl-forking demo`: train the built-in task with the real trainer, and show what came of it."""

import json
import sys
import time
from typing import Any

from rich.console import Console

from ...countdown.task import evaluate_countdown, load_countdown_model, make_countdown_dataset
from .plot import plot_demo
from .preparation import RESULTS_FILE, DemoArguments, DemoRun, prepare_demo
from .results import (
    collect_results,
    compute_fork_agreement,
    print_accuracy,
    print_results,
    print_start,
    read_completions,
)
from .training import train_with_figures


__all__ = ["DemoArguments", "DemoRun", "compute_fork_agreement", "prepare_demo", "run_demo"]

NUM_EVAL_PROBLEMS = 512


def run_demo(run: DemoRun, console: Console) -> dict[str, Any]:
    """
    Evaluate, train, evaluate again, and print and write what came of it.

    Args:
        run ([`DemoRun`]):
            The run, from [`prepare_demo`].
        console (`Console`):
            Terminal to print to.

    Returns:
        `dict[str, Any]`: the figures, as `--json` writes them; of an interrupted run its step and how to go on.
    """
    start = time.perf_counter()
    arguments, trainer, tokenizer = run.arguments, run.trainer, run.trainer.processing_class
    problems = make_countdown_dataset("eval", NUM_EVAL_PROBLEMS, seed=arguments.seed)
    print_start(console, run)
    # The shipped model, not the trainer's: a resumed run has trained its own already.
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
    trainer.create_model_card(model_name="countdown-search")
    completions = read_completions(run.folder)
    plot_demo(completions, trainer.state.log_history, run.folder / "entropy.png")
    agreement = compute_fork_agreement(completions)
    results = collect_results(run, before, after, agreement, seconds=time.perf_counter() - start)
    (run.folder / RESULTS_FILE).write_text(json.dumps(results, indent=2))
    print_results(console, results, completions)
    return results
