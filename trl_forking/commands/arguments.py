"""Flags and YAML files: TRL's parser, and short messages for a user's mistakes."""

import difflib
import re
import sys
from dataclasses import is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml
from trl import TrlParser

from ..run.user_errors import UserError, exit_on_user_error


class ForkingParser(TrlParser):
    """
    [`~trl.TrlParser`] that treats a mistake as one: exit code 2, at most three lines, the nearest valid name.

    The command line wins over the YAML file named by `--config`, and the file over the defaults. Values of the file
    are held to the same types and choices as those of the command line. Its `env:` mapping sets environment variables
    over those of the shell, as in TRL. Flags take dashes and underscores, and must be written out. A bare `--debug`
    shows the traceback of a mistake (with a value it stays the field of [`~transformers.TrainingArguments`]).

    Args:
        dataclass_types (`type` or `Iterable[type]`):
            Dataclasses whose fields become the flags.
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

    def __init__(self, dataclass_types: Any = None, **kwargs: Any):
        # An abbreviation that is unique today stops being so when TRL adds a field.
        kwargs.setdefault("allow_abbrev", False)
        kwargs.setdefault(
            "epilog", "--config FILE.yaml sets any of these, the command line wins; --debug shows tracebacks."
        )
        super().__init__(dataclass_types, **kwargs)
        self.debug = False
        self.config_path: str | None = None
        self._config_lines: dict[str, int] = {}  # key -> line in the YAML file
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
            `tuple`: one instance per dataclass, in order.

        Raises:
            SystemExit: with code 2, after one sentence, for an unknown flag or key, a value of the wrong type, a
                missing file, and a `ValueError` of a dataclass.
        """
        self._refuse_unknown = not kwargs.get("return_remaining_strings", False)
        args = [str(arg) for arg in (sys.argv[1:] if args is None else args)]
        self.debug, args = _take_debug(args)
        with exit_on_user_error(self.debug):
            self.config_path, self._args = _take_config(args)
            if self.config_path is None:
                return super().parse_args_and_config(self._args, **kwargs)
            self._config_lines = _read_key_lines(self.config_path)
            return super().parse_args_and_config(["--config", self.config_path, *self._args], **kwargs)

    def set_defaults_with_config(self, **config: Any) -> list[str]:
        """Check the keys and values of the YAML file, and make them the defaults; return what no field takes."""
        actions = {action.dest: action for action in reversed(self._actions)}  # a field comes before its --no_field
        hints = {name: hint for dtype in self.dataclass_types for name, hint in get_type_hints(dtype).items()}
        for key, value in config.items():
            if key in actions:
                try:
                    config[key] = _convert(actions[key], hints.get(key, Any), value)
                except (ValueError, TypeError) as error:
                    raise UserError(f"{self._place(key)}{key}: {error}") from error
            elif self._refuse_unknown:
                raise UserError(f"{self._place(key)}unknown key {key}{_nearest(str(key), actions)}")
        return super().set_defaults_with_config(**config)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:  # type: ignore[override]
        """Parse as argparse does, and refuse unknown flags here, before a dataclass is built from the others."""
        namespace, unknown = super().parse_known_args(args, namespace)
        if unknown and self._refuse_unknown:
            flag = next((arg for arg in unknown if arg.startswith("-")), unknown[0]).split("=")[0]
            if not flag.startswith("-"):
                raise UserError(f"unexpected argument {flag} on the command line: flags start with --")
            dests = [action.dest for action in self._actions]
            raise UserError(f"unknown flag {flag} on the command line{_nearest(flag, dests, '--')}")
        return namespace, unknown

    def parse_args_into_dataclasses(self, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Build the dataclasses, and say where a value that one of them refuses was written."""
        try:
            return super().parse_args_into_dataclasses(*args, **kwargs)
        except UserError:
            raise
        except ValueError as error:
            given = {arg.split("=")[0].lstrip("-").replace("-", "_") for arg in self._args if arg.startswith("-")}
            named = [key for key in self._config_lines if key not in given and re.search(rf"\b{key}\b", str(error))]
            raise UserError(f"{self._place(named[0]) if named else ''}{error}") from error

    def error(self, message: str) -> Any:
        """Raise what argparse has to say as a [`UserError`], in place of the usage of a hundred flags."""
        raise UserError(message)

    def _place(self, key: str) -> str:
        line = f":{self._config_lines[key]}" if key in self._config_lines else ""  # a YAML merge has none
        return f"{self.config_path}{line}: "


def _take_debug(args: list[str]) -> tuple[bool, list[str]]:
    """Take our bare `--debug` out; `--debug underflow_overflow` belongs to Transformers."""
    for index, arg in enumerate(args):
        if arg == "--debug" and (index + 1 == len(args) or args[index + 1].startswith("-")):
            return True, args[:index] + args[index + 1 :]
    return False, args


def _take_config(args: list[str]) -> tuple[str | None, list[str]]:
    """Take `--config FILE` or `--config=FILE` out."""
    # TRL knows the first form only, and takes the flag for an unknown one otherwise.
    args = [part for arg in args for part in (arg.split("=", 1) if arg.startswith("--config=") else [arg])]
    if "--config" not in args:
        return None, args
    index = args.index("--config")
    if index + 1 == len(args):
        raise UserError("--config on the command line has no value: give it a YAML file.")
    if "--config" in args[index + 1 :]:
        raise UserError("--config on the command line is given twice: put everything into one YAML file.")
    return args[index + 1], args[:index] + args[index + 2 :]


def _read_key_lines(path: str) -> dict[str, int]:
    """Read a YAML file's keys with their lines, and refuse a file that is no mapping."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        yaml.safe_load(text)  # an unknown !tag shows only now
    except FileNotFoundError as error:
        raise UserError(f"--config {path}: there is no such file{_nearest_file(path)}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--config {path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        line = f":{mark.line + 1}" if (mark := getattr(error, "problem_mark", None)) else ""
        raise UserError(f"{path}{line}: not valid YAML: {getattr(error, 'problem', error)}") from error
    if not isinstance(node, yaml.MappingNode):
        raise UserError(f"--config {path} has no `key: value` lines: write one per field.")
    lines: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if key.tag.endswith(":merge"):  # `<<: *defaults`
            continue
        if not key.tag.endswith(":str"):
            raise UserError(f"{path}:{line}: a key must be the name of a field.")
        if key.value in lines:
            raise UserError(f"{path}:{line}: {key.value} is already set in line {lines[key.value]}: keep one of them.")
        if key.value == "env" and not isinstance(value, yaml.MappingNode):
            raise UserError(f"{path}:{line}: env must be a mapping of variable names to values.")
        lines[key.value] = line
    return lines


def _convert(action: Any, hint: Any, value: Any) -> Any:
    """Give a YAML value the type that the command line would give it, and hold it to the same choices."""
    if action.nargs == "+" and value is not None:
        elements = value if isinstance(value, list) else [value]
        element_hint = next((get_args(arg)[0] for arg in (hint, *get_args(hint)) if get_origin(arg) is list), Any)
        return [_convert_one(action, element_hint, element) for element in elements]
    return _convert_one(action, hint, value)


def _convert_one(action: Any, hint: Any, value: Any) -> Any:
    expected = re.sub(r"<class '(.*?)'>|typing\.", r"\1", str(hint))
    if isinstance(value, str) or (type(value) in (int, float) and not _matches(value, hint)):
        try:
            # YAML 1.1 reads 1e-6 as text, and 5 as no float: what the command line makes of them is what is meant.
            value = action.type(str(value)) if action.type else value
        except Exception as error:  # the converters of argparse raise what they like
            raise UserError(f"expected {expected}, got {value!r}") from error
    elif not _matches(value, hint):
        remedy = " (YAML reads yes, no, on and off as booleans: put it in quotes)" if isinstance(value, bool) else ""
        raise UserError(f"expected {expected}, got {value!r}{remedy}")
    if action.choices is not None and value is not None and value not in action.choices:
        choices = list(action.choices)
        raise UserError(f"expected one of {choices}, got {value!r}{_nearest(str(value), map(str, choices))}")
    return value


def _matches(value: Any, hint: Any) -> bool:
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return any(_matches(value, arg) for arg in get_args(hint))
    if origin is Literal:
        return value in get_args(hint)
    if origin is list:
        return isinstance(value, list) and all(_matches(element, get_args(hint)[0]) for element in value)
    if is_dataclass(hint):
        return isinstance(value, dict)  # `datasets:` of TRL's DatasetMixtureConfig
    return hint is Any or type(value) is (origin or hint)


def _nearest(name: str, names: Any, prefix: str = "") -> str:
    close = difflib.get_close_matches(name.lstrip("-").replace("-", "_"), list(names), n=1)
    return f"; did you mean {prefix}{close[0]}?" if close else "; --help lists the valid ones."


def _nearest_file(path: str) -> str:
    folder = Path(path).parent
    names = [entry.name for entry in folder.glob("*.y*ml")] if folder.is_dir() else []
    close = difflib.get_close_matches(Path(path).name, names, n=1)
    return f"; did you mean {folder / close[0]}?" if close else "."
