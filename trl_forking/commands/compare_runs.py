"""`trl-forking compare-runs`: did it help? Runs with their seeds compared at equal problems, with intervals."""

import json
from dataclasses import dataclass, field
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
from ..evaluation.evaluated_runs import read_groups
from ..evaluation.results import COLUMN_NAMES
from ..evaluation.run_comparison import GroupComparison, RunComparison, compare_groups, describe_json
from ..run.user_errors import exit_on_user_error
from ..writing.files import write_atomically
from .arguments import ForkingParser


if TYPE_CHECKING:
    from rich.table import Table


_PLOT = "comparison.png"


@dataclass
class CompareRunsArguments:
    """
    Which runs `trl-forking compare-runs` compares.

    Parameters:
        runs (`list[str]`):
            Two groups of runs or more; the others are compared with the first. A group is a folder, a glob in quotes, or
            `name=folder1,folder2`. They may stand alone, without the flag, as the first arguments.
        output_dir (`str`, *optional*, defaults to `"runs/run_comparison"`):
            Folder to write to.

    Example:
    ```python
    >>> from trl_forking.commands.compare_runs import CompareRunsArguments
    >>> CompareRunsArguments(runs=["runs/a", "runs/b"]).output_dir
    'runs/run_comparison'
    ```
    """

    runs: list[str] | None = field(
        default=None,
        metadata={
            "help": "Groups of runs: a folder, a glob in quotes, or name=folder1,folder2. The first is compared to."
        },
    )
    output_dir: str = field(default="runs/run_comparison", metadata={"help": "Folder to write to."})


def run_compare_runs(flags: list[str]) -> None:
    """
    Run `trl-forking compare-runs A B [...]`.

    Args:
        flags (`list[str]`):
            The groups of runs, and flags.

    Raises:
        `SystemExit`: with code 2 and one sentence if the runs cannot be compared, or a file is broken.

    Example:
    ```python
    >>> from trl_forking.commands.compare_runs import run_compare_runs
    >>> run_compare_runs(["no-such-run", "nor-this"])
    Traceback (most recent call last):
        ...
    SystemExit: 2
    ```
    """
    if flags and not flags[0].startswith("-"):
        flags = ["--runs", *flags]
    parser = ForkingParser(
        CompareRunsArguments,
        prog="trl-forking compare-runs",
        usage="trl-forking compare-runs A B [...] [--output_dir FOLDER]",
        description="Compare runs at equal problems and equal seeds, by the evaluations that trl-forking evaluate wrote.",
        groups={"Flags": CompareRunsArguments.__annotations__},
    )
    (args,) = parser.parse_args_and_config(flags)
    with exit_on_user_error(parser.debug):
        comparison = compare_groups(read_groups(args.runs or []))
        folder = Path(args.output_dir)
        picture = draw_comparison(comparison)
        if picture is not None:
            write_atomically(folder / _PLOT, picture)
        write_atomically(folder / "comparison.md", build_report(comparison, _PLOT if picture is not None else None))
        content = json.dumps(describe_json(comparison), indent=2, ensure_ascii=False, allow_nan=False)
        write_atomically(folder / "comparison.json", content + "\n")
    _print_comparison(comparison)
    print(f"Table: {folder / 'comparison.md'}. Figures: {folder / 'comparison.json'}.")
    print(f"Plot: {folder / _PLOT}" if picture is not None else "No plot: pip install matplotlib")


def _print_comparison(comparison: RunComparison) -> None:
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
