"""The YAML file that `--config` names: where it is on the command line, what its lines say, and what its values are."""

import difflib
import re
from collections.abc import Iterable
from dataclasses import is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import yaml

from ..run.user_errors import UserError
from ..run.yaml_text import compose_yaml


def take_config(args: Iterable[str]) -> tuple[str | None, list[str]]:
    """
    Take `--config FILE` or `--config=FILE` out of a command line.

    Args:
        args (`Iterable[str]`):
            The command line.

    Returns:
        `tuple[str | None, list[str]]`: the file, or `None` where no `--config` is given, and the other arguments.

    Raises:
        [`UserError`]: if the flag has no value or is given twice.

    Example:
    ```python
    >>> from trl_forking.commands.config_file import take_config
    >>> take_config(["--config=train.yaml", "--seed", "1"])
    ('train.yaml', ['--seed', '1'])
    ```
    """
    # TRL knows the form with a space only, and calls the other form an unknown flag.
    args = [part for arg in args for part in (arg.split("=", 1) if arg.startswith("--config=") else [arg])]
    if "--config" not in args:
        return None, args
    index = args.index("--config")
    if index + 1 == len(args):
        raise UserError("--config on the command line has no value: give it a YAML file.")
    if "--config" in args[index + 1 :]:
        raise UserError("--config on the command line is given twice: put everything into one YAML file.")
    return args[index + 1], args[:index] + args[index + 2 :]


def read_key_lines(path: str) -> dict[str, int]:
    """
    Read on which line of a YAML file each key stands.

    Args:
        path (`str`):
            The file.

    Returns:
        `dict[str, int]`: the line of each key, counted from 1. Keys that a YAML merge brings in are left out.

    Raises:
        [`UserError`]: if the file is missing or is not a YAML mapping of field names, or if a key stands in it twice.

    Example:
    ```python
    >>> from pathlib import Path
    >>> from trl_forking.commands.config_file import read_key_lines
    >>> size = Path("train.yaml").write_text("seed: 1\\nmax_steps: 3\\n")
    >>> read_key_lines("train.yaml")
    {'seed': 1, 'max_steps': 2}
    ```
    """
    node = _read_node(path)
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


def _read_node(path: str) -> yaml.Node | None:
    try:
        text = Path(path).read_text(encoding="utf-8")
        node = compose_yaml(text)
        yaml.safe_load(text)  # composing accepts an unknown !tag; only this refuses it
    except FileNotFoundError as error:
        raise UserError(f"--config {path}: there is no such file{_suggest_file(path)}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--config {path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        line = f":{mark.line + 1}" if (mark := getattr(error, "problem_mark", None)) else ""
        raise UserError(f"{path}{line}: not valid YAML: {getattr(error, 'problem', error)}") from error
    return node


def convert_value(action: Any, hint: Any, value: Any) -> Any:
    """
    Convert a value of a YAML file to the type that the command line would give it.

    Args:
        action (`argparse.Action`):
            The flag of the same name, with its converter and its choices.
        hint (`Any`):
            Type hint of the field.
        value (`Any`):
            What YAML makes of the text.

    Returns:
        `Any`: the value of the field.

    Raises:
        [`UserError`]: if the value has another type, or is none of the choices.

    Example:
    ```python
    >>> from types import SimpleNamespace
    >>> from trl_forking.commands.config_file import convert_value
    >>> convert_value(SimpleNamespace(type=float, nargs=None, choices=None), float, "1e-6")  # text in YAML 1.1
    1e-06
    ```
    """
    if action.nargs == "+" and value is not None:
        elements = value if isinstance(value, list) else [value]
        element_hint = next((get_args(arg)[0] for arg in (hint, *get_args(hint)) if get_origin(arg) is list), Any)
        return [_convert_element(action, element_hint, element) for element in elements]
    return _convert_element(action, hint, value)


def _convert_element(action: Any, hint: Any, value: Any) -> Any:
    expected = re.sub(r"<class '(.*?)'>|typing\.", r"\1", str(hint))
    if isinstance(value, str) or (type(value) in (int, float) and not _matches(value, hint)):
        try:
            # YAML 1.1 reads 1e-6 as text, and 5 as an integer. The converter of the command line makes both a float.
            value = action.type(str(value)) if action.type else value
        except Exception as error:  # a converter of argparse may raise any error
            raise UserError(f"expected {expected}, got {value!r}") from error
    elif not _matches(value, hint):
        remedy = " (YAML reads yes, no, on and off as booleans: put it in quotes)" if isinstance(value, bool) else ""
        raise UserError(f"expected {expected}, got {value!r}{remedy}")
    if action.choices is not None and value is not None and value not in action.choices:
        choices = list(action.choices)
        raise UserError(f"expected one of {choices}, got {value!r}{suggest_name(str(value), map(str, choices))}")
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


def suggest_name(name: str, names: Iterable[str], prefix: str = "") -> str:
    """
    Suggest the valid name that is most like a wrong one.

    Args:
        name (`str`):
            The wrong name. Leading dashes are ignored, and other dashes count as underscores.
        names (`Iterable[str]`):
            The valid names.
        prefix (`str`, *optional*, defaults to `""`):
            What stands before the name in the suggestion.

    Returns:
        `str`: the end of a sentence.

    Example:
    ```python
    >>> from trl_forking.commands.config_file import suggest_name
    >>> suggest_name("--max-step", ["max_steps", "seed"], prefix="--")
    '; did you mean --max_steps?'
    ```
    """
    close = difflib.get_close_matches(name.lstrip("-").replace("-", "_"), list(names), n=1)
    return f"; did you mean {prefix}{close[0]}?" if close else "; --help lists the valid ones."


def _suggest_file(path: str) -> str:
    folder = Path(path).parent
    names = [entry.name for entry in folder.glob("*.y*ml")] if folder.is_dir() else []
    close = difflib.get_close_matches(Path(path).name, names, n=1)
    return f"; did you mean {folder / close[0]}?" if close else "."
