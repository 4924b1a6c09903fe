"""The settings that are more than a number or a word: mappings, which the command line takes as JSON, and pairs `name=value`."""

import dataclasses
import difflib
import importlib
import json
from pathlib import Path
from typing import Any

from .limits import check_choice
from .plain import find_field_types
from .source import Unreadable, read_class, read_value


_MAY_BE_FILES = ("accelerator_config", "fsdp_config", "deepspeed")
_MAY_BE_CODED = ("deepspeed",)  # Transformers takes a configuration in base64 too


def check_mappings(settings: Any) -> None:
    """
    Check the fields that take a mapping, and those whose text has parts. Transformers reads most of them in training only.

    Args:
        settings ([`ForkingGRPOConfig`]):
            Config whose fields are plain.

    Raises:
        `ValueError`: if a text is no JSON object and names no file, or if a part of it is unknown. The message names the field.

    Example:
    ```python
    >>> from trl_forking import ForkingGRPOConfig
    >>> ForkingGRPOConfig("runs/example", generation_kwargs="min_new_tokens=4")
    Traceback (most recent call last):
        ...
    ValueError: generation_kwargs must be a mapping, but it is 'min_new_tokens=4': write it as JSON, such as '{"name": 1}'.
    ```
    """
    kind: type = type(settings)
    for name, types in find_field_types(kind).items():
        value = getattr(settings, name, None)
        if {dict, str} <= types and isinstance(value, str):
            value = _read_mapping(name, value)
        if name == "accelerator_config" and isinstance(value, dict):
            _check_keys(name, value, _list_accelerator_keys())
    _check_assignments("optim_args", getattr(settings, "optim_args", None))
    if (backend := getattr(settings, "torch_compile_backend", None)) is not None:
        check_choice("torch_compile_backend", str(backend).lower(), _list_backends())


def _read_mapping(name: str, text: str) -> Any:
    if text.startswith("{"):
        return _parse(name, text, "its text")
    if name not in _MAY_BE_FILES:
        raise ValueError(f"{name} must be a mapping, but it is {text!r}: write it as JSON, such as '{{\"name\": 1}}'.")
    path = Path(text)
    if path.is_file():
        return _parse(name, path.read_text(encoding="utf-8", errors="replace"), f"the file {path}")
    if name in _MAY_BE_CODED and "." not in text and len(text) % 4 == 0 and len(text) > 40:
        return text
    raise ValueError(f"{name}: there is no file {text}.")


def _parse(name: str, text: str, place: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} must be a JSON object, but {place} is not one ({error}): correct it.") from error
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be a JSON object, but {place} has another value: write '{{\"name\": 1}}'.")
    return value


def _check_keys(name: str, value: dict[str, Any], known: list[str]) -> None:
    for key in value:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"its names are {', '.join(known)}."
            raise ValueError(f"{name} has the unknown name {key!r}: {hint}")


def _list_accelerator_keys() -> list[str]:
    module = "transformers.trainer_pt_utils"
    try:
        kind = read_class(module, "AcceleratorConfig")
    except Unreadable:
        kind = importlib.import_module(module).AcceleratorConfig
    return [entry.name for entry in dataclasses.fields(kind)]


def _list_backends() -> list[str]:
    module = "accelerate.utils.dataclasses"
    try:
        kind = read_value(module, "DynamoBackend")
    except Unreadable:
        kind = importlib.import_module(module).DynamoBackend
    return [str(member.value).lower() for member in kind]


def _check_assignments(name: str, text: Any) -> None:
    """Check pairs as Transformers reads them: `name=value`, with commas between."""
    parts = text.replace(" ", "").split(",") if isinstance(text, str) and text else []
    wrong = next((part for part in parts if part.count("=") != 1), None)
    if wrong is not None:
        raise ValueError(f"{name} must be pairs such as 'name=1,other=2', but it has {wrong!r}: write name=value.")
