"""
Dataclasses and words of an installed package, read from its source and not imported.

Importing the config of TRL takes seconds, because it brings torch with it. Its source says in a tenth of a second which
fields there are, with which types and defaults. It is read anew in each process, and nothing of it is stored.
"""

import ast
import dataclasses
import importlib
import sys
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple


class Unreadable(Exception):
    """
    The source does not say what a name is: it has to be imported.

    Example:
    ```python
    >>> raise Unreadable("a name that a function returns")
    Traceback (most recent call last):
        ...
    trl_forking.settings.source.Unreadable: a name that a function returns
    ```
    """


class _Unknown:
    """What an expression comes to that the source does not say. Whatever is made of it is unknown too."""

    def __getattr__(self, name: str) -> "_Unknown":
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> "_Unknown":
        return self

    __getitem__ = __or__ = __ror__ = __call__
    __iter__ = None  # or a loop over it would never end


_UNKNOWN = _Unknown()


class _Module(NamedTuple):
    name: str
    is_package: bool
    statements: dict[str, list[ast.stmt]]  # name -> what defines it


def read_class(module: str, name: str) -> type:
    """
    Build a dataclass with the fields of a class of an installed package, without its methods.

    Args:
        module (`str`):
            Module or package that has the class, or imports it.
        name (`str`):
            Name of the class.

    Returns:
        `type`: a dataclass. Its attribute `unread` has the fields whose type, default or choices the source does not say.

    Raises:
        [`Unreadable`]: if there is no source, or it does not say which fields there are.

    Example:
    ```python
    >>> config = read_class("trl", "GRPOConfig")
    >>> [(entry.type, entry.default) for entry in dataclasses.fields(config) if entry.name == "temperature"]
    [(<class 'float'>, 1.0)]
    ```
    """
    found = _resolve(module, name)
    if not isinstance(found, type) or not dataclasses.is_dataclass(found):
        raise Unreadable(f"{module}.{name} is no dataclass")
    return found


def read_words(module: str, name: str) -> list[str]:
    """
    Read the words of a constant: the elements of a tuple, or the keys of a dictionary.

    Args:
        module (`str`):
            Module that has the constant.
        name (`str`):
            Its name.

    Returns:
        `list[str]`: the words.

    Raises:
        [`Unreadable`]: if there is no source, or it does not say them.

    Example:
    ```python
    >>> "wandb" in read_words("transformers.integrations.integration_utils", "INTEGRATION_TO_CALLBACK")
    True
    ```
    """
    value = getattr(_find_statement(_load(module), name), "value", None)
    if isinstance(value, ast.Dict):
        words: Any = [key.value if isinstance(key, ast.Constant) else None for key in value.keys]
    else:
        words = read_value(module, name)
    if not isinstance(words, (list, tuple)) or not all(isinstance(word, str) for word in words):
        raise Unreadable(f"{module}.{name} is no list of words")
    return list(words)


def read_value(module: str, name: str) -> Any:
    """
    Read a constant.

    Args:
        module (`str`):
            Module that has the constant.
        name (`str`):
            Its name.

    Returns:
        `Any`: its value.

    Raises:
        [`Unreadable`]: if there is no source, or it does not say the value.

    Example:
    ```python
    >>> read_value("torch.version", "__version__").split(".")[0]
    '2'
    ```
    """
    value = _resolve(module, name)
    if value is _UNKNOWN:
        raise Unreadable(f"{module}.{name}")
    return value


@lru_cache
def _load(module: str) -> _Module:
    top, *rest = module.split(".")
    try:
        spec = find_spec(top)
        places = [Path(place, *rest) for place in (spec and spec.submodule_search_locations) or []]
        path = next(
            path for place in places for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()
        )
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (StopIteration, OSError, ValueError, SyntaxError, ImportError) as error:
        raise Unreadable(f"{module} has no source") from error
    statements: dict[str, list[ast.stmt]] = {}
    for statement in _walk(tree.body):
        for name in _list_names(statement):
            statements.setdefault(name, []).append(statement)
    return _Module(module, path.name == "__init__.py", statements)


