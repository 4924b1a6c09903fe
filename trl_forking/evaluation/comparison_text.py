"""A comparison of runs in words: sentences, and tables in Markdown."""

import math
from typing import Any

from ..writing.markdown import escape_text, format_table
from .bootstrap import FEWEST_PROBLEMS
from .learning_curves import Curve
from .results import COLUMN_NAMES, NOISE, describe_few
from .run_comparison import ComparedFigure, ComparedSet, GroupComparison, RunComparison
from .summary import LENGTH


_POWER = (
    "The unit of differences is points of a percentage; that of tokens is tokens. Needed: the whole number of problems (with these seeds) or of seeds (on these problems) with which such a comparison "
    "finds a difference in 80 % of all cases, if the true difference is as large as the one found. One pair of runs cannot tell how many seeds."
)


def build_report(comparison: RunComparison, plot: str | None) -> str:
    """
    Write a comparison as Markdown.

    Args:
        comparison ([`RunComparison`]):
            The comparison.
        plot (`str`, *optional*):
            Name of the plot beside the file.

    Returns:
        `str`: the text.
    """
    parts = [f"# {escape_text(' · '.join(group.name for group in comparison.groups))}"]
    for each in comparison.comparisons:
        parts += [
            f"## {escape_text(each.second)} less {escape_text(each.first)}",
            format_results(each),
            "\n".join(f"- {escape_text(line)}" for line in describe_comparison(each)),
        ]
    parts += ["## All runs", "\n".join(f"- {escape_text(line)}" for line in describe_all(comparison))]
    if plot is not None:
        parts.append(f"![Rewards over steps and over tokens, and the differences]({plot})")
    parts += ["## Settings that differ", format_settings(comparison)]
    return "\n\n".join(parts) + "\n"


def format_results(each: GroupComparison) -> str:
    """
    Write the figures of two groups as a table in Markdown.

    Args:
        each ([`GroupComparison`]):
            The comparison.

    Returns:
        `str`: a row for each problem set and headline.
    """
    columns = ["problems", "figure", each.first, each.second, "difference", "95 % interval", "verdict"]
    columns += ["problems needed", "seeds needed"]
    rows = []
    for one in each.sets:
        for name in one.headlines:
            figure = one.figures[name]
            found = figure.difference
            rows.append(
                [
                    f"{one.title} ({found.num_problems})",
                    COLUMN_NAMES.get(name, name),
                    format_value(name, figure.first),
                    format_value(name, figure.second),
                    format_change(name, found.mean),
                    format_interval(name, figure),
                    NOISE if found.is_noise else "more than noise",
                    format_needed(figure.needed_problems),
                    format_needed(figure.needed_seeds),
                ]
            )
    return format_table(columns, rows)


def format_value(name: str, value: float) -> str:
    """
    Write a figure for people.

    Args:
        name (`str`):
            Name of the figure.
        value (`float`):
            A fraction, or tokens for a length.

    Returns:
        `str`: percent, or tokens; `"–"` where the figure is not defined.

    Example:
    ```python
    >>> format_value("avg@16", 0.4521), format_value("length", 812.2)
    ('45.2 %', '812.2')
    ```
    """
    if math.isnan(value):
        return "–"
    return f"{value:.1f}" if name == LENGTH else f"{100 * value:.1f} %"


def format_change(name: str, value: float) -> str:
    """
    Write a difference with its sign, in points of a percentage or in tokens.

    Example:
    ```python
    >>> format_change("avg@16", 0.04), format_change("length", -12.0)
    ('+4.0', '-12.0')
    ```
    """
    return "–" if math.isnan(value) else f"{value if name == LENGTH else 100 * value:+.1f}"


def format_interval(name: str, figure: ComparedFigure) -> str:
    """Write the interval of a difference in the unit of [`format_change`]; `"–"` where there is none."""
    low, high = figure.difference.low, figure.difference.high
    return "–" if math.isnan(low) else f"{format_change(name, low)} to {format_change(name, high)}"


def format_needed(number: int | None) -> str:
    """Write a number of seeds or problems that are needed; `"–"` where none is enough or known."""
    return "–" if number is None else f"{number:,}"


