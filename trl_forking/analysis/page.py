"""How a collection of answers is shown: tables, pictures and the page. `analyze`, `compare` and the callback use it."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..run.user_errors import require
from ..writing.files import write_atomically
from . import ScoredAnswer, write_report
from .forks import join_entropies
from .plots import (
    NothingToDraw,
    plot_cumulative_share,
    plot_entropy_histogram,
    plot_fork_words,
    render_svg,
    save_figure,
)
from .tables import write_csv


if TYPE_CHECKING:
    from matplotlib.figure import Figure


def require_plots() -> None:
    """
    Check that matplotlib, which draws the pictures, is installed. A command calls it before the first answer.

    Raises:
        [`UserError`]: if it is not.

    Example:
    ```python
    >>> require_plots()
    ```
    """
    require("matplotlib", "trl-forking[analysis]")


def choose_min_count(records: Sequence[ScoredAnswer], min_count: int | None) -> int:
    """
    Choose how often a token must occur to be listed: more than 100 times, as in the paper, or less in a small collection.

    Example:
    ```python
    >>> choose_min_count([], None), choose_min_count([], 30)
    (5, 30)
    ```
    """
    if min_count is not None:
        return min_count
    return min(101, max(5, sum(len(record.tokens) for record in records) // 1000))


def draw_figures(records: Sequence[ScoredAnswer], summary: dict[str, Any]) -> "dict[str, Figure | str]":
    """
    Draw the pictures of a collection.

    Returns:
        `dict`: by the name of the file, without its ending, a [`~matplotlib.figure.Figure`], or a sentence (`str`) that
        says why there is nothing to draw.

    Example:
    ```python
    >>> from trl_forking.analysis import summarize
    >>> draw_figures([], summarize([]))["entropy_histogram"]
    'There is no histogram of entropies: the answers have no tokens.'
    ```
    """
    entropies, rho = join_entropies([record.entropies for record in records]), summary["top_entropy_quantile"]
    words = summary["top_tokens"], summary["min_count"]
    return draw_each(
        {
            "entropy_histogram": lambda: plot_entropy_histogram(entropies, rho),
            "cumulative_share": lambda: plot_cumulative_share(entropies, rho),
            "fork_words": lambda: plot_fork_words(*words, threshold=summary["threshold"]),
        }
    )


def draw_each(plots: "Mapping[str, Callable[[], Figure]]") -> "dict[str, Figure | str]":
    """
    Draw figures. Where there is nothing to draw, a sentence stands in place of the figure.

    Example:
    ```python
    >>> import numpy as np
    >>> draw_each({"cumulative_share": lambda: plot_cumulative_share(np.zeros(3))})
    {'cumulative_share': 'There is no picture of the shares of entropy: no token has an entropy above 0.'}
    ```
    """
    drawn: dict[str, Any] = {}
    for name, plot in plots.items():
        try:
            drawn[name] = plot()
        except NothingToDraw as reason:
            drawn[name] = str(reason)
    return drawn


_TABLES = {
    "top_tokens": "Tokens with the highest mean entropy",
    "bottom_tokens": "Tokens with the lowest mean entropy",
    "by_correctness": "Right and wrong answers",
    "by_answer_part": "By place in the answer",
    "by_sentence_position": "By place in the sentence",
}
_CAPTIONS = {
    "entropy_histogram": "Distribution of entropy",
    "cumulative_share": "Share of all entropy",
    "fork_words": "Highest mean entropies",
}


def write_tables(folder: Path, summary: dict[str, Any]) -> None:
    """
    Write `summary.json` and a CSV file for each table.

    Example:
    ```python
    >>> from trl_forking.analysis import summarize
    >>> write_tables(Path("."), summarize([]))
    >>> Path("summary.json").is_file()
    True
    ```
    """
    write_atomically(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
    for name in _TABLES:
        if summary[name]:
            write_csv(summary[name], folder / f"{name}.csv")


def write_figures(folder: Path, figures: "Mapping[str, Figure | str]") -> None:
    """
    Write figures as PNG files.

    Args:
        folder (`Path`):
            Folder to write to.
        figures (`dict`):
            Figures by name. Where a sentence stands in place of a figure, an older file of that name is removed.

    Example:
    ```python
    >>> write_figures(Path("."), {})
    ```
    """
    for name, figure in figures.items():
        path = folder / f"{name}.png"
        if isinstance(figure, str):
            path.unlink(missing_ok=True)
        else:
            save_figure(figure, path)


def write_page(
    path: Path,
    records: Sequence[ScoredAnswer],
    title: str,
    settings: dict[str, Any],
    summary: dict[str, Any],
    figures: "Mapping[str, Figure | str]",
    max_answers: int,
    tables: Sequence[tuple[Any, ...]] = (),
    **parts: Any,
) -> None:
    """
    Write the page with everything on it.

    Args:
        path (`Path`):
            File to write.
        records (sequence of [`ScoredAnswer`]):
            Answers.
        title (`str`):
            Heading.
        settings (`dict`):
            Settings by name; those that are `None` are left out.
        summary (`dict`):
            Return value of [`summarize`].
        figures (`dict`):
            Return value of [`draw_figures`].
        max_answers (`int`):
            Largest number of answers on the page.
        tables (sequence of `tuple`, *optional*):
            More tables, which come first: caption, header and rows of each.
        parts (`Any`):
            Other arguments of [`~trl_forking.analysis.report.build_report`].

    Example:
    ```python
    >>> from trl_forking.analysis import summarize
    >>> write_page(Path("page.html"), [], "Nothing", {"model": "none"}, summarize([]), {}, 1)
    >>> Path("page.html").is_file()
    True
    ```
    """
    captions = {name: _CAPTIONS.get(name, name.replace("_", " ").capitalize()) for name in figures}
    svgs = {
        captions[name]: render_svg(figure, captions[name])
        for name, figure in figures.items()
        if not isinstance(figure, str)
    }
    own = [
        (caption, list(summary[name][0]), [list(row.values()) for row in summary[name][:30]])
        for name, caption in _TABLES.items()
        if summary[name]
    ]
    write_report(
        path,
        records,
        title=title,
        settings={name: value for name, value in settings.items() if value is not None},
        summary=summary,
        figures=svgs,
        notes=[sentence for sentence in figures.values() if isinstance(sentence, str)],
        tables=[*tables, *own],
        top_entropy_quantile=summary["top_entropy_quantile"],
        max_answers=max_answers,
        **parts,
    )
