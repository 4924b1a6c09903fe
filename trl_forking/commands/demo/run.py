"""What `trl-forking demo` does: it trains the built-in task, and shows and writes the figures."""

import json
import time
from typing import Any

from rich.console import Console

from ...countdown import CountdownEvaluation, evaluate_countdown, load_countdown_model, make_countdown_dataset
from ...verdict.history import collect_history
from ...verdict.verdict import judge_run, write_verdict
from ...writing.files import write_atomically
from .arguments import RESULTS_FILE, format_resume
from .plot import plot_demo
from .preparation import DemoRun, prepare_comparison
from .results import (
    collect_results,
    compare_evaluations,
    compute_fork_agreement,
    print_accuracy,
    print_comparison,
    print_results,
    print_start,
    read_completions,
    write_evaluation,
)
from .training import train_with_figures


NUM_EVAL_PROBLEMS = 512


def train_and_evaluate(run: DemoRun, console: Console) -> dict[str, Any]:
    """
    Evaluate, train and evaluate again, and print and write the figures.

    Args:
        run ([`DemoRun`]):
            The run, from [`~trl_forking.commands.demo.prepare_demo`].
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
    if number := train_with_figures(run, console):
        return _report_interruption(run, run, number, console)
    after = evaluate_countdown(trainer.model, tokenizer, problems, arguments.seed)
    print_accuracy(console, "after", after)

    trainer.save_model(str(run.folder / "model"))
    write_evaluation(run.folder, before, after, arguments.seed)
    trainer.create_model_card(model_name="countdown-search", example_prompt=problems[0]["prompt"])
    completions = read_completions(run.folder)
    plot_demo(completions, trainer.state.log_history, run.folder / "entropy.png")
    agreement = compute_fork_agreement(completions)
    verdict = judge_run(collect_history(trainer.state.log_history))
    write_verdict(run.folder, verdict)
    results = collect_results(run, before, after, agreement, seconds=time.perf_counter() - start)
    results["verdict"] = verdict.sentences
    write_atomically(run.folder / RESULTS_FILE, json.dumps(results, indent=2))
    print_results(console, results, completions)
    if arguments.compare:
        return results | _compare_with_all(run, after, problems, console)
    return results


def _report_interruption(run: DemoRun, interrupted: DemoRun, number: int, console: Console) -> dict[str, Any]:
    step, command = interrupted.trainer.state.global_step, format_resume(run.folder)
    console.print(f"Interrupted at step {step}. Go on with: [bold]{command}[/]", soft_wrap=True)
    return {"interrupted_at_step": step, "resume_command": command, "signal": int(number)}


def _compare_with_all(run: DemoRun, own: CountdownEvaluation, problems: Any, console: Console) -> dict[str, Any]:
    """Train plain GRPO for as many steps, and print the difference of the two models, problem by problem."""
    other = prepare_comparison(run)
    console.print("\nThe same run on all tokens, which is plain GRPO:")
    if number := train_with_figures(other, console):
        return _report_interruption(run, other, number, console)
    evaluation = evaluate_countdown(other.trainer.model, other.trainer.processing_class, problems, run.arguments.seed)
    print_accuracy(console, "all", evaluation)
    comparison = compare_evaluations(own, evaluation, problems)
    print_comparison(console, comparison, run.arguments)
    results = json.loads((run.folder / RESULTS_FILE).read_text()) | {"comparison": comparison}
    write_atomically(run.folder / RESULTS_FILE, json.dumps(results, indent=2))
    return {"comparison": comparison}
