"""The evaluations that a run made while it trained, from its log, as results for its card."""

import math
import re
from typing import Any

from huggingface_hub import EvalResult


_NAME = re.compile(r"eval(?:_(.+))?_forking/(avg@\d+)")


def collect_evaluations(log_history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """
    Collect avg@k of the evaluations of a run.

    Args:
        log_history (`list[dict[str, Any]]`):
            Logs of a [`~transformers.TrainerState`].

    Returns:
        `list[dict[str, Any]]`: for each evaluation its `step`, the `name` of its data if the run has several
        evaluation sets, `metric`, `value`, `interval` or `None`, and `num_samples`, in the order of the log.

    Example:
    ```python
    >>> logs = [{"step": 5, "eval_forking/avg@4": 0.5, "eval_forking/avg@4_low": 0.4, "eval_forking/avg@4_high": 0.6,
    ...          "eval_forking/problems": 30.0}]
    >>> collect_evaluations(logs)
    [{'step': 5, 'name': None, 'metric': 'avg@4', 'value': 0.5, 'interval': [0.4, 0.6], 'num_samples': 30}]
    ```
    """
    found = []
    for row in log_history:
        for key, value in row.items():
            match = _NAME.fullmatch(key)
            if match is None or not _is_number(value) or "step" not in row:
                continue
            interval = [row.get(f"{key}_low"), row.get(f"{key}_high")]
            problems = row.get(key.rpartition("/")[0] + "/problems")
            found.append(
                {
                    "step": row["step"],
                    "name": match[1],
                    "metric": match[2],
                    "value": value,
                    "interval": interval if all(map(_is_number, interval)) else None,
                    "num_samples": int(problems) if problems is not None and _is_number(problems) else None,
                }
            )
    return found


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def build_logged_results(run: dict[str, Any]) -> list[EvalResult]:
    """
    Build results for a card from the evaluations of a run.

    Args:
        run (`dict[str, Any]`):
            Facts of the run. The result is that of the last evaluation, or of the one whose model was loaded at the end.
            An evaluation before the first step is the baseline.

    Returns:
        `list[EvalResult]`: one for each evaluation set.

    Example:
    ```python
    >>> rows = [{"step": step, "name": None, "metric": "avg@4", "value": step / 10, "interval": None, "num_samples": 30}
    ...         for step in (0, 5)]
    >>> (result,) = build_logged_results({"evaluations": rows, "progress": {}, "batch": {}})
    >>> result.metric_value, result.metric_args
    (0.5, {'num_samples': 30, 'baseline': 0.0, 'step': 5})
    ```
    """
    results = []
    rows = run.get("evaluations") or []
    best = run["progress"].get("best_step")
    for name, metric in dict.fromkeys((row["name"], row["metric"]) for row in rows):
        own = [row for row in rows if (row["name"], row["metric"]) == (name, metric)]
        last = next((row for row in own if row["step"] == best), own[-1])
        before = own[0] if own[0]["step"] == 0 and last["step"] > 0 else {}
        facts = {
            "num_samples": last["num_samples"],
            "interval": last["interval"],
            "baseline": before.get("value"),
            "baseline_interval": before.get("interval"),
            "step": last["step"],
            **{key: run["batch"].get(key) for key in ("temperature", "max_completion_length")},
        }
        results.append(
            EvalResult(
                task_type="text-generation",
                dataset_type=f"evaluation-set-{name}" if name else "evaluation-set",
                dataset_name=f"Evaluation set {name} of the run" if name else "Evaluation set of the run",
                metric_type=metric,
                metric_value=last["value"],
                metric_args={key: value for key, value in facts.items() if value is not None},
            )
        )
    return results
