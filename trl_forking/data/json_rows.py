"""Rows of JSON files: one object per line, or one list of objects."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ..run.user_errors import UserError
from .values import WrittenFloat


_BOM = b"\xef\xbb\xbf"  # the mark that Windows begins a file with
_NO_OBJECT = "not a JSON object: write one per line"
_MAX_NAMED = 5
_MAX_LEVELS = 64
_TOO_DEEP = f"nested more than {_MAX_LEVELS} levels deep: write it flatter"


def read_json_lines(file: BinaryIO, path: Path) -> Iterator[dict[str, Any]]:
    r"""
    Read rows from a file with one JSON object per line. A file that is one JSON list is read too.

    Only `\n` ends a line: JSON allows the other line separators of Unicode within a text. Lines without text are
    skipped. Decimal numbers keep their digits, see [`~trl_forking.data.values.WrittenFloat`].

    Args:
        file (`BinaryIO`):
            The open file.
        path (`Path`):
            Its name, for messages.

    Returns:
        `Iterator[dict]`: rows, in the order of the lines.

    Raises:
        [`UserError`]: after the last line, if a line is no JSON object. The message has the numbers of all such lines.

    Example:
    ```python
    >>> import io
    >>> from pathlib import Path
    >>> from trl_forking.data.json_rows import read_json_lines
    >>> list(read_json_lines(io.BytesIO(b'{"answer": 2}\n\n{"answer": 0.50}\n'), Path("a.jsonl")))
    [{'answer': 2}, {'answer': 0.5}]
    >>> list(read_json_lines(io.BytesIO(b'{"answer": 2}\n{"answer":\n'), Path("a.jsonl")))
    Traceback (most recent call last):
        ...
    trl_forking.run.user_errors.UserError: a.jsonl:2: not a JSON object: write one per line. The file has 1 other row.
    ```
    """
    broken: dict[int, str] = {}
    num_rows = 0
    for number, line in enumerate(file, start=1):
        text = line.removeprefix(_BOM) if number == 1 else line
        if not text.strip():
            continue
        if not num_rows and not broken and text.lstrip().startswith(b"["):
            content = b"\n" * (number - 1) + text + file.read()
            yield from _read_list(content, path, f"{path}:{number}: {_NO_OBJECT}.")
            return
        value = _load(text)
        if isinstance(value, str):
            broken[number] = value
            continue
        num_rows += 1
        if not broken:
            yield value
    if broken:
        raise UserError(_explain_broken(path, broken, num_rows))


def _explain_broken(path: Path, broken: dict[int, str], num_rows: int) -> str:
    numbers = list(broken)
    more = [f"line {number}" for number in numbers[1:_MAX_NAMED]]
    more += [f"{len(numbers) - _MAX_NAMED} more"] if len(numbers) > _MAX_NAMED else []
    others = f" Broken too: {', '.join(more)}." if more else ""
    rest = f" The file has {num_rows} other row{'s' * (num_rows != 1)}." if num_rows else ""
    return f"{path}:{numbers[0]}: {broken[numbers[0]]}.{others}{rest}"


def _load(text: bytes) -> dict[str, Any] | str:
    """Parse a JSON object. If it is none, say why."""
    try:
        value = json.loads(text.decode("utf-8"), parse_float=WrittenFloat, parse_int=_read_int)
    except UnicodeDecodeError:
        return "not UTF-8: save the file as UTF-8"
    except RecursionError:  # thousands of levels, or of brackets that are never closed
        return f"{_NO_OBJECT}, nested at most {_MAX_LEVELS} levels deep"
    except ValueError:
        return _NO_OBJECT
    if not isinstance(value, dict):
        return _NO_OBJECT
    return _TOO_DEEP if _is_too_deep(value) else value


def _is_too_deep(value: Any) -> bool:
    """Tell whether a value has more levels than the functions that get it can walk through."""
    level = [value]
    for _ in range(_MAX_LEVELS):
        parts = [part for part in level if isinstance(part, (dict, list))]
        if not parts:
            return False
        level = [inner for part in parts for inner in (part.values() if isinstance(part, dict) else part)]
    return any(isinstance(part, (dict, list)) for part in level)


def _read_int(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:  # Python reads at most 4,300 digits
        return text


def read_json(file: BinaryIO, path: Path) -> Iterator[dict[str, Any]]:
    """
    Read rows from a file that is one JSON list of objects. On the Hub, many such files have one object per line instead;
    they are read too.

    Args:
        file (`BinaryIO`):
            The open file.
        path (`Path`):
            Its name, for messages.

    Returns:
        `Iterator[dict]`: rows, in the order of the list.

    Raises:
        [`UserError`]: if the file is not JSON, or no list of objects.

    Example:
    ```python
    >>> import io
    >>> from pathlib import Path
    >>> from trl_forking.data.json_rows import read_json
    >>> list(read_json(io.BytesIO(b'[{"answer": 2}, {"answer": "x"}]'), Path("a.json")))
    [{'answer': 2}, {'answer': 'x'}]
    ```
    """
    content = file.read().removeprefix(_BOM)
    lines = content.strip().split(b"\n")
    if len(lines) > 1 and isinstance(_load(lines[0]), dict):
        return read_json_lines(io.BytesIO(content), path)
    message = f"{path}: not a JSON list of objects: write [{{...}}, ...], or a .jsonl file with one object per line."
    return _read_list(content, path, message) if content.strip() else iter(())


def _read_list(content: bytes, path: Path, message: str) -> Iterator[dict[str, Any]]:
    try:
        rows = json.loads(content.decode("utf-8"), parse_float=WrittenFloat, parse_int=_read_int)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path}:{error.lineno}: not JSON ({error.msg}): correct this line or the one before it."
        ) from error
    except RecursionError as error:
        raise UserError(f"{message} It is {_TOO_DEEP}.") from error
    except ValueError as error:
        raise UserError(message) from error
    if not isinstance(rows, list):
        raise UserError(message)
    deep = next((number for number, row in enumerate(rows, start=1) if _is_too_deep(row)), None)
    if deep is not None:
        raise UserError(f"{path}: row {deep} is {_TOO_DEEP}.")
    wrong = next((number for number, row in enumerate(rows, start=1) if not isinstance(row, dict)), None)
    if wrong is not None:
        raise UserError(f"{message} Row {wrong} is no object.")
    yield from rows
