"""The file that a user may have meant by a name that does not exist."""

import difflib
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path


_MAX_ENTRIES = 2000  # of a folder, so that a slow disk does not delay the message


def find_nearest(path: Path) -> Path | None:
    """
    Find the file or folder whose name is nearest to a name that does not exist.

    Args:
        path (`Path`):
            Name of a file or folder. Its folders may be misspelled too.

    Returns:
        `Path` or `None`: the nearest one, `None` if no name is near.

    Example:
    ```python
    >>> from pathlib import Path
    >>> from trl_forking.data.nearest import find_nearest
    >>> Path("data").mkdir()
    >>> size = Path("data/problems.jsonl").write_text("")
    >>> print(find_nearest(Path("dta/problems.json")), find_nearest(Path("problems.jsonl")), find_nearest(Path("x")))
    data/problems.jsonl data/problems.jsonl None
    ```
    """
    return _find(path, _choose_same) or _find_elsewhere(path) or _find(path, _choose_near)


def _find(path: Path, choose: Callable[[str, list[str]], str | None]) -> Path | None:
    parents = [path, *path.parents]
    missing = next(number for number, parent in enumerate(parents) if parent.is_dir() or parent == parent.parent)
    found = parents[missing]
    for name in reversed([parent.name for parent in parents[:missing]]):
        entries = _list_entries(found)
        chosen = name if (found / name).exists() else choose(name, [entry.name for entry in entries])
        if chosen is None:
            return None
        found /= chosen
    return found


def _choose_same(name: str, entries: list[str]) -> str | None:
    """Choose the name that differs in its ending or its capitals only. The ending decides between a file and a folder."""
    same = [entry for entry in entries if _get_stem(entry) == _get_stem(name)]
    return max(same, key=lambda entry: difflib.SequenceMatcher(None, entry, name).ratio(), default=None)


def _choose_near(name: str, entries: list[str]) -> str | None:
    near = difflib.get_close_matches(_get_stem(name), {_get_stem(entry): None for entry in entries}, n=1, cutoff=0.6)
    same = [entry for entry in entries if near and _get_stem(entry) == near[0]]
    return max(same, key=lambda entry: difflib.SequenceMatcher(None, entry, name).ratio(), default=None)


def _get_stem(name: str) -> str:
    return (name.split(".")[0] or name).lower()


def _find_elsewhere(path: Path) -> Path | None:
    """Find a file of exactly this name one folder below the working directory."""
    folders = (folder for folder in _list_entries(Path()) if folder.is_dir())
    return next((folder / path.name for folder in folders if (folder / path.name).is_file()), None)


def _list_entries(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in itertools.islice(entries, _MAX_ENTRIES)]
    except OSError:  # no folder, or no right to look into it
        return []
    return [folder / name for name in sorted(names) if not name.startswith(".")]


def list_data_files(folder: Path, endings: tuple[str, ...]) -> Iterator[Path]:
    """
    List the data files of a folder.

    Args:
        folder (`Path`):
            Folder. If it does not exist, the list is empty.
        endings (`tuple[str, ...]`):
            Endings of data files.

    Returns:
        `Iterator[Path]`: the files.

    Example:
    ```python
    >>> from pathlib import Path
    >>> from trl_forking.data.nearest import list_data_files
    >>> size = Path("a.jsonl").write_text(""), Path("b.py").write_text("")
    >>> list(map(str, list_data_files(Path(), (".jsonl", ".csv"))))
    ['a.jsonl']
    ```
    """
    return (path for path in _list_entries(folder) if path.suffix.lower() in endings and path.is_file())
