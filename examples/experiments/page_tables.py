"""The tables of the page of results, and the sentences that go with them."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

from arms import ARMS, HEADLINE
from figures import (
    average_changes,
    average_column,
    average_overlap,
    average_percentiles,
    compare,
    read_scores,
    summarize,
)
from records import BEFORE, is_plain, read, read_all

from trl_forking.evaluation.comparison import SeedDifference, estimate_seed_difference
from trl_forking.writing.markdown import format_table


Runs = dict[str, dict[int, dict[str, Any]]]

RULES = (
    *(
        "random_unbiased",
        "random_prefix_50",
        "random_prefix_forks",
        "gradient_norm",
        "advantage_entropy",
        "covariance",
    ),
    *("surprisal_band", "rare_token_veto", "entropy_weights", "entropy_clip", "schedule_20_to_100"),
)
FORK_PATHS = ("forks", "forks_window_1", "forks_window_4")
RATES = {
    "1e-4": ("all_tokens_1e-4", "top_20_1e-4"),
    "3e-4": ("all_tokens", "top_20"),
    "6e-4": ("all_tokens_6e-4", "top_20_6e-4"),
}


def format_interval(figure: SeedDifference, sign: str = "") -> str:
    """Format a mean with its interval. One seed has an interval over the problems alone."""
    if math.isnan(figure.low):
        return f"{figure.mean:{sign}.3f}"
    # An accuracy has no sign, and none below 0 or above 1 can be.
    low, high = (figure.low, figure.high) if sign else (max(figure.low, 0.0), min(figure.high, 1.0))
    return f"{figure.mean:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})"


def format_known(value: float) -> str:
    """Format a number; nothing if it is not known."""
    return "" if math.isnan(value) else f"{value:.3f}"


def describe_machines(runs: Runs) -> str:
    """List the versions and the processors of the runs, with the number of runs of each."""
    machines = Counter(
        "; ".join(
            (", ".join(f"{name} {version}" for name, version in record["versions"].items()), record["processor"])
        )
        for each in runs.values()
        for record in each.values()
    )
    return ". ".join(f"{number} runs: {machine}" for machine, number in machines.most_common())


def format_before(results: Path) -> str:
    """Format the accuracy before training."""
    return format_interval(estimate_seed_difference([read_scores(read(results / BEFORE))]))


def count_seeds(number: int) -> str:
    return f"{number} seed" if number == 1 else f"{number} seeds"


def format_verdict(figure: SeedDifference | None) -> str:
    """Say what a difference shows. An interval that covers zero shows no difference."""
    if figure is None:
        return ""
    return "not distinguishable" if figure.is_noise else "higher" if figure.mean > 0 else "lower"


def tabulate(
    names: tuple[str, ...], against: str, runs: Runs, seconds: dict[str, dict[str, float]], *, is_short: bool = False
) -> str:
    """
    Tabulate arms: accuracy, paired difference to an arm of comparison, and the two clocks.

    A short table fits a narrow page: it has no lengths, and the clock of the update alone.
    """
    rows = []
    for name in names:
        if name not in runs:
            continue
        figures = summarize(runs[name], None if name == against else runs.get(against))
        difference = figures.difference
        rows.append(
            (
                ARMS[name].title,
                len(runs[name]),
                format_interval(figures.accuracy),
                "" if difference is None else format_interval(difference, "+"),
                format_verdict(difference),
                f"{figures.mean_length:.1f}",
                *format_seconds(seconds.get(name)),
            )
        )
    columns = ("trained", "seeds", "accuracy", f"difference to {ARMS[against].title}", "verdict", "tokens an answer")
    if is_short:
        short = ("trained", "seeds", "accuracy", "difference", "verdict", "s an update")
        return format_table(short, [(*row[:5], row[-1]) for row in rows])
    return format_table((*columns, "s a step", "s an update"), rows)


def tabulate_rules(runs: Runs, seconds: dict[str, dict[str, float]]) -> str:
    """Tabulate the token rules against the top 20 %, and against as many random tokens, with the two clocks."""
    rows = []
    for name in ("top_20", "random_20", *RULES):
        if name not in runs:
            continue
        figures = summarize(runs[name], runs.get("top_20") if name != "top_20" else None)
        against_random = compare(runs[name], runs.get("random_20", {})) if name != "random_20" else None
        rows.append(
            (
                ARMS[name].title,
                len(runs[name]),
                format_interval(figures.accuracy),
                *(
                    "" if difference is None else f"{format_interval(difference, '+')}: {format_verdict(difference)}"
                    for difference in (figures.difference, against_random)
                ),
                *format_seconds(seconds.get(name)),
            )
        )
    columns = ("trained", "seeds", "accuracy", "less top 20 %", "less random 20 %", "s a step", "s an update")
    return format_table(columns, rows)


def describe_clock(clock: dict[str, Any]) -> str:
    """Say how the seconds were measured, and how much of a difference is chance."""
    # Dynamic sampling generates more.
    readings = [parts["generation"] for name, parts in clock["seconds"].items() if name != "dynamic_sampling"]
    if not readings:
        return "The clock was not read yet."
    return (
        f"The seconds are medians of {clock['num_steps']} steps of each arm, in turn, with one thread. Nearly all arms generate alike, and "
        f"generation was read as {min(readings):.2f} to {max(readings):.2f} s: a difference in seconds of that proportion is chance."
    )


def format_seconds(parts: dict[str, float] | None) -> tuple[str, str]:
    """Format the seconds of a step and of an update."""
    return ("", "") if parts is None else (f"{sum(parts.values()):.2f}", f"{parts['update']:.2f}")


def describe_plain(runs: Runs) -> str:
    """Say which rules had nothing to do, so that their runs were GRPO on all counted tokens."""
    names = [name for name, each in runs.items() if all(map(is_plain, each.values()))]
    if not names:
        return ""
    return (
        "Each rollout is used for one optimizer step here, so no ratio leaves the clip range. In all runs of "
        f"{' and '.join(f'*{ARMS[name].title}*' for name in names)} the rule therefore had nothing to do: it clipped no token "
        "and dropped none. These runs are GRPO on all tokens of the informative groups. The arm *all tokens* differs in one point: "
        "it divides the loss by the tokens of zero-variance groups too.\n\n"
    )


def tabulate_rates(runs: Runs) -> str:
    """Tabulate the learning rates."""
    rows = []
    for rate, (every, top) in RATES.items():
        if every in runs and top in runs:
            difference = compare(runs[top], runs[every])
            accuracies = [format_interval(summarize(runs[name], None).accuracy) for name in (every, top)]
            seeds = len(runs[top].keys() & runs[every].keys())
            rows.append(
                (
                    rate,
                    seeds,
                    *accuracies,
                    "" if difference is None else format_interval(difference, "+"),
                    format_verdict(difference),
                )
            )
    return format_table(
        ("learning rate", "seeds", "all tokens", "top 20 %", "difference", "verdict on top 20 %"), rows
    )


def tabulate_kept(runs: Runs) -> str:
    """Tabulate how well the kept tokens agree with the known forks of the task, over the last ten steps."""
    rows = []
    for name, records in runs.items():
        precision, recall = average_column(records, "precision"), average_column(records, "recall")
        overlaps = list(average_overlap(records).values())[-1]
        rows.append(
            (
                ARMS[name].title,
                *map(format_known, (precision, recall, sum(overlaps) / len(overlaps))),
                format_known(average_column(records, "entropy")),
            )
        )
    columns = ("trained", "precision", "recall", "forks in common with before", "mean entropy (nats)")
    return format_table(columns, rows)


def tabulate_percentiles(runs: Runs) -> str:
    """Tabulate the percentiles of the entropy before, during and after the training of two arms."""
    rows = [
        (
            ARMS[name].title,
            "before" if point["checkpoint"] == "base" else point["checkpoint"],
            *(f"{point[column]:.3f}" for column in ("p50", "p80", "p95", "p99")),
        )
        for name in ("all_tokens", "top_20")
        if name in runs
        for point in average_percentiles(runs[name])
    ]
    return format_table(("trained", "weights", "50 %", "80 %", "95 %", "99 %"), rows)


def describe_other(results: Path) -> str:
    """Tell of the runs of another model: the model before, each arm against all tokens, and its forks before and after."""
    runs = read_all(results) if results.exists() else {}
    if not runs:
        return "No run was made yet."
    names = [name for name in (*HEADLINE, *FORK_PATHS) if name in runs]
    rows = []
    for name in names:
        bins = average_changes(runs[name])
        upper, lower = split_changes(bins)
        overlap = list(average_overlap(runs[name]).values())[-1]
        rows.append((ARMS[name].title, f"{sum(overlap) / len(overlap):.3f}", f"{upper:.3f}", f"{lower:.3f}"))
    columns = (
        *("trained", "forks in common with before"),
        *("mean change in the top 20 % (nats)", "in the other tokens (nats)"),
    )
    return "\n\n".join(
        (
            f"Before training the accuracy is {format_before(results)}.",
            tabulate(tuple(names), "all_tokens", runs, {}),
            f"![Reward over the steps, and change of the entropy](results/{results.name}.png)",
            "The forks before and after training, in the answers of the trained model. The change is the mean of the absolute "
            "changes of the bins of 5 %:",
            format_table(columns, rows),
            f"{describe_machines(runs)}.",
        )
    )


def split_changes(bins: list[tuple[float, float, float]]) -> tuple[float, float]:
    """Average the absolute change of the entropy in the highest fifth of the bins and in the others."""
    edge = len(bins) * 4 // 5
    upper, lower = (sum(abs(row[2]) for row in part) / len(part) for part in (bins[edge:], bins[:edge]))
    return upper, lower
