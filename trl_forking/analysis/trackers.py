"""Sends the page, words, marked answers and the distribution of entropies to the trackers of a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..run.completions_table import find_event_writers, mark_kept
from ..run.trainer_protocol import ForkingTrainer
from ..writing.markdown import format_table
from . import ScoredAnswer


_NUM_WORDS = 20
_NUM_ANSWERS = 8


def log_fork_report(
    trainer: ForkingTrainer, step: int, records: Sequence[ScoredAnswer], summary: dict[str, Any], page: str | Path
) -> None:
    """
    Send a report on the forks to the trackers of a run, in the types of each tracker.

    wandb and trackio get `forking/page` (HTML), `forking/words` and `forking/answers` (tables) and `forking/entropies`
    (histogram). TensorBoard gets the words and answers as text, and the histogram.

    Args:
        trainer ([`~transformers.Trainer`]):
            Trainer. Its `args.report_to` names the trackers.
        step (`int`):
            Optimizer step.
        records (sequence of [`ScoredAnswer`]):
            Answers.
        summary (`dict`):
            Return value of [`summarize`].
        page (`str` or `Path`):
            HTML file of the page.

    Example:
    ```python
    >>> from types import SimpleNamespace
    >>> trainer = SimpleNamespace(args=SimpleNamespace(report_to=[]), callback_handler=SimpleNamespace(callbacks=[]))
    >>> log_fork_report(trainer, 1, [], {"top_tokens": []}, "step-1.html")
    ```
    """
    words = [(row["token"], row["count"], row["mean_entropy"]) for row in summary["top_tokens"][:_NUM_WORDS]]
    answers = [(record.prompt, _mark(record), record.reward) for record in records[:_NUM_ANSWERS]]
    entropies = np.concatenate([np.zeros(0, np.float32), *(record.entropies for record in records)])
    for name in ("wandb", "trackio"):
        if name in trainer.args.report_to:
            _log_media(name, step, words, answers, entropies, Path(page))
    for writer in find_event_writers(trainer):
        _write_events(writer, step, words, answers, entropies)


def _log_media(
    name: str,
    step: int,
    words: list[tuple[Any, ...]],
    answers: list[tuple[Any, ...]],
    entropies: np.ndarray,
    page: Path,
) -> None:
    tracker = __import__(name)
    if name == "wandb" and tracker.run is None:
        return
    media = {
        "forking/words": tracker.Table(columns=["token", "count", "mean_entropy"], data=[list(row) for row in words]),
        "forking/answers": tracker.Table(columns=["prompt", "answer", "reward"], data=[list(row) for row in answers]),
        "forking/entropies": tracker.Histogram(entropies),
        "forking/page": tracker.Html(page.read_text(encoding="utf-8"), inject=False),
    }
    # wandb's own step counts calls. Transformers and TRL log the optimizer's step as a column, and so does this.
    tracker.log(media | {"train/global_step": step})


def _write_events(
    writer: Any, step: int, words: list[tuple[Any, ...]], answers: list[tuple[Any, ...]], entropies: np.ndarray
) -> None:
    words = [(repr(token), count, mean) for token, count, mean in words]
    style = {"float_format": ".3f", "line_break": "<br>"}
    writer.add_text("forking/words", format_table(["token", "count", "mean entropy"], words, **style), step)
    writer.add_text("forking/answers", format_table(["prompt", "answer", "reward"], answers, **style), step)
    if len(entropies):
        writer.add_histogram("forking/entropies", entropies, step)


def _mark(record: ScoredAnswer) -> str:
    return record.completion if record.kept is None else mark_kept(record.tokens, record.kept.tolist())
