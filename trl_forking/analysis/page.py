"""What a collection of answers is shown by: tables, pictures and the page; of `analyze`, `compare` and the callback."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..run.user_errors import require
from . import ScoredAnswer, write_report
from .comparison import write_csv
from .forks import join_entropies
from .plots import (
    plot_cumulative_share,
    plot_entropy_histogram,
    plot_fork_words,
    render_svg,
    save_figure,
)


def require_plots() -> None:
    """
    Check that what draws the pictures is installed, before the first answer.

    Raises:
        [`UserError`]: if a package is missing.

    Example:
    ```python
    >>> require_plots()
    ```
    """
    for package in ("matplotlib", "wordcloud"):
        require(package, "trl-forking[analysis]")


def choose_min_count(records: Sequence[ScoredAnswer], min_count: int | None) -> int:
    """
    Choose how often a token must occur to be listed: the paper's "more than 100 times", less in a small collection.

    Example:
    ```python
    >>> choose_min_count([], None), choose_min_count([], 30)
    (5, 30)
    ```
    """
    if min_count is not None:
        return min_count
    return min(101, max(5, sum(len(record.tokens) for record in records) // 1000))


def draw_figures(records: Sequence[ScoredAnswer], summary: dict[str, Any]) -> dict[str, Any]:
    """
    Draw the pictures of a collection.

    Returns:
        `dict[str, Figure]`: by name of the file, without its ending.

    Example:
    ```python
    >>> from trl_forking.analysis import summarize
    >>> list(draw_figures([], summarize([])))
    ['entropy_histogram', 'cumulative_share', 'fork_words']
    ```
    """
    entropies, rho = join_entropies([record.entropies for record in records]), summary["top_entropy_quantile"]
    return {
        "entropy_histogram": plot_entropy_histogram(entropies, rho),
        "cumulative_share": plot_cumulative_share(entropies, rho),
        "fork_words": plot_fork_words(summary["top_tokens"], summary["min_count"]),
    }


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
    "fork_words": "Words where the reasoning forks",
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
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    for name in _TABLES:
        if summary[name]:
            write_csv(summary[name], folder / f"{name}.csv")


def write_figures(folder: Path, figures: dict[str, Any]) -> None:
    """
    Write figures as PNG files.

    Example:
    ```python
    >>> write_figures(Path("."), {})
    ```
    """
    for name, figure in figures.items():
        save_figure(figure, folder / f"{name}.png")


def write_page(
    path: Path,
    records: Sequence[ScoredAnswer],
    title: str,
    settings: dict[str, Any],
    summary: dict[str, Any],
    figures: dict[str, Any],
    max_answers: int,
    tables: Sequence[tuple] = (),
) -> None:
    """
    Write the page with everything on it.

    Example:
    ```python
    >>> from trl_forking.analysis import summarize
    >>> write_page(Path("page.html"), [], "Nothing", {"model": "none"}, summarize([]), {}, 1)
    >>> Path("page.html").is_file()
    True
    ```
    """
    captions = {name: _CAPTIONS.get(name, name.replace("_", " ").capitalize()) for name in figures}
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
        figures={captions[name]: render_svg(figure, captions[name]) for name, figure in figures.items()},
        tables=[*tables, *own],
        top_entropy_quantile=summary["top_entropy_quantile"],
        max_answers=max_answers,
    )
