"""What the demo shows while it trains: a progress bar and a line of figures. An interrupted run loses nothing."""

import math
import signal
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import PrinterCallback, TrainerCallback

from .preparation import DemoRun


class LiveFigures(TrainerCallback):
    """Shows a progress bar with the newest figures, and saves a checkpoint and stops when the user interrupts."""

    def __init__(self, progress: Progress, max_steps: int):
        self.progress, self.interrupted = progress, False
        self.task = progress.add_task("training", total=max_steps, figures="")

    def on_log(self, args, state, control, logs=None, **kwargs):
        if logs and "reward" in logs:
            self.progress.update(self.task, completed=state.global_step, figures=format_figures(logs))
            if not self.progress.console.is_terminal and state.global_step % 10 == 0:
                self.progress.console.print(f"step {state.global_step:4d}  {format_figures(logs)}", highlight=False)

    def on_step_end(self, args, state, control, **kwargs):
        if self.interrupted:
            control.should_save = control.should_training_stop = True

    def interrupt(self, *_: Any) -> None:
        """End the run after this step; when called a second time, end it at once."""
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True
        self.progress.console.print("Stopping after this step ...")


def format_figures(logs: dict[str, Any]) -> str:
    """
    Format the figures of a step as one line.

    Example:
    ```python
    >>> format_figures({"reward": 0.3125, "forking/kept_fraction": 0.2, "forking/threshold": 0.4, "entropy": 0.15})
    'reward 0.31 | kept 0.20 | threshold 0.40 nats | entropy 0.150 nats'
    ```
    """
    numbers = {
        key: math.nan if logs.get(key) is None else logs[key]
        for key in ("reward", "forking/kept_fraction", "forking/threshold", "entropy")
    }
    return (
        f"reward {numbers['reward']:.2f} | kept {numbers['forking/kept_fraction']:.2f} | "
        f"threshold {numbers['forking/threshold']:.2f} nats | entropy {numbers['entropy']:.3f} nats"
    )


def train_with_figures(run: DemoRun, console: Console) -> bool:
    """Train, and return whether the run reached its last step. An interrupted run leaves a checkpoint."""
    trainer = run.trainer
    trainer.remove_callback(PrinterCallback)  # it would print the logs of every step between the figures
    columns = [BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[figures]}")]
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        live = LiveFigures(progress, trainer.args.max_steps)
        trainer.add_callback(live)
        previous = signal.signal(signal.SIGINT, live.interrupt)
        try:
            trainer.train(resume_from_checkpoint=run.checkpoint)
        finally:
            signal.signal(signal.SIGINT, previous)
    return not live.interrupted or trainer.state.global_step >= trainer.args.max_steps
