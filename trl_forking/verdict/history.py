"""The log of a run as columns, from a trainer, a run record or the state that any TRL trainer saves."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


STATE_FILE = "trainer_state.json"
_SHARE = 3  # the first and the last third of the steps are compared
FEWEST_STEPS = 12
"""With fewer steps a third has fewer than four, and no order of them is beyond chance."""


@dataclass(frozen=True)
class RunHistory:
    """
    Columns of the log of a run.

    Attributes:
        columns (`dict[str, list[float]]`): values of each metric at the steps that have a reward. NaN where there is none.
        evaluations (`dict[str, list[float]]`): values of each metric of an evaluation, in their order.
        settings (`dict`): settings of the run, as far as they are known.

    Example:
    ```python
    >>> history = RunHistory({"reward": [0.25, 0.5, 0.75]})
    >>> history.num_steps, history.get("entropy")
    (3, [])
    ```
    """

    columns: Mapping[str, Sequence[float]]
    evaluations: Mapping[str, Sequence[float]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def num_steps(self) -> int:
        """Number of logged steps with a reward."""
        return max((len(values) for values in self.columns.values()), default=0)

    def find_interval(self, num_rewards: int) -> int:
        """Return how many steps of training lie between two rewards; 1 where the numbers of the steps are unknown."""
        steps = self.get("step")
        return max(round(steps[-1] / num_rewards), 1) if steps else 1

    def get(self, *names: str) -> list[float]:
        """Return the numbers of the first of these metrics that was logged, without NaN."""
        for name in names:
            values = [value for value in self.columns.get(name, ()) if not math.isnan(value)]
            if values:
                return values
        return []

    def compare(self, *names: str) -> tuple[float, float] | None:
        """Return the means of a metric over the first and the last third of the steps. `None` if it was not logged."""
        values = self.get(*names)
        if not values:
            return None
        first, last = split_thirds(values)
        return math.fsum(first) / len(first), math.fsum(last) / len(last)


def split_thirds(values: Sequence[float]) -> tuple[Sequence[float], Sequence[float]]:
    """
    Split off the first and the last third of a column, at least one value each.

    Example:
    ```python
    >>> split_thirds([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    ([1.0, 2.0], [5.0, 6.0])
    ```
    """
    size = max(len(values) // _SHARE, 1)
    return values[:size], values[-size:]


def collect_history(log_history: Iterable[Mapping[str, Any]], settings: Mapping[str, Any] | None = None) -> RunHistory:
    """
    Collect the columns of a log.

    Args:
        log_history (`Iterable[dict]`):
            Entries of `trainer.state.log_history`. An entry with a reward is a step, and one with `eval_` an evaluation.
        settings (`dict`, *optional*):
            Settings of the run.

    Returns:
        [`RunHistory`]

    Example:
    ```python
    >>> logs = [{"reward": 0.5, "entropy": 0.2, "step": 1}, {"eval_reward": 0.6}, {"reward": 0.7, "step": 2}]
    >>> history = collect_history(logs)
    >>> history.columns["reward"], history.columns["entropy"], history.evaluations["eval_reward"]
    ([0.5, 0.7], [0.2, nan], [0.6])
    ```
    """
    entries = [entry for entry in log_history if isinstance(entry, Mapping)]
    steps = [entry for entry in entries if _to_number(entry.get("reward")) is not None]
    names = dict.fromkeys(name for entry in steps for name in entry)
    columns = {name: [_to_float(entry.get(name)) for entry in steps] for name in names}
    evaluations: dict[str, list[float]] = {}
    for entry in entries:
        for name, value in entry.items():
            if str(name).startswith("eval_") and _to_number(value) is not None:
                evaluations.setdefault(str(name), []).append(float(value))
    return RunHistory(columns, evaluations, settings or {})


def collect_columns(columns: Mapping[str, Any], settings: Mapping[str, Any] | None = None) -> RunHistory:
    """
    Collect the columns of a run record. Steps without a reward are left out.

    Args:
        columns (`dict[str, list]`):
            The columns `history` of `forking_run.json`.
        settings (`dict`, *optional*):
            Settings of the run.

    Returns:
        [`RunHistory`]

    Example:
    ```python
    >>> collect_columns({"reward": [0.5, None, 0.7], "entropy": [0.2, 0.3, None]}).columns
    {'reward': [0.5, 0.7], 'entropy': [0.2, nan]}
    ```
    """
    tables = {name: values for name, values in columns.items() if isinstance(values, list)}
    num_rows = max(map(len, tables.values()), default=0)
    rows = [
        {name: values[index] for name, values in tables.items() if index < len(values)} for index in range(num_rows)
    ]
    return collect_history(rows, settings)


def _to_number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _to_float(value: Any) -> float:
    number = _to_number(value)
    return math.nan if number is None else number


def find_state(folder: Path) -> Path | None:
    """
    Find the newest state that a trainer saved in a run folder or a checkpoint.

    Args:
        folder (`Path`):
            Folder of a run or of a checkpoint.

    Returns:
        `Path` or `None`: the file; that of the checkpoint with the most steps where the folder itself has none.

    Example:
    ```python
    >>> from pathlib import Path
    >>> find_state(Path("no-such-run")) is None
    True
    ```
    """
    if (folder / STATE_FILE).is_file():
        return folder / STATE_FILE
    found = [
        (int(match[1]), path)
        for path in folder.glob(f"checkpoint-*/{STATE_FILE}")
        if (match := re.fullmatch(r"checkpoint-(\d+)", path.parent.name))
    ]
    return max(found)[1] if found else None


def read_state(path: Path) -> RunHistory:
    """
    Read the log from the state that a trainer saved. Any run of TRL's GRPO trainer has one in its checkpoints.

    Args:
        path (`Path`):
            File `trainer_state.json`.

    Returns:
        [`RunHistory`]

    Raises:
        `ValueError`: if the file is not such a state; the message names it.

    Example:
    ```python
    >>> import json, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "trainer_state.json"
    >>> _ = path.write_text(json.dumps({"log_history": [{"reward": 0.5, "step": 1}]}))
    >>> read_state(path).num_steps
    1
    ```
    """
    try:
        log_history = json.loads(path.read_text(encoding="utf-8"))["log_history"]
        if not isinstance(log_history, list):
            raise ValueError("log_history is no list")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is not the state of a trainer ({type(error).__name__}: {error}).") from error
    return collect_history(log_history)
