"""What the demo does after its last step: it collects the figures and prints them."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas
from rich.console import Console
from rich.text import Text

from ...countdown import CountdownEvaluation, mark_forks, verify_countdown
from ...evaluation import compute_difference_interval
from ...evaluation.comparison import estimate_seed_difference
from ...selection.rules import find_rule
from ...writing.files import write_atomically
from ...writing.numbers import format_count, format_percent
from .arguments import RESULTS_FILE, DemoArguments
from .preparation import DemoRun


@dataclass(frozen=True)
class ForkAgreement:
    """The agreement of the kept tokens with the known forks of the task, over all counted tokens of the run."""

    precision: float
    recall: float
    num_tokens: int


def read_completions(folder: Path) -> pandas.DataFrame:
    """Read the logged completions of all steps."""
    files = sorted((folder / "completions").glob("completions_*.parquet"))
    return pandas.concat([pandas.read_parquet(file) for file in files], ignore_index=True)


def compute_fork_agreement(completions: pandas.DataFrame) -> ForkAgreement | None:
    r"""
    Compute precision and recall of the kept tokens against the known forks, over the counted tokens.

    Args:
        completions (`DataFrame`):
            Logged completions, with the columns `advantage`, `tokens` and `kept` of `log_entropy=True`.

    Returns:
        [`ForkAgreement`] or `None`: agreement, or `None` if nothing was logged or kept.

    Example:
    ```python
    >>> import pandas
    >>> answer = "3 * 5 = 15 left 15 2 , 15 - 2 = 13 vs 13 yes".split()
    >>> kept = [position in (0, 1) for position in range(17)]
    >>> compute_fork_agreement(pandas.DataFrame({"advantage": [1.0], "tokens": [answer], "kept": [kept]}))
    ForkAgreement(precision=1.0, recall=0.5, num_tokens=17)
    ```
    """
    if "kept" not in completions:
        return None
    counted = completions[completions["advantage"] != 0.0]
    pairs = [
        pair
        for tokens, kept in zip(counted["tokens"], counted["kept"], strict=True)
        for pair in zip(mark_forks(list(tokens)), kept, strict=True)
    ]
    num_kept, num_forks = sum(bool(kept) for _, kept in pairs), sum(fork for fork, _ in pairs)
    num_both = sum(fork and bool(kept) for fork, kept in pairs)
    if not num_kept or not num_forks:
        return None
    return ForkAgreement(num_both / num_kept, num_both / num_forks, len(pairs))


def write_evaluation(folder: Path, before: CountdownEvaluation, after: CountdownEvaluation, seed: int) -> None:
    """Write the accuracies into the file from which the card of a run takes its results."""
    entry = {
        "dataset": "countdown",
        "dataset_name": "Countdown search, held-out problems",
        "metric": "accuracy",
        "value": after.accuracy,
        "interval": [round(limit, 4) for limit in after.interval],
        "baseline": before.accuracy,
        "baseline_interval": [round(limit, 4) for limit in before.interval],
        "num_samples": after.num_problems,
        "settings": {"temperature": 1.0, "seed": seed},
    }
    write_atomically(folder / "eval_results.json", json.dumps(entry, indent=1) + "\n")


def compare_evaluations(own: CountdownEvaluation, other: CountdownEvaluation, problems: Any) -> dict[str, Any]:
    r"""
    Compare two models on the same problems, answer by answer.

    Args:
        own, other ([`~trl_forking.countdown.CountdownEvaluation`]):
            The run of the demo, and the run on all tokens.
        problems (`Dataset`):
            The problems, with `nums` and `goal`.

    Returns:
        `dict`: `accuracy_all`, `difference` (own less other), `interval` (95 %, paired over the problems), `is_noise` and
        `num_problems`.
    """
    rights = [
        [
            float(verify_countdown(*row))
            for row in zip(part.completions, problems["nums"], problems["goal"], strict=True)
        ]
        for part in (own, other)
    ]
    difference = estimate_seed_difference([[first - second for first, second in zip(*rights, strict=True)]])
    return {
        "accuracy_all": other.accuracy,
        "difference": difference.mean,
        "interval": (difference.low, difference.high),
        "is_noise": difference.is_noise,
        "num_problems": difference.num_problems,
    }


def print_comparison(console: Console, comparison: dict[str, Any], arguments: DemoArguments) -> None:
    """Print the difference of the two models, and what it does not show."""
    low, high = comparison["interval"]
    steps = f"{arguments.max_steps} step{'s' * (arguments.max_steps != 1)}"
    console.print(
        f"Difference to plain GRPO at the same {steps}: {comparison['difference']:+.3f} (95 % interval {low:+.3f} to "
        f"{high:+.3f}, paired over {comparison['num_problems']} problems)"
        + (": not distinguishable from noise." if comparison["is_noise"] else ".")
        + " Another seed gives another difference.",
        highlight=False,
    )


def collect_results(
    run: DemoRun,
    before: CountdownEvaluation,
    after: CountdownEvaluation,
    agreement: ForkAgreement | None,
    seconds: float,
) -> dict[str, Any]:
    """Collect the figures of a finished run. Shares are fractions, entropies are in nats, intervals are 95 % intervals."""
    folder = run.folder
    right_before, right_after = ((part.num_correct, part.num_problems) for part in (before, after))
    last_logs = next(logs for logs in reversed(run.trainer.state.log_history) if "reward" in logs)
    return {
        "settings": asdict(run.arguments),
        "accuracy_before": before.accuracy,
        "accuracy_before_interval": before.interval,
        "accuracy_after": after.accuracy,
        "accuracy_after_interval": after.interval,
        "num_problems": after.num_problems,
        "rise": after.accuracy - before.accuracy,
        "rise_interval": compute_difference_interval(right_before, right_after),
        "fork_precision": agreement.precision if agreement else None,
        "fork_recall": agreement.recall if agreement else None,
        "metrics_of_last_step": last_logs,
        "seconds": seconds,
        "results_file": str(folder / RESULTS_FILE),
        "paths": {
            "checkpoint": str(folder / "model"),
            "model_card": str(folder / "README.md"),
            "entropy_plot": str(folder / "entropy.png"),
            "completions": str(folder / "completions"),
        },
    }


def print_start(console: Console, run: DemoRun) -> None:
    """Print what the run trains."""
    arguments, trainer = run.arguments, run.trainer
    num_parameters = sum(parameter.numel() for parameter in trainer.model.parameters())
    console.print(
        f"[bold]Countdown search[/]: {format_count(num_parameters)} parameters, {arguments.max_steps} steps of "
        f"16 problems x 8 answers on {trainer.args.device}"
    )
    share, selection = arguments.top_entropy_quantile, arguments.token_selection
    percent = format_percent(1 - share if selection == "low_entropy" else share)
    kept = {
        "high_entropy": "the top {} by entropy",
        "low_entropy": "the lowest {} by entropy",
        "random": "{} at random",
    }
    rule = find_rule(selection)
    chosen = kept[selection].format(percent) if selection in kept else f"{rule.facts.selects} ({rule.name})"
    is_plain = share >= 1 and rule.facts.uses_share
    console.print(f"Kept tokens: {'all (plain GRPO)' if is_plain else chosen}")
    if run.checkpoint:
        console.print(f"Resuming from {run.checkpoint}", soft_wrap=True)


def print_accuracy(console: Console, when: str, evaluation: CountdownEvaluation) -> None:
    """Print an accuracy with its interval."""
    low, high = evaluation.interval
    console.print(
        f"Accuracy {when:6s} [bold]{evaluation.accuracy:.3f}[/]  (95 % interval {low:.3f} to {high:.3f}, "
        f"{evaluation.num_problems} held-out problems)",
        highlight=False,
    )


def highlight_answer(tokens: list[str], kept: list[bool]) -> Text:
    """
    Mark the kept tokens of an answer by color, and by brackets for terminals without color.

    Example:
    ```python
    >>> highlight_answer(["3", "*", "5"], [False, True, False]).plain
    '3 [*] 5'
    ```
    """
    text = Text()
    for token, is_kept in zip(map(str.strip, tokens), kept, strict=True):
        text.append(f"[{token}]" if is_kept else token, style="bold black on yellow" if is_kept else "dim")
        text.append(" ")
    text.rstrip()
    return text


def print_results(console: Console, results: dict[str, Any], completions: pandas.DataFrame) -> None:
    """Print the change of the accuracy, the verdict, the agreement with the known forks, an answer and the files."""
    low, high = results["rise_interval"]
    verdict = "rose" if low > 0 else "fell" if high < 0 else "did not change beyond chance"
    console.print(
        f"The accuracy {verdict}: {results['rise']:+.3f} (95 % interval {low:+.3f} to {high:+.3f})", highlight=False
    )
    for sentence in results["verdict"]:
        console.print(sentence, highlight=False)
    if results["fork_recall"] is not None:
        console.print(
            f"Kept tokens against the known forks of the task: precision {results['fork_precision']:.3f}, "
            f"recall {results['fork_recall']:.3f}",
            highlight=False,
        )
    if "kept" in completions:
        shown = completions[(completions["advantage"] > 0) & (completions["tokens"].map(len) > 20)]
        if len(shown):
            answer = shown.iloc[-1]
            console.print(f"\n{answer['prompt']}", highlight=False)
            console.print(highlight_answer(list(answer["tokens"]), list(answer["kept"])))
            console.print("[dim]Marked: the kept tokens.[/]\n")
    names = {"checkpoint": "checkpoint", "model_card": "model card", "entropy_plot": "entropy plot"}
    for key, name in names.items():
        console.print(f"{name:12s} {results['paths'][key]}", highlight=False, soft_wrap=True)
    console.print(f"[dim]{results['seconds']:.0f} s; all figures: {results['results_file']}[/]", soft_wrap=True)
