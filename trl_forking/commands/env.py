"""`trl-forking env`: prints versions, devices and what is missing, for a bug report."""

import sys

from ..run.environment import describe_environment
from .help_text import find_width, wrap_lines


_HELP = """usage: trl-forking env [--help]

Print the versions of the packages, the devices, and what is missing for which feature. Paste it into a bug report.

--help-all is the same: there are no flags."""


def run_env(flags: list[str]) -> None:
    """
    Run `trl-forking env`.

    Args:
        flags (`list[str]`):
            No flag but `--help` is known.

    Raises:
        `SystemExit`: with code 2 and one sentence for a flag that does not exist.

    Example:
    ```python
    >>> from trl_forking.commands.env import run_env
    >>> run_env([])
    Versions
    ...
    ```
    """
    if any(flag in ("-h", "--help", "--help-all", "--help_all") for flag in flags):
        print(wrap_lines(_HELP, find_width()))
        sys.exit(0)
    unknown = [flag for flag in flags if flag != "--debug"]
    if unknown:
        print(f"error: unknown argument {unknown[0]!r}: trl-forking env takes no flags.", file=sys.stderr)
        sys.exit(2)
    print(describe_environment())
