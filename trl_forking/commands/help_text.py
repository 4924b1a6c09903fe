"""Help texts at the width of the terminal, down to 40 columns."""

import argparse
import re
import shutil
import textwrap
from collections.abc import Iterable


_WIDEST, _NARROWEST = 118, 40
_FLAG_COLUMN = 33  # where the texts of flags begin, if the terminal has room for it
_ROOM_FOR_COLUMNS = 80


def find_width() -> int:
    """
    Find the width of a help text: that of the terminal, between 40 and 118 columns.

    Example:
    ```python
    >>> from trl_forking.commands.help_text import find_width
    >>> 40 <= find_width() <= 118
    True
    ```
    """
    return min(max(shutil.get_terminal_size((_WIDEST, 24)).columns, _NARROWEST), _WIDEST)


def format_flag(action: argparse.Action, width: int) -> str:
    """
    Write a flag with its text and its default. On a narrow terminal the text stands below the flag.

    Args:
        action (`argparse.Action`):
            The flag.
        width (`int`):
            Columns.

    Returns:
        `str`: one or more lines.

    Example:
    ```python
    >>> from trl_forking.commands.help_text import format_flag
    >>> action = argparse.ArgumentParser().add_argument("--seed", default=0, help="The seed of `everything`.")
    >>> print(format_flag(action, 80))
      --seed                         The seed of everything. [0]
    ```
    """
    default = "" if action.default is None or action.default is False else f" [{action.default}]"
    text = f"{(action.help or '').replace('`', '').replace('%%', '%')}{default}"
    if width < _ROOM_FOR_COLUMNS:
        return f"  --{action.dest} \n" + textwrap.fill(text, width, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return textwrap.fill(f"  --{action.dest:28s} {text}", width, subsequent_indent=" " * _FLAG_COLUMN)


def format_names(names: Iterable[str], width: int) -> list[str]:
    """
    Write flags without their texts.

    Example:
    ```python
    >>> from trl_forking.commands.help_text import format_names
    >>> format_names(["seed", "max_steps"], 80)
    ['  also --seed --max_steps']
    ```
    """
    text = " ".join(f"--{name}" for name in names)
    return [textwrap.fill(f"  also {text}", width, subsequent_indent=" " * 7, break_on_hyphens=False)] if text else []


def wrap_lines(text: str, width: int) -> str:
    """
    Wrap the lines of a text that are too long, with what follows a little further in.

    Example:
    ```python
    >>> from trl_forking.commands.help_text import wrap_lines
    >>> print(wrap_lines("short\\n  a line that is too long for this", 20))
    short
      a line that is too
        long for this
    ```
    """
    lines = []
    for line in text.splitlines():
        start = len(line) - len(line.lstrip())
        indent = " " * (start and start + 2)
        is_long = len(line) > width
        lines.append(textwrap.fill(line, width, subsequent_indent=indent, break_on_hyphens=False) if is_long else line)
    return "\n".join(lines)


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """
    Shows each flag in one form, and a `%` of a help text as it is. argparse would take it for a format, and crash.

    Example:
    ```python
    >>> from trl_forking.commands.help_text import HelpFormatter
    >>> parser = argparse.ArgumentParser(prog="tool", formatter_class=HelpFormatter)
    >>> _ = parser.add_argument("--max_steps", "--max-steps", type=int, default=3, help="50 % of it.")
    >>> "--max_steps MAX_STEPS" in parser.format_help() and "50 % of it. (default: 3)" in parser.format_help()
    True
    ```
    """

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=24, width=find_width())

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings:
            return super()._format_action_invocation(action)
        flag = next((name for name in action.option_strings if name.startswith("--")), action.option_strings[0])
        if action.nargs == 0:
            return flag
        value = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
        value = "VALUE" if action.choices or len(flag) + len(value) > _NARROWEST - 4 else value
        return flag if len(flag) + len(value) + 3 > self._width else f"{flag} {value}"

    def _get_help_string(self, action: argparse.Action) -> str:
        known = {"prog", *vars(action)}

        def escape(match: re.Match[str]) -> str:
            is_format = match["escaped"] is not None or match["name"] in known
            return match[0] if is_format else f"%{match[0]}"

        text = super()._get_help_string(action) or ""
        if action.choices:
            text += f" (one of {', '.join(map(str, action.choices))})".replace("%", "%%")
        return re.sub(r"%(?P<escaped>%)?(?:\((?P<name>\w+)\)[sdr])?", escape, text)
