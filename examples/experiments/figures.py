"""The figures of the page of results, from the records. Intervals are over seeds and problems."""

import math
from typing import Any, NamedTuple

import numpy as np

from trl_forking.evaluation.comparison import SeedDifference, estimate_seed_difference


class ArmFigures(NamedTuple):
    """
    An arm in a table.

    Attributes:
        accuracy ([`SeedDifference`]): mean share of right answers, with its interval over seeds and problems.
        difference ([`SeedDifference`] or `None`): paired difference to the arm of comparison; `None` for itself.
        mean_length (`float`): tokens of an answer.
        entropy (`float`): mean entropy of the last ten steps, in nats.
    """

    accuracy: SeedDifference
    difference: SeedDifference | None
    mean_length: float
    entropy: float


def read_scores(record: dict[str, Any]) -> list[float]:
    """
    Read the share of right answers to each problem.

    Example:
    ```python
    >>> read_scores({"scores": "ff0301", "num_answers": 8})
    [1.0, 0.25, 0.125]
    ```
    """
    text, num_answers = record["scores"], record["num_answers"]
    return [int(text[place : place + 2], 16).bit_count() / num_answers for place in range(0, len(text), 2)]


def compare(runs: dict[int, dict[str, Any]], others: dict[int, dict[str, Any]]) -> SeedDifference | None:
    """
    Compare two arms at equal seeds and problems.

    Args:
        runs (`dict[int, dict]`):
            Records of the arm by seed.
        others (`dict[int, dict]`):
            Records of the arm of comparison by seed.

    Returns:
        [`SeedDifference`] or `None`: arm less arm of comparison; `None` without a common seed.
    """
    seeds = sorted(runs.keys() & others.keys())
    rows = [np.subtract(read_scores(runs[seed]), read_scores(others[seed])).tolist() for seed in seeds]
    return estimate_seed_difference(rows) if rows else None


def summarize(runs: dict[int, dict[str, Any]], others: dict[int, dict[str, Any]] | None) -> ArmFigures:
    """
    Summarize an arm.

    Args:
        runs (`dict[int, dict]`):
            Records of the arm by seed.
        others (`dict[int, dict]`, *optional*):
            Records of the arm of comparison. `None` for the arm of comparison itself.

    Returns:
        [`ArmFigures`]
    """
    records = list(runs.values())
    last = [value for record in records for value in record["log"]["entropy"][-10:] if value is not None]
    return ArmFigures(
        estimate_seed_difference([read_scores(record) for record in records]),
        compare(runs, others) if others else None,
        sum(record["mean_length"] for record in records) / len(records),
        sum(last) / len(last) if last else math.nan,
    )


def average_column(runs: dict[int, dict[str, Any]], column: str, last: int = 10) -> float:
    """Average a column of the log over the last steps of all seeds. NaN if it is empty."""
    values = [
        value for record in runs.values() for value in record["log"].get(column, [])[-last:] if value is not None
    ]
    return sum(values) / len(values) if values else math.nan


def average_overlap(runs: dict[int, dict[str, Any]]) -> dict[str, list[float]]:
    """
    Collect the overlap of the forks with those before training.

    Returns:
        `dict[str, list[float]]`: for each point of the training, the overlap of each seed.
    """
    overlaps: dict[str, list[float]] = {}
    for record in runs.values():
        for row in record["forks"]["overlap"]:
            overlaps.setdefault(row["checkpoint"], []).append(row["to_first"])
    return overlaps


def average_percentiles(runs: dict[int, dict[str, Any]]) -> list[dict[str, Any]]:
    """
    Average the percentiles of the entropy over the seeds.

    Returns:
        `list[dict]`: for each point of the training its name (`checkpoint`) and the means `p50`, `p80`, `p95` and `p99` in
        nats.
    """
    tables = [record["forks"]["percentiles"] for record in runs.values()]
    return [
        {
            name: value if name == "checkpoint" else sum(each[name] for each in rows) / len(rows)
            for name, value in rows[0].items()
        }
        for rows in zip(*tables, strict=True)
    ]


def average_changes(runs: dict[int, dict[str, Any]]) -> list[tuple[float, float, float]]:
    """
    Average the change of the entropy from before to after training, by 5 %-bins of the entropy before.

    Returns:
        `list[tuple[float, float, float]]`: upper end of the bin, mean entropy before and mean change in nats.
    """
    tables = [record["forks"]["change_by_bin"] for record in runs.values()]
    rows = []
    for bins in zip(*tables, strict=True):
        last = list(bins[0])[-1]  # the column of the last copy of the weights
        rows.append(
            (
                bins[0]["to"],
                sum(each["base_entropy"] for each in bins) / len(bins),
                sum(each[last] for each in bins) / len(bins),
            )
        )
    return rows


def smooth_rewards(runs: dict[int, dict[str, Any]], window: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """
    Average the reward over the seeds, smoothed over the last steps.

    Args:
        runs (`dict[int, dict]`):
            Records of an arm by seed.
        window (`int`, *optional*, defaults to `10`):
            Number of steps in a mean.

    Returns:
        `tuple[np.ndarray, np.ndarray]`: mean and standard error over the seeds at each step, `(T,)` each.
    """
    table = np.array([record["log"]["reward"] for record in runs.values()], dtype=float)
    smooth = np.stack([table[:, max(0, step - window + 1) : step + 1].mean(1) for step in range(table.shape[1])], 1)
    error = smooth.std(0, ddof=1) / math.sqrt(len(table)) if len(table) > 1 else np.zeros(table.shape[1])
    return smooth.mean(0), error
