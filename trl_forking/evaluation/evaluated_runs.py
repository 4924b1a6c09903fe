"""Runs to compare: a folder of each, the evaluation in it, the record of its training, and groups of runs by name."""

import glob
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..card.run_files import RECORD_FILE, read_record
from ..run.user_errors import UserError


RESULTS_FILE = "evaluation.json"
_DEFAULT_SEED = 42  # of TrainingArguments; a record has the settings that differ from the defaults


@dataclass(frozen=True)
class EvaluatedProblems:
    """
    One problem set of an evaluation.

    Args:
        title (`str`):
            Name for people.
        settings (`dict`):
            How the answers were drawn.
        values (`dict[str, dict[str, float]]`):
            Figures such as `avg@16`, each by the problem's key; NaN where a figure is not defined.

    Example:
    ```python
    >>> from trl_forking.evaluation.evaluated_runs import EvaluatedProblems
    >>> EvaluatedProblems("AIME 2024", {}, {"avg@16": {"0a1b": 0.5}}).keys
    {'0a1b'}
    ```
    """

    title: str
    settings: dict[str, Any]
    values: dict[str, dict[str, float]]

    @property
    def keys(self) -> set[str]:
        """Keys of the problems."""
        return set(next(iter(self.values.values())))


@dataclass(frozen=True)
class EvaluatedRun:
    """
    A run and its evaluation.

    Args:
        folder (`str`):
            Folder as it was given.
        path (`Path`):
            File of the evaluation.
        sets (`dict[str, EvaluatedProblems]`):
            Problem sets by name.
        record (`dict` or `None`):
            Facts of the training; `None` for a model that this package did not train, such as a base model.

    Example:
    ```python
    >>> from pathlib import Path
    >>> from trl_forking.evaluation.evaluated_runs import EvaluatedRun
    >>> EvaluatedRun("runs/a", Path("runs/a/evaluation.json"), {}, {"settings": {"seed": 7}}).seed
    7
    ```
    """

    folder: str
    path: Path
    sets: dict[str, EvaluatedProblems]
    record: dict[str, Any] | None

    @property
    def seed(self) -> int | None:
        """Seed of the training; `None` without a record."""
        if self.record is None:
            return None
        return int(self.record.get("settings", {}).get("seed", _DEFAULT_SEED))


@dataclass(frozen=True)
class RunGroup:
    """
    Runs that differ in their seeds.

    Args:
        name (`str`):
            Name for people.
        runs (`Sequence[EvaluatedRun]`):
            The runs.

    Example:
    ```python
    >>> from trl_forking.evaluation.evaluated_runs import RunGroup
    >>> RunGroup("base", []).name
    'base'
    ```
    """

    name: str
    runs: Sequence[EvaluatedRun]


def read_groups(texts: Sequence[str]) -> list[RunGroup]:
    """
    Read the groups of runs of a command line.

    Args:
        texts (`Sequence[str]`):
            For each group a folder, a glob such as `"runs/forking-*"`, or `"name=folder1,folder2"`.

    Returns:
        `list[RunGroup]`: the groups, in this order.

    Raises:
        `ValueError`: if there are fewer than two groups, a folder is missing or occurs twice, or has no evaluation.

    Example:
    ```python
    >>> from trl_forking.evaluation.evaluated_runs import read_groups
    >>> read_groups(["no-such-run", "nor-this"])
    Traceback (most recent call last):
        ...
    trl_forking.run.user_errors.UserError: no-such-run: there is no such folder.
    ```
    """
    if len(texts) < 2:
        raise UserError("A comparison needs two runs or groups of runs: trl-forking compare-runs A B.")
    named = [_list_folders(text) for text in texts]
    groups = [RunGroup(name, [read_run(folder) for folder in folders]) for name, folders in named]
    names = [group.name for group in groups]
    if len(set(names)) < len(names):  # two folders of the same name in different places
        groups = [RunGroup(text, group.runs) for text, group in zip(texts, groups, strict=True)]
    paths = [run.path.resolve() for group in groups for run in group.runs]
    twice = next((path for path in paths if paths.count(path) > 1), None)
    if twice is not None:
        raise UserError(f"The evaluation {twice} is given twice: give each run once.")
    return groups


