"""
Results of evaluations for the card of a run, from JSON files in its folder.

A file `eval_results*.json` has one result or a list of results:

    {"task": "text-generation", "dataset": "openai/gsm8k", "dataset_name": "GSM8K", "metric": "accuracy",
     "value": 0.412, "interval": [0.385, 0.439], "baseline": 0.371, "baseline_interval": [0.345, 0.397],
     "num_samples": 1319, "settings": {"temperature": 1.0}}

`dataset`, `metric` and `value` are required. Any other field may be null. Intervals are 95 % intervals, and the baseline is
the model before training. Files of lm-evaluation-harness work too.
"""

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_number(value: Any) -> bool:
    # A whole number in JSON can be larger than any float.
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def _is_interval(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value)) and value[0] <= value[1]


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_settings(value: Any) -> bool:
    return isinstance(value, dict) and not set(value) & set(_OPTIONAL)  # they would replace the fields


_REQUIRED = ("dataset", "metric", "value")
_OPTIONAL = ("num_samples", "interval", "baseline", "baseline_interval")
_TEXT = (_is_text, "texts")
_NUMBER = (_is_number, "finite numbers")
_INTERVAL = (_is_interval, "pairs [low, high] of finite numbers, the lower one first")
_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    **{"task": _TEXT, "dataset": _TEXT, "dataset_name": _TEXT, "metric": _TEXT, "value": _NUMBER},
    **{"num_samples": (_is_count, "whole numbers above 0"), "interval": _INTERVAL},
    **{"baseline": _NUMBER, "baseline_interval": _INTERVAL},
    "settings": (_is_settings, f"mappings without {', '.join(_OPTIONAL)}"),
}


def find_evaluation_files(folder: str | Path) -> list[Path]:
    """
    Find the evaluation files of a run.

    Args:
        folder (`str` or `Path`):
            Folder of the run.

    Returns:
        `list[Path]`: files named `eval_results*.json`, without the file of [`~transformers.Trainer.save_metrics`], which
        has losses and run times.

    Example:
    ```python
    >>> find_evaluation_files("no-such-run")
    []
    ```
    """
    files = sorted(Path(folder).glob("eval_results*.json"))
    return [path for path in files if not _is_of_transformers(_read_json(path))]


def read_evaluation_results(files: Iterable[str | Path]) -> list[EvalResult]:
    """
    Read evaluation files.

    Args:
        files (`Iterable[str | Path]`):
            Files in the format above or in that of lm-evaluation-harness.

    Returns:
        `list[EvalResult]`: results for `model-index`. The optional fields are in `metric_args`.

    Raises:
        `ValueError`: if a file is missing or is not JSON, or if a result lacks a required field, has an unknown field or
            has a field of the wrong type.

    Example:
    ```python
    >>> import json, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "eval_results.json"
    >>> _ = path.write_text(json.dumps({"dataset": "openai/gsm8k", "metric": "accuracy", "value": 0.4}))
    >>> [(result.dataset_name, result.metric_value) for result in read_evaluation_results([path])]
    [('openai/gsm8k', 0.4)]
    ```
    """
    results: list[EvalResult] = []
    names: dict[str, str] = {}  # the Hub accepts one name for a data set only
    for path in map(Path, files):
        content = _read_json(path)
        is_harness = isinstance(content, dict) and isinstance(content.get("results"), dict)
        entries = (
            _convert_harness(content, path) if is_harness else content if isinstance(content, list) else [content]
        )
        for entry in entries:
            result = _build_result(entry, path)
            result.dataset_name = names.setdefault(result.dataset_type, result.dataset_name)
            results.append(result)
    return results


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such evaluation file.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read as JSON ({error}): repair it or move it away.") from error


def _is_of_transformers(content: Any) -> bool:
    return isinstance(content, dict) and bool(content) and all(key.startswith(("eval_", "epoch")) for key in content)


def _build_result(entry: Any, path: Path) -> EvalResult:
    if not isinstance(entry, dict):
        raise ValueError(f"{path} must hold a result or a list of results, but one is {entry!r}.")
    missing = [name for name in _REQUIRED if entry.get(name) is None]
    unknown = [name for name in entry if name not in _FIELDS]
    if missing or unknown:
        fault = f"no {missing[0]!r}" if missing else f"an unknown field {unknown[0]!r}"
        raise ValueError(f"{path} has a result with {fault}: the fields are {', '.join(_FIELDS)}.")
    entry = {name: value for name, value in entry.items() if value is not None}
    for name, value in entry.items():
        is_right, expected = _FIELDS[name]
        if not is_right(value):
            raise ValueError(f"{path}: {name!r} must have {expected}, but one is {value!r}.")
    kept = {name: entry[name] for name in _OPTIONAL if name in entry}
    return EvalResult(
        task_type=entry.get("task", "text-generation"),
        dataset_type=entry["dataset"],
        dataset_name=entry.get("dataset_name", entry["dataset"]),
        metric_type=entry["metric"],
        metric_value=entry["value"],
        metric_args=kept | entry.get("settings", {}) or None,
    )


def _convert_harness(content: dict[str, Any], path: Path) -> list[dict[str, Any]]:
    """Convert the results of lm-evaluation-harness: metrics only, not the counts and names that stand beside them."""
    entries = []
    has_filters = any("," in key for metrics in content["results"].values() for key in _get_names(metrics))
    for task, metrics in content["results"].items():
        if not isinstance(metrics, dict):
            raise ValueError(
                f"{path}: the results of {task!r} must be a mapping of metrics, but they are {metrics!r}."
            )
        samples = _get_part(content, "n-samples", task)
        num_samples = samples.get("effective") if isinstance(samples, dict) else None
        for key, value in metrics.items():
            metric, comma, selected = key.partition(",")
            if isinstance(value, bool) or not isinstance(value, (int, float)) or metric.endswith("_stderr"):
                continue
            # From 0.4 on, a metric is named `metric,filter`; whatever has no filter is a count, a name or the like.
            if has_filters and not comma:
                continue
            settings: dict[str, Any] = {"filter": selected} if selected not in ("", "none") else {}
            error = metrics.get(f"{metric}_stderr,{selected}")
            if isinstance(error, (int, float)):
                settings["stderr"] = error
            shots = _get_part(content, "n-shot", task)
            if shots is not None:
                settings["num_fewshot"] = shots
            name = metrics.get("alias", task)
            entry = {"dataset": task, "dataset_name": name, "metric": metric, "value": value, "settings": settings}
            entries.append(entry | {"num_samples": num_samples})
    return entries


def _get_names(metrics: Any) -> list[str]:
    return list(metrics) if isinstance(metrics, dict) else []


def _get_part(content: dict[str, Any], name: str, task: str) -> Any:
    part = content.get(name)
    return part.get(task) if isinstance(part, dict) else None
