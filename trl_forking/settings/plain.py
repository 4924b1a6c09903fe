"""Settings as plain Python: foreign numbers are converted once, at the config, and everything that is written can be read."""

import dataclasses
import math
import operator
import os
import sys
import typing
from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from numbers import Number
from pathlib import Path
from typing import Any


def normalize(value: Any) -> Any:
    """
    Turn numbers of other libraries into Python's own, at any depth. Every other object stays as it is.

    A checkpoint is read back without running any code that is in it, so it can hold nothing but Python's own types.

    Args:
        value (`Any`):
            What a user passed: a scalar or an array of NumPy or PyTorch, a `Fraction`, a `Decimal`, any other object
            that is a number, or a container of such values.

    Returns:
        `Any`: an `int`, `float`, `bool` or `str`, a container of them, or the object itself.

    Example:
    ```python
    >>> import numpy as np
    >>> import torch
    >>> from fractions import Fraction
    >>> normalize({"betas": (np.float32(0.5), Fraction(1, 4)), "ids": np.arange(2), "dtype": torch.bfloat16})
    {'betas': (0.5, 0.25), 'ids': [0, 1], 'dtype': torch.bfloat16}
    ```
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if is_of_torch(value, "Tensor"):
        return value.item() if value.dim() == 0 else value
    if hasattr(type(value), "__array__"):
        return _normalize_array(value)
    if isinstance(value, Mapping):
        return _normalize_mapping(value)
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray)):
        return _normalize_sequence(value)
    return _convert_number(value) if _is_number(value) else value


def is_of_torch(value: Any, *kinds: str) -> bool:
    """
    Tell whether a value is of a type of torch. There is none before torch is imported, which takes seconds.

    Example:
    ```python
    >>> import torch
    >>> is_of_torch(torch.ones(2), "dtype", "Tensor"), is_of_torch(1.0, "Tensor")
    (True, False)
    ```
    """
    torch = sys.modules.get("torch")
    return torch is not None and any(isinstance(value, operator.attrgetter(kind)(torch)) for kind in kinds)


def _normalize_array(value: Any) -> Any:
    import numpy as np

    value = np.asarray(value)
    if value.dtype == object:
        return normalize(value.tolist())
    if value.dtype.kind == "f" and value.dtype.itemsize > 8:  # `item` of a long double returns it again
        value = value.astype(np.float64)
    return value.tolist()


def _normalize_mapping(value: Mapping[Any, Any]) -> Any:
    pairs = [(normalize(key), normalize(item)) for key, item in value.items()]
    unchanged = all(new[0] is old[0] and new[1] is old[1] for new, old in zip(pairs, value.items(), strict=True))
    return value if unchanged and isinstance(value, dict) else dict(pairs)


def _normalize_sequence(value: Sequence[Any]) -> Any:
    items = [normalize(item) for item in value]
    if isinstance(value, (list, tuple)) and all(item is other for item, other in zip(items, value, strict=True)):
        return value
    if isinstance(value, tuple):
        return value._make(items) if hasattr(value, "_make") else tuple(items)
    return items


def _is_number(value: Any) -> bool:
    if isinstance(value, (Enum, type, complex)):
        return False
    return isinstance(value, (Number, Decimal)) or hasattr(value, "__index__") or hasattr(value, "__float__")


def _convert_number(value: Any) -> Any:
    try:
        return operator.index(value) if hasattr(value, "__index__") else float(value)
    except (TypeError, ValueError, OverflowError):  # such as a symbol of SymPy
        return value


def normalize_fields(instance: Any) -> None:
    """
    Turn the fields of a dataclass into plain Python where they are set to numbers of other libraries, in place.

    Where a field takes whole numbers only, a whole number of another type becomes an `int`: `4.0` is 4.

    Args:
        instance (`Any`):
            Dataclass, such as a [`ForkingGRPOConfig`].

    Example:
    ```python
    >>> import numpy as np
    >>> import torch
    >>> @dataclasses.dataclass
    ... class Sizes:
    ...     num_generations: int | None = 8
    ...     beta: float = 0.0
    >>> sizes = Sizes(np.float32(4.0), np.float32(0.5))
    >>> normalize_fields(sizes)
    >>> sizes
    Sizes(num_generations=4, beta=0.5)
    ```
    """
    kind: type = type(instance)
    for name, types in find_field_types(kind).items():
        if hasattr(instance, name):
            value = getattr(instance, name)
            plain = _fit(normalize(value), types)
            if plain is not value:
                setattr(instance, name, plain)


def _fit(value: Any, types: frozenset[type]) -> Any:
    """Convert a plain value to the only type of its kind that a field takes."""
    if is_of_torch(value, "Tensor") and list in types:
        return normalize(value.tolist())
    if isinstance(value, tuple) and list in types and tuple not in types:
        return list(value)
    if isinstance(value, float) and int in types and float not in types and value.is_integer():
        return int(value)
    if str in types and not any(issubclass(kind, Enum) for kind in types):
        if isinstance(value, Enum) and isinstance(value.value, str):
            return value.value
        if isinstance(value, os.PathLike):
            return os.fspath(value)
        if isinstance(value, str) and type(value) is not str:
            return str.__str__(value)
    if isinstance(value, Enum) and isinstance(value, int) and int in types:
        return int(value)
    return value


@lru_cache
def find_field_types(dataclass_type: type) -> dict[str, frozenset[type]]:
    """
    Find the types that each field of a dataclass takes, without those inside a container.

    Args:
        dataclass_type (`type`):
            A dataclass.

    Returns:
        `dict[str, frozenset[type]]`: for each field that its constructor takes its types, `NoneType` among them.

    Example:
    ```python
    >>> from trl import GRPOConfig
    >>> sorted(kind.__name__ for kind in find_field_types(GRPOConfig)["reward_weights"])
    ['NoneType', 'list']
    ```
    """
    hints = typing.get_type_hints(dataclass_type)
    return {entry.name: frozenset(_find_types(hints[entry.name])) for entry in dataclasses.fields(dataclass_type)}


def _find_types(hint: Any) -> set[type]:
    if typing.get_origin(hint) is typing.Literal:
        return {type(value) for value in typing.get_args(hint)}
    origin = typing.get_origin(hint)
    if isinstance(origin, type) and origin.__module__ != "types":
        return {origin}
    if isinstance(hint, type) and origin is None:
        return {hint}
    return {kind for part in typing.get_args(hint) for kind in _find_types(part)}


def make_plain(value: Any) -> Any:
    """
    Turn a value into types of JSON and YAML.

    Example:
    ```python
    >>> import numpy as np
    >>> import torch
    >>> make_plain({"dtype": torch.bfloat16, "betas": (0.9, np.float64(0.5)), "path": Path("runs/a")})
    {'dtype': 'bfloat16', 'betas': [0.9, 0.5], 'path': 'runs/a'}
    ```
    """
    value = normalize(value)
    if isinstance(value, Enum):
        return make_plain(value.value)
    if type(value).__name__ == "AcceleratorConfig":
        own, default = value.to_dict(), type(value)().to_dict()
        return {name: make_plain(own[name]) for name in own if own[name] != default[name]} or None
    if is_of_torch(value, "dtype"):
        return str(value).removeprefix("torch.")
    if is_of_torch(value, "Tensor"):
        return make_plain(value.tolist())
    if isinstance(value, dict):
        return {_name(key): make_plain(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((make_plain(item) for item in value), key=lambda item: (str(type(item)), str(item)))
    if isinstance(value, (list, tuple)):
        return [make_plain(item) for item in value]
    return _describe(value)


def _name(key: Any) -> str:
    key = make_plain(key)
    return key if isinstance(key, str) else str(key)


def _describe(value: Any) -> Any:
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):  # half a character, which UTF-8 has no code for, becomes a question mark
        return str.__str__(value).encode("utf-8", "replace").decode()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if callable(getattr(value, "to_dict", None)):
        return make_plain(value.to_dict())
    if dataclasses.is_dataclass(value):
        return {entry.name: make_plain(getattr(value, entry.name)) for entry in dataclasses.fields(value)}
    return repr(value)
