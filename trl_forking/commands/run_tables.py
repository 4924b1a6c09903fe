"""What `trl-forking compare-runs` writes and prints of a comparison."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..evaluation.comparison_plot import draw_comparison
from ..evaluation.comparison_text import (
    build_report,
    describe_all,
    describe_comparison,
    format_change,
    format_interval,
    format_value,
    format_values,
)
from ..evaluation.evaluated_runs import RunGroup
from ..evaluation.results import COLUMN_NAMES
from ..evaluation.run_comparison import GroupComparison, RunComparison, compare_groups, describe_json
from ..writing.files import write_atomically


if TYPE_CHECKING:
    from rich.table import Table


_PLOT = "comparison.png"


def write_comparison(groups: Sequence[RunGroup], folder: Path) -> tuple[RunComparison, bool]:
    """
    Compare groups of runs, and write the table, the figures and the plot.

    Args:
        groups (`Sequence[RunGroup]`):
            The groups. The others are compared with the first.
        folder (`Path`):
            Folder to write to.

    Returns:
        `tuple`: the comparison, and whether there is a plot.

    Raises:
        `ValueError`: if the runs cannot be compared.
    """
    comparison = compare_groups(groups)
    picture = draw_comparison(comparison)
    if picture is not None:
        write_atomically(folder / _PLOT, picture)
    write_atomically(folder / "comparison.md", build_report(comparison, _PLOT if picture is not None else None))
    content = json.dumps(describe_json(comparison), indent=2, ensure_ascii=False, allow_nan=False)
    write_atomically(folder / "comparison.json", content + "\n")
    return comparison, picture is not None


def print_comparison(comparison: RunComparison, folder: Path, has_plot: bool) -> None:
    """
    Print the tables of a comparison, and where its files are.

    Args:
        comparison ([`~trl_forking.evaluation.run_comparison.RunComparison`]):
            The comparison.
        folder (`Path`):
            Folder of the files.
        has_plot (`bool`):
            Whether there is a plot among them.
    """
    from rich.console import Console

    console = Console(soft_wrap=True, highlight=False)
    for each in comparison.comparisons:
        console.print(_build_table(each))
        for line in describe_comparison(each):
            console.print(line, markup=False)
        print()
    for line in describe_all(comparison):
        console.print(line, markup=False)
    print()
    if comparison.settings:
        console.print(_build_settings(comparison))
    else:
        print("No recorded setting differs, apart from the seeds.")
    print(f"Table: {folder / 'comparison.md'}. Figures: {folder / 'comparison.json'}.")
    print(f"Plot: {folder / _PLOT}" if has_plot else "No plot: pip install matplotlib")


def _build_table(each: GroupComparison) -> "Table":
    from rich.markup import escape
    from rich.table import Table

    table = Table("problems", "figure", box=None, pad_edge=False, header_style="bold")
    table.columns[0].max_width = 20
    for name in (each.first, each.second, "change", "95 % interval"):
        table.add_column(escape(name), justify="right")
    table.add_column("")
    for one in each.sets:
        for name in one.headlines:
            figure = one.figures[name]
            values = (format_value(name, figure.first), format_value(name, figure.second))
            change = format_change(name, figure.difference.mean)
            verdict = "noise" if figure.difference.is_noise else "more than noise"
            title = f"{one.title} ({figure.difference.num_problems})" if name == one.headlines[0] else ""
            table.add_row(
                escape(title), COLUMN_NAMES.get(name, name), *values, change, format_interval(name, figure), verdict
            )
    return table


def _build_settings(comparison: RunComparison) -> "Table":
    from rich.markup import escape
    from rich.table import Table

    names = list(comparison.settings[0].values)
    table = Table("settings that differ", *map(escape, names), box=None, pad_edge=False, header_style="bold")
    for row in comparison.settings:
        table.add_row(escape(row.name), *(escape(format_values(row.values[name])) for name in names))
    return table