def _walk(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """List the statements of a module, those under a condition too."""
    for statement in body:
        yield statement
        for part in ("body", "orelse", "handlers", "finalbody"):
            if isinstance(statement, ast.If | ast.Try | ast.ExceptHandler):
                yield from _walk(getattr(statement, part, []))


def _list_names(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return [alias.asname or alias.name.split(".")[0] for alias in statement.names]
    if isinstance(statement, ast.ClassDef | ast.FunctionDef):
        return [statement.name]
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _find_statement(module: _Module, name: str) -> ast.stmt:
    found = module.statements.get(name, [])
    if len(found) != 1:  # with two of them, a condition decides
        raise Unreadable(f"{module.name} defines {name} {len(found)} times")
    return found[0]


@lru_cache
def _resolve(module_name: str, name: str) -> Any:
    """Find what a name of a module stands for."""
    module = _load(module_name)
    statement = _find_statement(module, name)
    if isinstance(statement, ast.ImportFrom):
        source = _find_source(module, statement)
        original = next(alias.name for alias in statement.names if (alias.asname or alias.name) == name)
        if source.split(".")[0] in sys.stdlib_module_names:
            return getattr(importlib.import_module(source), original)
        return _resolve(source, original)
    if isinstance(statement, ast.Import) and statement.names[0].name in sys.stdlib_module_names:
        return importlib.import_module(statement.names[0].name)
    if isinstance(statement, ast.ClassDef):
        return _build_class(module, statement)
    if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
        return _evaluate(statement.value, module)
    raise Unreadable(f"{module_name}.{name} is neither a class nor a constant")


def _find_source(module: _Module, statement: ast.ImportFrom) -> str:
    if not statement.level:
        return statement.module or ""
    parts = module.name.split(".")
    parents = parts[: len(parts) + module.is_package - statement.level]
    return ".".join([*parents, *([statement.module] if statement.module else [])])


class _Names(Mapping[str, Any]):
    """The names that an expression in a module can use."""

    def __init__(self, module: _Module, own: dict[str, Any]):
        self.module, self.own = module, own

    def __getitem__(self, name: str) -> Any:
        if name in self.own:
            return self.own[name]
        if name not in self.module.statements:
            raise KeyError(name)  # a name of Python's own
        try:
            return _resolve(self.module.name, name)
        except Unreadable:
            return _UNKNOWN

    def __iter__(self) -> Iterator[str]:
        return iter(self.module.statements)

    def __len__(self) -> int:
        return len(self.module.statements)


def _evaluate(expression: ast.expr, module: _Module, own: dict[str, Any] | None = None) -> Any:
    try:
        code = compile(ast.Expression(expression), module.name, "eval")
        return eval(code, {}, _Names(module, own or {}))
    except Unreadable:
        raise
    except Exception:  # whatever an expression raises that is made for the real names
        return _UNKNOWN


def _build_class(module: _Module, node: ast.ClassDef) -> type:
    if not node.bases and not node.decorator_list:
        return _make_placeholder(module, node)
    bases = tuple(_evaluate(base, module) for base in node.bases)
    if any(isinstance(base, type) and issubclass(base, Enum) for base in bases):
        return _build_enum(module, node, bases)
    decorator = next((each for each in map(ast.unparse, node.decorator_list) if each.startswith("dataclass")), None)
    if decorator is None:
        return _make_placeholder(module, node)
    if decorator != "dataclass" or not all(isinstance(base, type) for base in bases):
        raise Unreadable(f"the fields of {module.name}.{node.name}")
    return _build_dataclass(module, node, bases)


def _build_enum(module: _Module, node: ast.ClassDef, bases: tuple[Any, ...]) -> type:
    kind: Any = type(bases[-1])
    members = kind.__prepare__(node.name, bases)
    members |= {"__module__": module.name, "__qualname__": node.name}
    for statement in node.body:
        if isinstance(statement, ast.Assign):
            value = _evaluate(statement.value, module)
            if value is _UNKNOWN:
                raise Unreadable(f"the members of {module.name}.{node.name}")
            members[_list_names(statement)[0]] = value
    built: type = kind(node.name, bases, members)
    return built


def _make_placeholder(module: _Module, node: ast.ClassDef) -> type:
    """Make a class that stands in a type or among bases, and is never called."""

    def refuse(cls: type, *args: Any, **kwargs: Any) -> Any:
        if cls is placeholder:
            raise Unreadable(f"what {module.name}.{node.name} does")
        return object.__new__(cls)

    names = {"__module__": module.name, "__qualname__": node.name, "__new__": refuse}
    placeholder = type(node.name, (), names)
    return placeholder


def _build_dataclass(module: _Module, node: ast.ClassDef, bases: tuple[type, ...]) -> type:
    types: dict[str, Any] = {}
    values: dict[str, Any] = {}
    unread = {name for base in bases for name in getattr(base, "unread", ())}
    for statement in node.body:
        if isinstance(statement, ast.Assign):
            values |= dict.fromkeys(_list_names(statement), _evaluate(statement.value, module, values))
        elif isinstance(statement, ast.If | ast.Try):
            values |= dict.fromkeys((name for inner in _walk([statement]) for name in _list_names(inner)), _UNKNOWN)
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            name = statement.target.id
            types[name] = _evaluate(statement.annotation, module, values)
            if statement.value is not None:
                values[name] = _evaluate(statement.value, module, values)
            unread.discard(name)
            if _replace_unknown(name, types, values):
                unread.add(name)
    names = {
        "__module__": module.name,
        "__qualname__": node.name,
        "__annotations__": types,
        "unread": frozenset(unread),
    }
    names |= {name: value for name, value in values.items() if name in types}
    built: type = dataclasses.dataclass(type(node.name, bases, names))
    return built


def _replace_unknown(name: str, types: dict[str, Any], values: dict[str, Any]) -> bool:
    """Put something harmless in the place of what the source does not say of a field, and tell whether there was any."""
    entry, is_replaced = values.get(name), False
    if types[name] is _UNKNOWN:
        types[name], is_replaced = str | None, True
    if entry is _UNKNOWN:
        values[name], is_replaced = None, True
    elif isinstance(entry, dataclasses.Field):
        is_made = entry.default_factory is not dataclasses.MISSING and not isinstance(entry.default_factory, type)
        if entry.default is _UNKNOWN or is_made:  # a function reads names of its module when it is called
            entry.default, entry.default_factory, is_replaced = None, dataclasses.MISSING, True
        metadata = {key: value for key, value in entry.metadata.items() if value is not _UNKNOWN}
        if len(metadata) < len(entry.metadata):
            values[name] = dataclasses.field(
                default=entry.default, default_factory=entry.default_factory, metadata=metadata
            )
            is_replaced = True
    return is_replaced
