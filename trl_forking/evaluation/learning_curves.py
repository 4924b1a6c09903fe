"""The learning curve of a run from its record: rewards and logged evaluations, over steps and over generated tokens."""

import bisect
import math
from typing import Any, NamedTuple

from .evaluated_runs import EvaluatedRun


TOKENS = "forking/generated_tokens"


class EvaluationPoint(NamedTuple):
    """
    An evaluation that a run made while it trained.

    Attributes:
        name (`str` or `None`): name of the evaluation set, where the run has several.
        metric (`str`): such as `avg@4`.
        step (`float`), tokens (`float`): where in the run; NaN tokens where they were not counted.
        value, low, high (`float`): the figure and its 95 % interval, NaN where it has none.
    """

    name: str | None
    metric: str
    step: float
    tokens: float
    value: float
    low: float
    high: float


class Curve(NamedTuple):
    """
    The learning curve of a run.

    Attributes:
        group (`str`), folder (`str`), seed (`int` or `None`): the run.
        steps (`list[float]`): optimizer steps.
        tokens (`list[float]`): tokens that the policy had generated until then, in all rounds and on all processes, without
            prompts; empty if the run did not count them.
        rewards (`list[float]`): mean reward of all answers of a rollout.
        evaluations (`list[EvaluationPoint]`): what the run logged of its evaluation sets.
        num_steps (`float`): last step of the run, which need not have made a rollout.
    """

    group: str
    folder: str
    seed: int | None
    steps: list[float]
    tokens: list[float]
    rewards: list[float]
    evaluations: list[EvaluationPoint]
    num_steps: float


def read_curve(group: str, run: EvaluatedRun) -> Curve | None:
    """
    Read the learning curve of a run from its record.

    Args:
        group (`str`):
            Name of its group.
        run ([`EvaluatedRun`]):
            The run.

    Returns:
        [`Curve`] or `None`: `None` without a record, or without a reward in it.

    Example:
    ```python
    >>> from pathlib import Path
    >>> from trl_forking.evaluation.evaluated_runs import EvaluatedRun
    >>> from trl_forking.evaluation.learning_curves import read_curve
    >>> history = {"step": [1, 2, 3], "forking/generated_tokens": [90, None, 180], "reward": [0.1, None, 0.3]}
    >>> read_curve("a", EvaluatedRun("runs/a", Path("a"), {}, {"history": history})).tokens
    [90.0, 180.0]
    ```
    """
    history = (run.record or {}).get("history", {})
    rewards, steps = history.get("forking/sampled_reward") or history.get("reward"), history.get("step")
    if not isinstance(rewards, list) or not isinstance(steps, list):
        return None
    counts = history.get(TOKENS)
    counts = counts if isinstance(counts, list) else [None] * len(steps)
    rows = [row for row in zip(steps, rewards, counts, strict=False) if _is_number(row[0]) and _is_number(row[1])]
    if not rows:
        return None
    # A run that was resumed from a checkpoint without the count knows it for a part of its steps only.
    tokens = [float(row[2]) for row in rows] if all(_is_number(row[2]) for row in rows) else []
    known = [float(row[0]) for row in rows]
    points = _read_evaluations((run.record or {}).get("evaluations"), known, tokens)
    num_steps = max(float(step) for step in steps if _is_number(step))
    return Curve(group, run.folder, run.seed, known, tokens, [float(row[1]) for row in rows], points, num_steps)


def _read_evaluations(rows: Any, steps: list[float], tokens: list[float]) -> list[EvaluationPoint]:
    points = []
    for row in rows if isinstance(rows, list) else []:
        if not isinstance(row, dict) or not (_is_number(row.get("step")) and _is_number(row.get("value"))):
            continue
        low, high = _read_interval(row.get("interval"))
        name = row.get("name")
        place = (None if name is None else str(name), str(row.get("metric")), float(row["step"]))
        points.append(
            EvaluationPoint(*place, _find_tokens(row["step"], steps, tokens), float(row["value"]), low, high)
        )
    return points


def _read_interval(ends: Any) -> tuple[float, float]:
    if not isinstance(ends, list) or len(ends) != 2 or not all(map(_is_number, ends)):
        return math.nan, math.nan
    return float(ends[0]), float(ends[1])


def _find_tokens(step: float, steps: list[float], tokens: list[float]) -> float:
    """Find how many tokens were generated until a step, which may have made no rollout itself."""
    if not tokens:
        return math.nan
    index = bisect.bisect_right(steps, step)
    return tokens[index - 1] if index else 0.0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def describe_curve(curve: Curve) -> dict[str, Any]:
    """Describe a curve as plain data; `None` where a number does not exist."""
    points = [
        {key: None if value != value else value for key, value in point._asdict().items()}  # noqa: PLR0124
        for point in curve.evaluations
    ]
    return curve._asdict() | {"evaluations": points}
