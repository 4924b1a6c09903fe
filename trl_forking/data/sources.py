"""What a name of data means: a file, the files of a folder, or a data set of the Hub."""

import difflib
import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..run.user_errors import UserError
from .compression import COMPRESSED
from .nearest import find_nearest, list_data_files


if TYPE_CHECKING:
    from datasets import Dataset

ENDINGS = (".jsonl", ".json", ".csv", ".parquet", ".txt")
"""Endings of the files that can be read, without the ending of a compressed file."""

_OTHER_ENDINGS = """
.arrow .bz2 .feather .h5 .html .md .ndjson .npz .pdf .pickle .pkl .py .tar .tgz .tsv .xls .xlsx .xml .xz .yaml .yml .zip
"""
_NAME_ON_HUB = re.compile(r"[\w.-]+(?:/[\w.-]+)?", re.ASCII)
_SPLIT_WORDS = {
    "train": "train training",
    "validation": "validation valid val dev",
    "test": "test testing eval evaluation",
}
_SPLITS = {word: split for split, words in _SPLIT_WORDS.items() for word in words.split()}
_DESCRIPTIONS = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "config.json")
_SAVED = ("state.json", "dataset_info.json")
_MAX_FILES = 20_000


def get_ending(path: Path) -> str:
    """
    Get the ending of a file that says how to read it, in small letters and without the ending of a compressed file.

    Args:
        path (`Path`):
            File.

    Returns:
        `str`: the ending.

    Example:
    ```python
    >>> from pathlib import Path
    >>> from trl_forking.data.sources import get_ending
    >>> get_ending(Path("problems.JSONL.gz")), get_ending(Path("problems"))
    ('.jsonl', '')
    ```
    """
    name = path.name.lower()
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    return Path(name).suffix


def check_source(source: str) -> None:
    """
    Check the name of data without a look at the Hub: a name that looks like a file must be one.

    Args:
        source (`str`):
            Name of data, as in [`~trl_forking.data.rows.read_rows`].

    Raises:
        [`UserError`]: if there is no such file, or no name. The message names the nearest file that exists.

    Example:
    ```python
    >>> from pathlib import Path
    >>> from trl_forking.data.sources import check_source
    >>> check_source("open-r1/DAPO-Math-17k-Processed")
    >>> size = Path("problems.jsonl").write_text("{}")
    >>> check_source("problem.jsonl")
    Traceback (most recent call last):
        ...
    trl_forking.run.user_errors.UserError: There is no file problem.jsonl: did you mean problems.jsonl?
    ```
    """
    if not source.strip():
        raise UserError("The name of the data is empty: give a file, a folder or a data set of the Hub.")
    path = Path(source).expanduser()
    if path.is_dir():
        return
    is_file_name = _has_file_ending(path) or any(get_ending(parent) in ENDINGS for parent in path.parents)
    if path.exists():
        if get_ending(path) not in ENDINGS:
            raise UserError(
                f"{source}: the name of a data file must end in {', '.join(ENDINGS)}, or in one of these and .gz or .zst: "
                "convert the file."
            )
        return
    if "://" in source:
        raise UserError(
            f"{source} is an address: download the file and give its name, or give the name of a data set."
        )
    if is_file_name or not _NAME_ON_HUB.fullmatch(source) or source.startswith("."):
        kind = "file" if is_file_name else "file or folder"
        raise UserError(f"There is no {kind} {source}{_suggest(path)}")


def _has_file_ending(path: Path) -> bool:
    """Whether a name ends as a file does, also with a slip such as `.jsnl`."""
    known = [*ENDINGS, *COMPRESSED, *_OTHER_ENDINGS.split()]
    return bool(difflib.get_close_matches(path.suffix.lower(), known, n=1, cutoff=0.75))


def _suggest(path: Path) -> str:
    nearest = find_nearest(path)
    if nearest is not None:
        return f": did you mean {nearest}?"
    others = [str(other) for other in itertools.islice(list_data_files(path.parent, (*ENDINGS, *COMPRESSED)), 3)]
    if others:
        return f". Check the name; that folder has {', '.join(others)}."
    return ". Check the name; examples/make_gsm_data.py writes a data file."


