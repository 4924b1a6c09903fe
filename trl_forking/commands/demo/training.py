"""What the demo shows while it trains: a progress bar and a line of figures. An interrupted run loses nothing."""

import math
import signal
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import PrinterCallback, TrainerCallback

from .preparation import DemoRun


NUM_SMOOTHED = 10
"""Steps whose mean is shown. The reward of one step moves by more than training changes it in ten."""


class LiveFigures(TrainerCallback):
    """Shows a progress bar with the newest figures, and saves a checkpoint and stops when the user interrupts."""

    def __init__(self, progress: Progress, max_steps: int):
        self.progress = progress
        self.signal: int | None = None
        self.task = progress.add_task("training", total=max_steps, figures="")
        self._newest: deque[Mapping[str, Any]] = deque(maxlen=NUM_SMOOTHED)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if logs and "reward" in logs:
            self._newest.append(logs)
            figures = format_figures(self._newest)
            self.progress.update(self.task, completed=state.global_step, figures=figures)
            if not self.progress.console.is_terminal and state.global_step % 10 == 0:
                self.progress.console.print(f"step {state.global_step:4d}  {figures}", highlight=False)

    def on_step_end(self, args, state, control, **kwargs):
        if self.signal is not None:
            control.should_save = control.should_training_stop = True

    def interrupt(self, number: int, *_: Any) -> None:
        """End the run after this step; when called a second time, end it at once."""
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number
        self.progress.console.print("Stopping after this step ...")


def format_figures(steps: Iterable[Mapping[str, Any]]) -> str:
    """
    Format the mean figures of the newest steps as one line, which leaves room for a bar on 80 columns.

    Example:
    ```python
    >>> steps = [{"reward": 0.25, "forking/threshold": 0.4, "entropy": 0.15}, {"reward": 0.5, "entropy": 0.25}]
    >>> format_figures(steps)
    'reward 0.38 | threshold 0.40 | entropy 0.200 nats'
    ```
    """
    rows = list(steps)
    columns = {key: [row.get(key) for row in rows] for key in ("reward", "forking/threshold", "entropy")}
    numbers = {key: [value for value in values if value is not None] for key, values in columns.items()}
    reward, threshold, entropy = (sum(values) / len(values) if values else math.nan for values in numbers.values())
    return f"reward {reward:.2f} | threshold {threshold:.2f} | entropy {entropy:.3f} nats"


def build_columns() -> list[Any]:
    """
    Build the columns of the progress bar: with the figures they are at most 80 characters wide.

    Example:
    ```python
    >>> len(build_columns())
    4
    ```
    """
    return [BarColumn(10), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[figures]}")]


def train_with_figures(run: DemoRun, console: Console) -> int | None:
    """
    Train, and return the number of the signal that ended the run before its last step; `None` if it got there.

    An interrupted run leaves a checkpoint.
    """
    trainer = run.trainer
    trainer.remove_callback(PrinterCallback)  # it would print the logs of every step between the figures
    console.print(f"Figures are means of the last {NUM_SMOOTHED} steps.")
    with Progress(*build_columns(), console=console, disable=not console.is_terminal) as progress:
        live = LiveFigures(progress, trainer.args.max_steps)
        trainer.add_callback(live)
        with _handling_signals(live):
            trainer.train(resume_from_checkpoint=run.checkpoint)
    return None if trainer.state.global_step >= trainer.args.max_steps else live.signal


@contextmanager
def _handling_signals(live: LiveFigures) -> Iterator[None]:
    former = {number: signal.signal(number, live.interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
