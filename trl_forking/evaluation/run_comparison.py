"""Groups of runs compared: the differences of their figures and of their settings."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..card.setting_differences import SettingDifference, find_setting_differences
from ..run.user_errors import UserError
from .comparison import METHOD_OF_ONE_SEED, METHOD_OF_SEEDS, SeedDifference, estimate_seed_difference
from .evaluated_runs import RunGroup
from .learning_curves import Curve, describe_curve, read_curve
from .pairing import RunPair, check_comparable, pair_runs
from .power import find_needed_problems, find_needed_seeds
from .results import choose_headlines
from .summary import find_bounds


_TWO_SEEDS = "Two seeds hardly show how much seeds differ, and the interval has to allow for that: with a third seed it is much shorter."


class ComparedFigure(NamedTuple):
    """
    A figure of two groups.

    Attributes:
        first, second (`float`): means of the groups over the same seeds and problems.
        difference ([`SeedDifference`]): second less first.
        needed_problems, needed_seeds (`int` or `None`): see [`find_needed_problems`] and [`find_needed_seeds`].
    """

    first: float
    second: float
    difference: SeedDifference
    needed_problems: int | None
    needed_seeds: int | None


@dataclass(frozen=True)
class ComparedSet:
    """
    Two groups on one problem set.

    Args:
        name, title (`str`):
            The set.
        headlines (`list[str]`):
            Figures that a table shows.
        figures (`dict[str, ComparedFigure]`):
            All figures that both groups have.
    """

    name: str
    title: str
    headlines: list[str]
    figures: dict[str, ComparedFigure]


@dataclass(frozen=True)
class GroupComparison:
    """
    Two groups of runs.

    Args:
        first, second (`str`):
            Names of the groups.
        pairs (`list[RunPair]`):
            Runs that are compared.
        sets (`list[ComparedSet]`):
            Results on each problem set.
        notes (`list[str]`):
            Sentences about what is left out and what else differs.
    """

    first: str
    second: str
    pairs: list[RunPair]
    sets: list[ComparedSet]
    notes: list[str] = field(default_factory=list)

    @property
    def method(self) -> str:
        """How the intervals are made."""
        return METHOD_OF_ONE_SEED if len(self.pairs) == 1 else METHOD_OF_SEEDS


@dataclass(frozen=True)
class RunComparison:
    """
    All that `trl-forking compare-runs` shows.

    Args:
        groups (`list[RunGroup]`):
            The groups. Each is compared with the first one.
        comparisons (`list[GroupComparison]`):
            The comparisons.
        settings (`list[SettingDifference]`):
            Settings that differ.
        curves (`list[Curve]`):
            Learning curves of the runs that have a record.
        notes (`list[str]`):
            Sentences about all groups.
    """

    groups: list[RunGroup]
    comparisons: list[GroupComparison]
    settings: list[SettingDifference]
    curves: list[Curve]
    notes: list[str]


def compare_groups(groups: Sequence[RunGroup]) -> RunComparison:
    """
    Compare groups of runs with the first of them.

    Args:
        groups (`Sequence[RunGroup]`):
            Two groups or more, from [`read_groups`].

    Returns:
        [`RunComparison`]

    Raises:
        `ValueError`: if the runs of two groups do not pair, or their evaluations cannot be compared.
    """
    records = {group.name: [run.record for run in group.runs if run.record is not None] for group in groups}
    settings = find_setting_differences({name: runs for name, runs in records.items() if runs})
    notes = [
        f"The runs of {name} differ in {row.name} too, not only in their seeds."
        for row in settings
        for name in row.varies_within
    ]
    unknown = [group.name for group in groups if not records[group.name]]
    if unknown:
        notes.append(f"The settings of {', '.join(unknown)} are unknown: there is no record of a training.")
    curves = [curve for group in groups for run in group.runs if (curve := read_curve(group.name, run)) is not None]
    comparisons = [_compare_two(groups[0], other) for other in groups[1:]]
    return RunComparison(list(groups), comparisons, settings, curves, notes)


def _compare_two(first: RunGroup, second: RunGroup) -> GroupComparison:
    pairs, notes = pair_runs(first, second)
    runs = list(dict.fromkeys(run.folder for pair in pairs for run in pair[1:]))
    by_folder = {run.folder: run for pair in pairs for run in pair[1:]}
    names = [name for name in by_folder[runs[0]].sets if all(name in by_folder[folder].sets for folder in runs)]
    if not names:
        told = "; ".join(f"{folder} has {', '.join(by_folder[folder].sets)}" for folder in runs)
        raise UserError(f"No problem set was answered by all runs ({told}): evaluate them on the same sets.")
    alone = sorted({name for run in by_folder.values() for name in run.sets} - set(names))
    if alone:
        notes.append(f"Not all runs answered {', '.join(alone)}: left out.")
    for name in names:
        notes += check_comparable(name, by_folder.values())
    if len(pairs) == 2:
        notes.append(_TWO_SEEDS)
    return GroupComparison(first.name, second.name, pairs, [_compare_set(name, pairs) for name in names], notes)


def _compare_set(name: str, pairs: Sequence[RunPair]) -> ComparedSet:
    sets = [(pair.first.sets[name], pair.second.sets[name]) for pair in pairs]
    own = sets[0][0]
    keys = sorted(own.keys)
    common = [figure for figure in own.values if all(figure in each.values for two in sets for each in two)]
    figures = {}
    for figure in common:
        before, after = ([[two[side].values[figure][key] for key in keys] for two in sets] for side in (0, 1))
        figures[figure] = compare_figure(before, after, None if find_bounds(figure) is None else (-1.0, 1.0))
    largest = max((int(text) for kind, _, text in (f.partition("@") for f in common) if kind == "avg"), default=1)
    headlines = [figure for figure in choose_headlines(largest) if figure in figures]
    return ComparedSet(name, own.title, headlines, figures)


def compare_figure(
    before: Sequence[Sequence[float]],
    after: Sequence[Sequence[float]],
    bounds: tuple[float, float] | None = (-1.0, 1.0),
) -> ComparedFigure:
    """
    Compare a figure of two groups.

    Args:
        before, after (`Sequence[Sequence[float]]` of shape `(S, P)`):
            The figure for each seed and problem, in the same order; NaN where it is not defined.
        bounds (`tuple[float, float]`, *optional*, defaults to `(-1, 1)`):
            As in [`estimate_seed_difference`].

    Returns:
        [`ComparedFigure`]: means over the problems that have a value everywhere, and their difference.

    Example:
    ```python
    >>> from trl_forking.evaluation.run_comparison import compare_figure
    >>> figure = compare_figure([[0.0, 0.5, float("nan")]], [[0.5, 0.75, 1.0]])
    >>> figure.first, figure.second, figure.difference.mean
    (0.25, 0.625, 0.375)
    ```
    """
    columns = [
        column for column in zip(*before, *after, strict=True) if not any(math.isnan(value) for value in column)
    ]
    rows = [
        [second - first for first, second in zip(one, other, strict=True)]
        for one, other in zip(before, after, strict=True)
    ]
    difference = estimate_seed_difference(rows, bounds=bounds)
    return ComparedFigure(
        _compute_mean([column[: len(before)] for column in columns]),
        _compute_mean([column[len(before) :] for column in columns]),
        difference,
        find_needed_problems(difference),
        find_needed_seeds(difference),
    )


def _compute_mean(columns: Sequence[Sequence[float]]) -> float:
    values = [value for column in columns for value in column]
    return math.fsum(values) / len(values) if values else math.nan


def describe_json(comparison: RunComparison) -> dict[str, Any]:
    """
    Describe a comparison as plain data.

    Args:
        comparison ([`RunComparison`]):
            The comparison.

    Returns:
        `dict`: all figures; fractions, and `None` where a number does not exist.
    """
    return {
        "groups": [
            {
                "name": group.name,
                "runs": [{"folder": run.folder, "seed": run.seed, "evaluation": str(run.path)} for run in group.runs],
            }
            for group in comparison.groups
        ],
        "comparisons": [
            {
                "first": each.first,
                "second": each.second,
                "pairs": [
                    {"seed": pair.label, "first": pair.first.folder, "second": pair.second.folder}
                    for pair in each.pairs
                ],
                "method": each.method,
                "notes": each.notes,
                "sets": [_describe_set(one) for one in each.sets],
            }
            for each in comparison.comparisons
        ],
        "settings": [row._asdict() for row in comparison.settings],
        "curves": [describe_curve(curve) for curve in comparison.curves],
        "notes": comparison.notes,
    }


def _describe_set(each: ComparedSet) -> dict[str, Any]:
    return {
        "name": each.name,
        "title": each.title,
        "figures": {name: _describe_figure(figure) for name, figure in each.figures.items()},
    }


def _describe_figure(figure: ComparedFigure) -> dict[str, Any]:
    found = figure.difference
    interval = None if math.isnan(found.low) else [found.low, found.high]
    return {
        "first": _to_number(figure.first),
        "second": _to_number(figure.second),
        "difference": _to_number(found.mean),
        "interval": interval,
        "is_noise": found.is_noise,
        "num_seeds": found.num_seeds,
        "num_problems": found.num_problems,
        "num_differing": found.num_differing,
        "variances": {name: _to_number(value) for name, value in found.spread._asdict().items()},
        "needed_for_80_percent_power": {"problems": figure.needed_problems, "seeds": figure.needed_seeds},
    }


def _to_number(value: float) -> float | None:
    return None if math.isnan(value) else value
