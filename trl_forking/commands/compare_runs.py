"""`trl-forking compare-runs`: did it help? Runs with their seeds compared at equal problems, with intervals."""

from dataclasses import dataclass, field
from pathlib import Path

from ..evaluation.evaluated_runs import read_groups
from ..run.user_errors import exit_on_user_error
from .arguments import ForkingParser


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
        groups = read_groups(args.runs or [])  # what is missing or broken is said before the import of the rest
        from .run_tables import print_comparison, write_comparison

        comparison, has_plot = write_comparison(groups, Path(args.output_dir))
    print_comparison(comparison, Path(args.output_dir), has_plot)