def format_settings(comparison: RunComparison) -> str:
    """
    Write the settings that differ as a table in Markdown.

    Args:
        comparison ([`RunComparison`]):
            The comparison.

    Returns:
        `str`: the table, or a sentence if no recorded setting differs.
    """
    if not comparison.settings:
        return "No recorded setting differs, apart from the seeds."
    names = list(comparison.settings[0].values)
    rows = [[row.name, *(format_values(row.values[name]) for name in names)] for row in comparison.settings]
    return format_table(["setting", *names], rows)


def format_values(values: list[Any]) -> str:
    """Write the values of a setting in a group of runs."""
    return ", ".join("not set" if value is None else f"{value}" for value in values)


def describe_comparison(each: GroupComparison) -> list[str]:
    """
    Say in sentences what a comparison found, how sure it is, and what it leaves out.

    Args:
        each ([`GroupComparison`]):
            The comparison.

    Returns:
        `list[str]`: sentences.
    """
    pairs = f"{len(each.pairs)} pairs of runs" if len(each.pairs) > 1 else "one pair of runs"
    lines = [_describe_set(each, one) for one in each.sets]
    lines.append(
        f"Compared: {pairs} ({', '.join(pair.label for pair in each.pairs)}), problem by problem. {each.method}"
    )
    if len(each.sets) > 1:
        lines.append(
            f"{len(each.sets)} problem sets are compared: of twenty such intervals one misses the truth by chance."
        )
    return [*lines, *each.notes]


def _describe_set(each: GroupComparison, one: ComparedSet) -> str:
    name = one.headlines[0]
    figure = one.figures[name]
    found = figure.difference
    interval = "" if math.isnan(found.low) else f" (95 % interval {format_interval(name, figure)})"
    begin = (
        f"{one.title}: {each.second} has {name} {format_value(name, figure.second)}, and {each.first} has "
        f"{format_value(name, figure.first)}. The difference of {format_change(name, found.mean)} points{interval} is"
    )
    if not found.is_noise:
        return f"{begin} more than noise."
    if found.num_differing < FEWEST_PROBLEMS:
        return f"{begin} {NOISE}: {describe_few(found.num_differing, found.num_problems)}. {_describe_needed(figure)}"
    return f"{begin} {NOISE}. {_describe_needed(figure)}"


def _describe_needed(figure: ComparedFigure) -> str:
    found = figure.difference
    if found.mean == 0:
        return "The difference is zero, so that no number of problems or seeds would show it."
    ways = []
    if figure.needed_problems is not None:
        ways.append(f"{figure.needed_problems:,} problems")
    if figure.needed_seeds is not None:
        ways.append(f"{figure.needed_seeds:,} seeds")
    if ways:
        return f"To see a difference of this size, about {' or '.join(ways)} are needed."
    if found.num_seeds == 1:
        return "How many problems would show a difference of this size cannot be told."
    return "Neither more problems nor more seeds alone would show a difference of this size: more of both are needed."


def describe_all(comparison: RunComparison) -> list[str]:
    """
    Say what concerns all groups: what their training cost, and what is known of their settings.

    Args:
        comparison ([`RunComparison`]):
            The comparison.

    Returns:
        `list[str]`: sentences.
    """
    return [_POWER, *_describe_cost(comparison), *comparison.notes]


def _describe_cost(comparison: RunComparison) -> list[str]:
    names = [
        group.name for group in comparison.groups if any(curve.group == group.name for curve in comparison.curves)
    ]
    if not names:
        return []
    ends = [_describe_end(name, [curve for curve in comparison.curves if curve.group == name]) for name in names]
    lines = [
        f"Equal steps are not equal compute: {'; '.join(ends)}. Generated tokens are those of all answers in all rollouts, "
        "without prompts; the plot has both axes."
    ]
    unknown = [curve.folder for curve in comparison.curves if not curve.tokens]
    if unknown:
        lines.append(
            f"{', '.join(unknown)} did not count the generated tokens, in an older version or before a resume: missing over tokens."
        )
    return lines


def _describe_end(name: str, own: list[Curve]) -> str:
    of = f" (mean of {len(own)} runs)" if len(own) > 1 else ""
    steps = f"{sum(curve.num_steps for curve in own) / len(own):,.0f} steps{of}"
    if not all(curve.tokens for curve in own):
        return f"{name} made {steps}"
    return f"{name} generated {sum(curve.tokens[-1] for curve in own) / len(own):,.0f} tokens in {steps}"