def _list_folders(text: str) -> tuple[str, list[str]]:
    """List the folders of a group, and choose its name."""
    if Path(text).is_dir():
        return Path(text).resolve().name, [text]
    name, equals, listed = text.partition("=")
    parts = [part.strip() for part in (listed if equals else text).split(",")]
    folders: list[str] = []
    for part in filter(None, parts):
        path = str(Path(part).expanduser())
        found = sorted(match for match in glob.glob(path) if Path(match).is_dir()) if glob.has_magic(path) else [path]
        if not found:
            raise UserError(f"{part}: there is no such folder.")
        folders += found
    if not folders:
        raise UserError(f"{text!r} names no folder: give a folder, a glob, or name=folder1,folder2.")
    return (name if equals and name else Path(parts[0]).name or text), folders


def read_run(folder: str) -> EvaluatedRun:
    """
    Read a run and its evaluation.

    The folder is that of a training, with an evaluation in it, or that of an evaluation. The record of the training is
    looked for in the folder, in the folder above the evaluation, and in the folder of the evaluated model.

    Args:
        folder (`str`):
            The folder.

    Returns:
        [`EvaluatedRun`]

    Raises:
        `ValueError`: if there is no finished evaluation, more than one, or a file in it is broken.

    Example:
    ```python
    >>> from trl_forking.evaluation.evaluated_runs import read_run
    >>> read_run("no-such-run")
    Traceback (most recent call last):
        ...
    trl_forking.run.user_errors.UserError: no-such-run: there is no such folder.
    ```
    """
    path = _find_results(Path(folder))
    model, sets = read_results(path)
    places = [Path(folder), path.parent.parent, *([Path(model), Path(model).parent] if model else [])]
    place = next((place for place in places if (place / RECORD_FILE).is_file()), None)
    record = None if place is None else read_record(place)
    if record is not None:
        seed = record.get("settings", {}).get("seed", _DEFAULT_SEED) if _has_parts(record) else None
        if type(seed) is not int:
            raise UserError(f"{place}/{RECORD_FILE} is not the record of a training: restore it from a copy.")
    return EvaluatedRun(folder, path, sets, record)


def _has_parts(record: dict[str, Any]) -> bool:
    history = record.get("history", {})
    return isinstance(record.get("settings", {}), dict) and isinstance(history, dict)


def _find_results(folder: Path) -> Path:
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder.")
    if (folder / RESULTS_FILE).is_file():
        return folder / RESULTS_FILE
    found = sorted(folder.glob(f"*/{RESULTS_FILE}"))
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(str(path.parent) for path in found)
        raise UserError(f"{folder} has {len(found)} evaluations: give the folder of one of them ({names}).")
    raise UserError(
        f"{folder} has no finished evaluation: run trl-forking evaluate --model_name_or_path {folder} --output_dir "
        f"{folder / 'evaluation'} --data ... first."
    )


def read_results(path: Path) -> tuple[str | None, dict[str, EvaluatedProblems]]:
    """
    Read the file `evaluation.json` of `trl-forking evaluate`.

    Args:
        path (`Path`):
            The file.

    Returns:
        `tuple[str | None, dict[str, EvaluatedProblems]]`: the model as it was named, and its problem sets by name.

    Raises:
        `ValueError`: if the file is broken or of another kind.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        sets = content["sets"]
        read = {each["name"]: _read_set(each) for each in sets}
        model = content.get("model")
        if len(read) < len(sets) or not all(isinstance(name, str) for name in read):
            raise ValueError("its problem sets have no names of their own")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path} is not what trl-forking evaluate wrote ({type(error).__name__}: {error}): evaluate the model again."
        ) from error
    if not read:
        raise UserError(f"{path} has no problem set: evaluate the model with --data.")
    return (model if isinstance(model, str) else None), read


def _read_set(each: dict[str, Any]) -> EvaluatedProblems:
    values = {
        figure: {key: _read_number(value) for key, value in column.items()}
        for figure, column in each["problems"].items()
    }
    settings = each["settings"]
    if not isinstance(settings, dict) or not any(values.values()):
        raise ValueError(f"{each['name']} has no figures or no settings")
    if len({frozenset(column) for column in values.values()}) > 1:
        raise ValueError(f"the figures of {each['name']} have different problems")
    return EvaluatedProblems(str(each.get("title") or each["name"]), settings, values)


def _read_number(value: Any) -> float:
    if value is None:
        return math.nan
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a finite number")
    return float(value)
