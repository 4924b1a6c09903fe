"""Numbers under `forking/` between two log entries, and how they get into TRL's."""

import math
from collections import defaultdict

from trl import GRPOTrainer

from .metrics_file import MetricsFile


class MetricMeans:
    """
    Means of the numbers that were added since the last log entry; NaN has no part in them.

    Example:
    ```python
    >>> means = MetricMeans()
    >>> means.add("threshold", 0.5)
    >>> means.add("threshold", 0.7)
    >>> means.replace("prompts_consumed", 64)
    >>> means.pop()
    {'threshold': 0.6, 'prompts_consumed': 64.0}
    ```
    """

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = defaultdict(list)

    def add(self, name: str, value: float) -> None:
        """Add a number to the mean of its name."""
        self._values[name].append(value)

    def replace(self, name: str, value: float) -> None:
        """Set a number that is no mean, such as a count since the start of the run."""
        self._values[name] = [value]

    def pop(self) -> dict[str, float | None]:
        """Return the mean of each name, `None` where there is no number, and begin anew."""
        valid = {name: [value for value in values if not math.isnan(value)] for name, values in self._values.items()}
        self._values.clear()
        return {name: sum(values) / len(values) if values else None for name, values in valid.items()}


class MetricsMixin(GRPOTrainer):
    """Logs numbers under `forking/`, and under `eval_forking/` in an evaluation, with TRL's own."""

    def __init__(self, *args, **kwargs):
        self._means = {"train": MetricMeans(), "eval": MetricMeans()}
        super().__init__(*args, **kwargs)
        self.add_callback(MetricsFile())

    @property
    def metric_means(self) -> MetricMeans:
        """The means of the training or, while there is one, of the evaluation."""
        return self._means["train" if self.model.training else "eval"]

    def log(self, logs: dict[str, float | None], start_time: float | None = None) -> None:
        """Add the means to a log entry, in place, as TRL does with its own."""
        prefix = "forking/" if self.model.training else "eval_forking/"
        logs.update({prefix + name: value for name, value in self.metric_means.pop().items()})
        super().log(logs, start_time)
