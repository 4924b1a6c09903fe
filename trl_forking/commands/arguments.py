"""The parser of every command: TRL's, with short messages for a user's mistakes and a short help."""

import argparse
import difflib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import is_dataclass
from typing import Any, get_type_hints

from trl import TrlParser

from ..run.user_errors import UserError, exit_on_user_error
from ..settings.limits import check_numbers
from .config_file import convert_value, read_key_lines, suggest_name, take_config
from .help_text import HelpFormatter, find_width, format_flag, format_names, wrap_lines


BUILT_IN = "countdown"
"""The name of the model and of the task that come with the package, wherever a flag takes a model, data or prompts."""

_NOTE = (
    "--config FILE.yaml sets any of these flags; the command line overrides the file. --debug shows the traceback of a "
    "mistake."
)
_COMMAND_LINE = "command line"
_CHOICE = re.compile(r"argument (?P<flag>--\w+)\S*: invalid choice: '(?P<value>.*)' \(choose from (?P<choices>.*)\)")
_NEGATIVE_NUMBER = re.compile(r"^-(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf(?:inity)?|nan)$", re.IGNORECASE)


class ForkingParser(TrlParser):
    """
    A [`~trl.TrlParser`] that answers a mistake with exit code 2, at most three lines and the nearest valid name.

    The command line wins over the YAML file that `--config` names, and the file wins over the defaults. The values of
    the file must have the same types and choices as those of the command line. The mapping `env:` of the file sets
    environment variables over those of the shell, as in TRL. Flags take dashes and underscores, and cannot be
    shortened. A bare `--debug` shows the traceback of a mistake. With a value, `--debug` stays the field of
    [`~transformers.TrainingArguments`].

    `--help` shows the flags of `groups`, or every flag where there are no groups. `--help-all` shows every flag, and begins
    with those of `--help` in their order. A help text may have a `%` in it.

    Args:
        dataclass_types (`type` or `Iterable[type]`):
            Dataclasses whose fields become the flags.
        groups (`Mapping[str, Iterable[str]]`, *optional*):
            The sections of `--help`: a title, and the names of the fields below it.
        also (`Mapping[str, Iterable[str]]`, *optional*):
            Further fields of a section, of which `--help` shows the names only.
        notes (`Iterable[str]`, *optional*):
            Paragraphs that `--help` shows after the groups.
        bare (`str`, *optional*):
            The field of a first argument that stands without a flag.
        **kwargs:
            Additional keyword arguments of [`~trl.TrlParser`].

    Attributes:
        debug (`bool`): whether `--debug` was given, for [`exit_on_user_error`] around the rest of the set-up.
        config_path (`str` or `None`): the YAML file, for messages that name it.

    Example:
    ```python
    >>> from trl import ModelConfig
    >>> from trl_forking import ForkingGRPOConfig
    >>> from trl_forking.commands.arguments import ForkingParser

    >>> parser = ForkingParser((ForkingGRPOConfig, ModelConfig))
    >>> training_args, model_args = parser.parse_args_and_config(["--token-selection", "low_entropy"])
    >>> training_args.token_selection
    'low_entropy'
    ```
    """

    def __init__(
        self,
        dataclass_types: Any = None,
        *,
        groups: Mapping[str, Iterable[str]] | None = None,
        also: Mapping[str, Iterable[str]] | None = None,
        notes: Iterable[str] = (),
        bare: str | None = None,
        **kwargs: Any,
    ):
        # An abbreviation that fits one field today fits two as soon as TRL adds another one.
        kwargs.setdefault("allow_abbrev", False)
        kwargs.setdefault("epilog", _NOTE)
        kwargs.setdefault("formatter_class", HelpFormatter)
        super().__init__(dataclass_types, **kwargs)
        self.usage = self.usage or f"{self.prog} [flags]"  # type: ignore[has-type]  # argparse would list all flags
        # argparse of Python 3.13 and older takes -1e-6 for a flag.
        self._negative_number_matcher = _NEGATIVE_NUMBER
        if self.add_help:
            self.add_argument(
                "--help-all", "--help_all", action="help", default=argparse.SUPPRESS, help="show every flag and exit"
            )
        self.debug = False
        self.config_path: str | None = None
        self._groups, self._also, self._notes, self._bare = groups, also or {}, list(notes), bare
        self._order_full_help()
        self._config_lines: dict[str, int] = {}  # key -> line in the YAML file
        self._config_values: dict[str, Any] = {}
        self._args: list[str] = []
        self._refuse_unknown = True

    def parse_args_and_config(self, args: Any = None, **kwargs: Any) -> tuple[Any, ...]:  # type: ignore[override]
        """
        Parse the flags and the YAML file into the dataclasses.

        Args:
            args (`Iterable[str]`, *optional*, defaults to `sys.argv[1:]`):
                The command line.
            **kwargs:
                Keyword arguments of [`~trl.TrlParser.parse_args_and_config`].

        Returns:
            `tuple`: one instance of each dataclass, in their order.

        Raises:
            SystemExit: with code 0 after the help, and with code 2 after one sentence about an unknown flag or key, a
                value of the wrong type, a missing file, or a `ValueError` of a dataclass.
        """
        self._refuse_unknown = not kwargs.get("return_remaining_strings", False)
        args = [str(arg) for arg in (sys.argv[1:] if args is None else args)]
        self.answer_help(args)
        self.debug, args = _take_debug(args)
        if self._bare and args and not args[0].startswith("-"):
            args = [f"--{self._bare}", *args]
        with exit_on_user_error(self.debug):
            self.config_path, self._args = take_config(args)
            if self.config_path is None:
                return super().parse_args_and_config(self._args, **kwargs)
            self._config_lines = read_key_lines(self.config_path)
            return super().parse_args_and_config(["--config", self.config_path, *self._args], **kwargs)

    def answer_help(self, args: Iterable[str]) -> None:
        """
        Print the help that a command line asks for, and exit.

        This comes before all checks: a command with a mistake in it can still be asked for its help.

        Args:
            args (`Iterable[str]`):
                The command line.

        Raises:
            SystemExit: with code 0, if there was help to print.

        Example:
        ```python
        >>> from dataclasses import make_dataclass
        >>> from trl_forking.commands.arguments import ForkingParser

        >>> ForkingParser(make_dataclass("Arguments", []), prog="tool").answer_help(["--seed", "1"])
        ```
        """
        asked = set(args) if self.add_help else set()
        if {"--help-all", "--help_all"} & asked:
            print(self.format_help(), end="")
        elif {"-h", "--help"} & asked:
            print(self.format_help() if self._groups is None else self.format_short_help(), end="")
        else:
            return
        sys.exit(0)

    def format_short_help(self) -> str:
        """
        Write the short help: the flags of the groups with their defaults, and the notes, at the width of the terminal.

        Returns:
            `str`: usage, description, groups and notes.

        Example:
        ```python
        >>> from dataclasses import field, make_dataclass
        >>> from trl_forking.commands.arguments import ForkingParser

        >>> arguments = make_dataclass("Arguments", [("seed", int, field(default=0, metadata={"help": "The seed."}))])
        >>> parser = ForkingParser(arguments, prog="tool", groups={"Chance": ["seed"]})
        >>> print(parser.format_short_help(), end="")
        usage: tool [flags]
        <BLANKLINE>
        Chance
          --seed                         The seed. [0]
        ...
        ```
        """
        width, groups = find_width(), []
        for title, names in (self._groups or {}).items():
            flags = [
                format_flag(next(action for action in self._actions if action.dest == name), width) for name in names
            ]
            groups.append("\n".join([title, *flags, *format_names(self._also.get(title, ()), width)]))
        opening = f"usage: {self.usage}"
        parts = [
            opening,
            self.description or "",
            "\n".join(groups),
            *self._notes,
            f"{_NOTE} --help-all shows every flag.",
        ]
        return "\n\n".join(wrap_lines(part, width) for part in parts if part) + "\n"

    def _order_full_help(self) -> None:
        """Put the flags of `--help` in front of all others. The order of the fields is that of their dataclasses."""
        names = ["help"]
        for title, own in (self._groups or {}).items():
            names += [*own, *self._also.get(title, ())]
        places = {name: place for place, name in enumerate(names)}
        self._optionals._group_actions.sort(key=lambda action: places.get(action.dest, len(places)))

    def set_defaults_with_config(self, **config: Any) -> list[str]:
        """Check the keys and values of the YAML file, make them the defaults, and return what belongs to no field."""
        fields = [action for action in self._actions if action.default is not argparse.SUPPRESS]  # all but the helps
        actions = {action.dest: action for action in reversed(fields)}  # a field comes before its --no_field
        hints = {name: hint for dtype in self.dataclass_types for name, hint in get_type_hints(dtype).items()}
        for key, value in config.items():
            if key in actions:
                try:
                    config[key] = convert_value(actions[key], hints.get(key, Any), value)
                except (ValueError, TypeError) as error:
                    raise UserError(f"{self._place(key)}{key}: {error}") from error
            elif self._refuse_unknown:
                raise UserError(f"{self._place(key)}unknown key {key}{suggest_name(str(key), actions)}")
        self._config_values = {key: value for key, value in config.items() if key in actions}
        return super().set_defaults_with_config(**config)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:  # type: ignore[override]
        """Parse as argparse does, and refuse unknown flags before a dataclass is built from the others."""
        namespace, unknown = super().parse_known_args(args, namespace)
        if unknown and self._refuse_unknown:
            flag = next((arg for arg in unknown if arg.startswith("-")), unknown[0]).split("=")[0]
            if not flag.startswith("-"):
                raise UserError(f"unexpected argument {flag} on the command line: flags start with --")
            dests = [action.dest for action in self._actions]
            raise UserError(f"unknown flag {flag} on the command line{suggest_name(flag, dests, '--')}")
        return namespace, unknown

    def parse_args_into_dataclasses(self, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Build the dataclasses, and say on which line a value stands that one of them refuses."""
        with self.naming_places():
            parsed = super().parse_args_into_dataclasses(*args, **kwargs)
            for instance in filter(is_dataclass, parsed):
                check_numbers(instance)
            return parsed

    @contextmanager
    def naming_places(self) -> Iterator[None]:
        """
        Say where the value stands that a check refuses: on the command line, or on which line of the YAML file.

        Raises:
            [`UserError`]: in place of a `ValueError` that names a field which was set.

        Example:
        ```python
        >>> from dataclasses import make_dataclass
        >>> from trl_forking.commands.arguments import ForkingParser

        >>> parser = ForkingParser(make_dataclass("Arguments", [("seed", int, 0)]))
        >>> arguments = parser.parse_args_and_config(["--seed", "1"])
        >>> with parser.naming_places():
        ...     raise ValueError("seed must be even, but it is 1.")
        Traceback (most recent call last):
            ...
        trl_forking.run.user_errors.UserError: command line: seed must be even, but it is 1.
        ```
        """
        try:
            yield
        except ValueError as error:
            text = str(error)
            if text.startswith(tuple(filter(None, (self.config_path, _COMMAND_LINE, "--")))):
                raise
            raise UserError(f"{self._find_place(text)}{text}") from error

    def _find_place(self, message: str) -> str:
        """Find where the first field stands that a message names and that was set."""
        given = {arg.split("=")[0].lstrip("-").replace("-", "_") for arg in self._args if arg.startswith("-")}
        dests = {action.dest for action in self._actions}
        if self._begins_with_place(message):
            return ""
        names = re.findall(r"\w+", message)
        # Elsewhere in a sentence, `data` or `prompts` may be a word and no field.
        plain = [name for name in names if "_" in name or name == names[0]]

        def find(candidates: list[str]) -> str:
            for name in candidates:
                if name in dests & given:
                    return f"{_COMMAND_LINE}: "
                if name in dests & self._config_lines.keys():
                    return self._place(name)
            return ""

        return find(plain) or self._find_value(message) or find(names)

    def _begins_with_place(self, message: str) -> bool:
        """Whether a message names a file that was given, and a row of it."""
        given = [*self._list_given(), *map(str, self._config_values.values())]
        return any(text and message.startswith((f"{text}, row", f"{text}:")) for text in given)

    def _find_value(self, message: str) -> str:
        """Find where the text stands that a message quotes, such as the name of a file. At its start it is a place itself."""

        def is_quoted(value: Any) -> bool:
            texts = [str(each) for each in (value if isinstance(value, list) else [value])]
            return any(len(text) > 2 and text in message and not message.startswith(text) for text in texts)

        if any(map(is_quoted, self._list_given())):
            return f"{_COMMAND_LINE}: "
        return next((self._place(key) for key, value in self._config_values.items() if is_quoted(value)), "")

    def _list_given(self) -> list[str]:
        """List the values on the command line, of `--name value` and of `--name=value`."""
        return [arg.split("=", 1)[-1] for arg in self._args if not re.fullmatch(r"--[\w-]+", arg)]

    def error(self, message: str) -> Any:
        """Raise a message of argparse as a [`UserError`]; argparse itself would print the usage of all flags."""
        if match := _CHOICE.fullmatch(message):
            choices = re.findall(r"'([^']*)'", match["choices"])
            close = difflib.get_close_matches(match["value"], choices, n=1)
            remedy = f"did you mean {close[0]!r}?" if close else f"take one of {', '.join(map(repr, choices))}."
            message = f"{match['flag']}: {match['value']!r} is not one of its values; {remedy}"
        raise UserError(message)

    def _place(self, key: str) -> str:
        line = f":{self._config_lines[key]}" if key in self._config_lines else ""  # a key of a YAML merge has none
        return f"{self.config_path}{line}: "


def _take_debug(args: list[str]) -> tuple[bool, list[str]]:
    """Take our bare `--debug` out; `--debug underflow_overflow` belongs to Transformers."""
    for index, arg in enumerate(args):
        if arg == "--debug" and (index + 1 == len(args) or args[index + 1].startswith("-")):
            return True, args[:index] + args[index + 1 :]
    return False, args
