"""A comparison of models for people: names, a sentence, tables, pictures and the page."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..writing.files import write_atomically
from ..writing.numbers import format_percent
from .page import choose_min_count, draw_each, draw_figures, write_figures, write_page
from .plots import plot_change_by_bin, plot_overlap, plot_percentile_traces
from .records import ScoredAnswer
from .summary import summarize
from .tables import format_markdown, write_csv


_TABLES = {
    "overlap": "Overlap of fork positions with the first and the last model",
    "percentiles": "Percentiles of entropy, in nats",
    "change_by_bin": "Mean change of entropy, in nats, by 5 %-bins of base entropy",
}


def name_models(paths: Sequence[str]) -> list[str]:
    """
    Name models by the last parts of their paths. Each name has as many parts as tell it from the others.

    Args:
        paths (sequence of `str`):
            Folders, or names of the Hub.

    Returns:
        `list[str]`: a name for each path.

    Example:
    ```python
    >>> from trl_forking.analysis.comparison_page import name_models
    >>> name_models(["Qwen/Qwen3-8B", "runs/a/checkpoint-10", "runs/b/checkpoint-10/"])
    ['Qwen3-8B', 'a/checkpoint-10', 'b/checkpoint-10']
    ```
    """
    parts = [Path(path).parts for path in paths]
    names = []
    for own in parts:
        rivals = [other for other in parts if other != own]
        size = next((n for n in range(1, len(own)) if all(other[-n:] != own[-n:] for other in rivals)), len(own))
        names.append("/".join(own[-size:]))
    return names


def describe_comparison(comparison: dict[str, Any]) -> str:
    """
    Describe a comparison in plain sentences, from its own figures.

    Args:
        comparison (`dict`):
            Return value of [`~trl_forking.analysis.comparison.build_comparison`].

    Returns:
        `str`: two sentences.

    Example:
    ```python
    >>> import numpy as np
    >>> from trl_forking.analysis.comparison import build_comparison
    >>> from trl_forking.analysis.comparison_page import describe_comparison
    >>> describe_comparison(build_comparison([np.array([0.0, 1.0])], {"step 10": [np.array([0.0, 2.0])]}, 0.5))
    "100 % of the base model's forks are forks of step 10 too. The mean entropy went from 0.5 to 1 nats."
    ```
    """
    first, last = comparison["overlap"][0], comparison["overlap"][-1]
    if last["to_first"] is None:
        return "No answer has a token, so there is nothing to compare."
    return (
        f"{format_percent(last['to_first'])} of the base model's forks are forks of {last['checkpoint']} too. The mean "
        f"entropy went from {first['mean_entropy']:.3g} to {last['mean_entropy']:.3g} nats."
    )


def write_comparison(
    folder: Path,
    comparison: dict[str, Any],
    records: Sequence[ScoredAnswer],
    settings: dict[str, Any],
    max_answers: int,
) -> None:
    """
    Write the tables (CSV, Markdown, JSON), the pictures and the page of a comparison.

    Args:
        folder (`Path`):
            Folder to write to.
        comparison (`dict`):
            Return value of [`~trl_forking.analysis.comparison.build_comparison`].
        records (sequence of [`ScoredAnswer`]):
            The answers, which the last model wrote.
        settings (`dict`):
            Settings to show on the page.
        max_answers (`int`):
            Largest number of answers on the page.

    Example:
    ```python
    >>> import numpy as np
    >>> from trl_forking.analysis.comparison import build_comparison
    >>> from trl_forking.analysis.comparison_page import write_comparison
    >>> comparison = build_comparison([np.zeros(1)], {"a": [np.zeros(1)]})
    >>> write_comparison(Path("."), comparison, [], {"base": "countdown"}, max_answers=1)
    >>> Path("overlap.csv").is_file()
    True
    ```
    """
    first, last = comparison["overlap"][0]["checkpoint"], comparison["overlap"][-1]["checkpoint"]
    _write_tables(folder, comparison, f"{first} and {last}")
    rho = comparison["top_entropy_quantile"]
    summary = summarize(records, rho, choose_min_count(records, None))
    figures = draw_each(
        {
            "overlap": lambda: plot_overlap(comparison["overlap"], rho),
            "percentiles": lambda: plot_percentile_traces(comparison["percentiles"]),
            "change_by_bin": lambda: plot_change_by_bin(comparison["change_by_bin"], last, rho),
        }
    )
    write_figures(folder, figures)
    tables = [
        (caption, list(comparison[name][0]), [list(row.values()) for row in comparison[name]])
        for name, caption in _TABLES.items()
    ]
    title = f"Forks of {last}, compared with {first}"
    figures |= draw_figures(records, summary)
    write_page(folder / "report.html", records, title, settings, summary, figures, max_answers, tables)


def _write_tables(folder: Path, comparison: dict[str, Any], title: str) -> None:
    for name in _TABLES:
        write_csv(comparison[name], folder / f"{name}.csv")
    sections = [f"## {caption}\n\n{format_markdown(comparison[name])}" for name, caption in _TABLES.items()]
    text = "\n\n".join([f"# {title}", describe_comparison(comparison), *sections])
    write_atomically(folder / "comparison.md", f"{text}\n")
    write_atomically(folder / "comparison.json", json.dumps(comparison, indent=2) + "\n")
