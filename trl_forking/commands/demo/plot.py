"""The plot of the demo: the entropies of forks and of other tokens, and the curves of the run."""

from pathlib import Path
from typing import Any

import pandas

from ...countdown import mark_forks
from ...writing.colors import ACCENT, FORK, OTHER, REWARD
from ...writing.files import write_atomically
from ...writing.legends import add_legend_below


def plot_demo(completions: pandas.DataFrame, log_history: list[dict[str, Any]], path: Path) -> None:
    """
    Plot the token entropies of the last steps by kind of token, and reward, threshold and mean entropy over the steps.

    Args:
        completions (`DataFrame`):
            Logged completions. Without the columns `tokens` and `entropies` there is no histogram.
        log_history (`list[dict]`):
            Logs of the trainer.
        path (`Path`):
            PNG file to write.

    Example:
    ```python
    >>> import pandas, tempfile
    >>> logs = [{"step": 1, "reward": 0.3, "forking/threshold": 0.4, "entropy": 0.2}]
    >>> file = Path(tempfile.mkdtemp()) / "entropy.png"
    >>> plot_demo(pandas.DataFrame({"step": [1]}), logs, file)
    >>> file.exists()
    True
    ```
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    logs = [entry for entry in log_history if entry.get("reward") is not None]
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    histogram, curves = figure.subplots(1, 2)
    _plot_histogram(histogram, completions, logs[-1].get("forking/threshold") if logs else None)
    _plot_curves(curves, logs)
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=150))


def _plot_histogram(axes: Any, completions: pandas.DataFrame, threshold: float | None) -> None:
    axes.set_title("Token entropies, last ten steps", loc="left")
    axes.set_xlabel("entropy (nats)")
    axes.set_ylabel("tokens")
    if "entropies" not in completions:
        axes.text(0.5, 0.5, "no entropies were logged", transform=axes.transAxes, ha="center")
        return
    last = completions[completions["step"] > completions["step"].max() - 10]
    pairs = [
        pair
        for tokens, entropies in zip(last["tokens"], last["entropies"], strict=True)
        for pair in zip(mark_forks(list(tokens)), entropies, strict=True)
    ]
    values = [[entropy for fork, entropy in pairs if fork == kind] for kind in (False, True)]
    axes.hist(values, bins=40, stacked=True, color=[OTHER, FORK], label=["other tokens", "known forks"])
    axes.set_yscale("log")
    if threshold is not None:
        axes.axvline(threshold, color=ACCENT, linestyle="--", label=f"threshold {threshold:.2f} nats")
    add_legend_below(axes, num_columns=2)


def _plot_curves(axes: Any, logs: list[dict[str, Any]]) -> None:
    axes.set_title("Over training", loc="left")
    axes.set_xlabel("step")
    steps = [entry["step"] for entry in logs]
    for key, label, color in (
        ("reward", "share of right answers", REWARD),
        ("forking/threshold", "threshold (nats)", ACCENT),
        ("entropy", "mean entropy (nats)", OTHER),
    ):
        values = pandas.Series([entry.get(key) for entry in logs], dtype=float)
        axes.plot(steps, values, color=color, alpha=0.25)
        axes.plot(steps, values.rolling(10, min_periods=1).mean(), color=color, label=label)
    axes.set_ylim(bottom=0)
    add_legend_below(axes, num_columns=2)