def find_source(source: str, config: str | None = None, split: str = "train") -> "list[Path] | Dataset":
    """
    Find the files that a name means, or load the data set that it names.

    Args:
        source (`str`):
            Name of data, as in [`~trl_forking.data.rows.read_rows`].
        config (`str`, *optional*):
            Configuration of the data set.
        split (`str`, *optional*, defaults to `"train"`):
            Split of the data set or of the folder.

    Returns:
        `list[Path]` or [`~datasets.Dataset`]: files in the order of their names, or a data set.

    Raises:
        [`UserError`]: if there is no such file, folder or data set, or the folder has no such files or no such split.

    Example:
    ```python
    >>> from pathlib import Path
    >>> from trl_forking.data.sources import find_source
    >>> Path("math").mkdir()
    >>> for name in ("train-1.jsonl", "train-2.jsonl.gz", "test.csv", "notes.md"):
    ...     size = Path("math", name).write_text("")
    >>> [path.name for path in find_source("math")], [path.name for path in find_source("math", split="test")]
    (['train-1.jsonl', 'train-2.jsonl.gz'], ['test.csv'])
    ```
    """
    check_source(source)
    path = Path(source).expanduser()
    if path.is_dir():
        if (path / "dataset_dict.json").is_file() or all((path / name).is_file() for name in _SAVED):
            return _load_saved(path, split)
        if config is None and split.isidentifier() and split != "all" and not _has_own_rules(path):
            return _find_split(path, split)
    elif path.exists():
        return [path]
    return _load_from_hub(str(path) if path.is_dir() else source, config, split)


def _load_saved(folder: Path, split: str) -> "Dataset":
    from datasets import DatasetDict, load_from_disk

    try:
        dataset = load_from_disk(str(folder))
    except Exception as error:  # of `datasets`, of pyarrow, of the file system
        raise UserError(f"{folder}: the saved data set can't be loaded ({_name(error)}).") from error
    if not isinstance(dataset, DatasetDict):
        return dataset
    if split not in dataset:
        raise UserError(f"{folder} has no split {split}: its splits are {', '.join(dataset)}.")
    return dataset[split]


def _has_own_rules(folder: Path) -> bool:
    """Whether the card of the folder says which files belong to which split."""
    card = folder / "README.md"
    return card.is_file() and bool(re.search(r"^configs:", card.read_text("utf-8", "replace"), re.MULTILINE))


def _find_split(folder: Path, split: str) -> list[Path]:
    files = [path for path in _walk(folder) if get_ending(path) in ENDINGS and path.name not in _DESCRIPTIONS]
    files = [path for path in files if get_ending(path) != ".txt"] or files  # a text beside data explains the data
    if not files:
        raise UserError(f"The folder {folder} has no data file: one ends in {', '.join(ENDINGS)}.")
    splits = {path: _find_split_name(path.relative_to(folder)) for path in files}
    named = sorted(set(filter(None, splits.values())))
    if not named and split == "train":
        return files
    found = [path for path in files if splits[path] == _SPLITS.get(split, split)]
    if not found:
        names = f"its splits are {', '.join(named)}" if named else "no name of its files has a split, so all are train"
        raise UserError(f"The folder {folder} has no split {split}: {names}.")
    return found


def _walk(folder: Path) -> list[Path]:
    entries = itertools.islice(_list_files(folder), _MAX_FILES + 1)
    files = sorted(entries)
    if len(files) > _MAX_FILES:
        raise UserError(f"The folder {folder} has more than {_MAX_FILES:,} files: give the folder of the data alone.")
    return files


def _list_files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "_"))]
        yield from (Path(place, name) for name in names if not name.startswith((".", "_")))


def _find_split_name(path: Path) -> str | None:
    """Find the split in the name of a file or its folders, as `datasets` does."""
    words = re.split(r"[^a-z]+", str(path).lower())
    return next((_SPLITS[word] for word in words if word in _SPLITS), None)


def _load_from_hub(source: str, config: str | None, split: str) -> "Dataset":
    from datasets import load_dataset

    try:
        return load_dataset(source, config, split=split)
    except Exception as error:  # `datasets` and the Hub raise errors of many types
        nearest = find_nearest(Path(source))
        hint = f" If you mean a file here, it may be {nearest}." if nearest else ""
        raise UserError(f"The data set {source} can't be loaded ({_name(error)}).{hint}") from error


def _name(error: Any) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
