"""The plots of the page of results."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from arms import HEADLINE
from figures import average_changes, average_overlap, smooth_rewards

from trl_forking.writing.colors import ACCENT, FORK, INK, MUTED, OTHER, REWARD, RULE
from trl_forking.writing.files import write_atomically


STYLES = {
    "all_tokens": ("all tokens", OTHER, "-"),
    "top_20": ("top 20 %", FORK, "-"),
    "random_20": ("random 20 %", ACCENT, "--"),
    "lowest_80": ("lowest 80 %", REWARD, ":"),
    "forks": ("top 20 %, gradient through forks", INK, "-."),
}


def _list_styles(names: Iterable[str], runs: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """List name, title, color and line of the arms that have runs."""
    return [(name, *STYLES[name]) for name in names if name in runs]


def _start(num_panels: int) -> tuple[Any, list[Any]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4 * num_panels, 3.4), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, num_panels, squeeze=False)[0]
    for axes in panels:
        axes.tick_params(labelsize=8, length=0, colors=MUTED)
        axes.grid(color=RULE, linewidth=0.8)
        axes.set_axisbelow(True)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set_color(OTHER)
    return figure, list(panels)


def _title(axes: Any, title: str, x: str) -> None:
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.set_xlabel(x, fontsize=9, color=MUTED)


def _save(figure: Any, path: Path) -> None:
    # Without the version of matplotlib in it, the file is the same on every machine with the same fonts.
    write_atomically(path, lambda file: figure.savefig(file, format="png", metadata={"Software": None}))


def plot_rewards(
    runs: dict[str, dict[int, dict[str, Any]]], seconds: dict[str, dict[str, float]] | None, path: Path
) -> None:
    """Plot the reward of the four arms over the steps and, where the clock was read, over the seconds."""
    figure, panels = _start(3 if seconds else 1)
    clocks = (("optimizer steps", None), ("seconds of whole steps", True), ("seconds of the update alone", False))
    for axes, (label, whole) in zip(panels, clocks, strict=False):
        for name, title, color, line in _list_styles(HEADLINE, runs):
            mean, error = smooth_rewards(runs[name])
            parts = (seconds or {}).get(name)
            if whole is None:
                scale = 1.0
            elif parts is None:
                continue
            else:
                scale = sum(parts.values()) if whole else parts["update"]
            places = [scale * (step + 1) for step in range(len(mean))]
            axes.plot(places, mean, line, color=color, label=title)
            axes.fill_between(places, mean - error, mean + error, color=color, alpha=0.2, linewidth=0)
        _title(axes, "share of right answers in training", label)
    panels[0].legend(frameon=False, fontsize=8, labelcolor=INK)
    _save(figure, path)


def plot_forks(runs: dict[str, dict[int, dict[str, Any]]], path: Path) -> None:
    """Plot the overlap of the forks over the training, and the change of the entropy by bins."""
    figure, (overlap, change) = _start(2)
    for name, title, color, line in _list_styles(HEADLINE, runs):
        overlaps = average_overlap(runs[name])
        steps = [0 if point == "base" else int(point.split()[-1]) for point in overlaps]
        overlap.plot(steps, [sum(each) / len(each) for each in overlaps.values()], line, color=color, label=title)
        rows = average_changes(runs[name])
        change.plot([100 * row[0] for row in rows], [row[2] for row in rows], line, color=color, label=title)
    overlap.set_ylim(0, 1.02)
    overlap.legend(frameon=False, fontsize=8, labelcolor=INK)
    _title(overlap, "forks in common with those before training", "optimizer steps")
    _title(change, "change of the entropy (nats)", "percentile of the entropy before training")
    _save(figure, path)


def plot_kept(runs: dict[str, dict[int, dict[str, Any]]], path: Path) -> None:
    """Plot the entropy, the length of the answers, and the recall of the known forks over the steps."""
    figure, panels = _start(3)
    columns = {
        "entropy": "mean entropy (nats)",
        "mean_length": "length of an answer (tokens)",
        "recall": "share of the known forks that is kept",
    }
    for axes, (column, text) in zip(panels, columns.items(), strict=True):
        for name, title, color, line in _list_styles(HEADLINE, runs):
            tables = [record["log"][column] for record in runs[name].values()]
            values = [[value for value in step if value is not None] for step in zip(*tables, strict=True)]
            points = [(step + 1, sum(each) / len(each)) for step, each in enumerate(values) if each]
            if points:
                axes.plot(*zip(*points, strict=True), line, color=color, label=title)
        axes.set_ylim(bottom=0)
        _title(axes, text, "optimizer steps")
    panels[0].legend(frameon=False, fontsize=8, labelcolor=INK)
    _save(figure, path)


def plot_model(runs: dict[str, dict[int, dict[str, Any]]], path: Path) -> None:
    """Plot the reward of another model over the steps, with its spread over the seeds, and the change of the entropy."""
    figure, (rewards, change) = _start(2)
    for name, title, color, line in _list_styles(STYLES, runs):
        mean, error = smooth_rewards(runs[name])
        steps = range(1, len(mean) + 1)
        rewards.plot(steps, mean, line, color=color, label=title)
        rewards.fill_between(steps, mean - error, mean + error, color=color, alpha=0.2, linewidth=0)
        rows = average_changes(runs[name])
        change.plot([100 * row[0] for row in rows], [row[2] for row in rows], line, color=color, label=title)
    rewards.legend(frameon=False, fontsize=8, labelcolor=INK)
    _title(rewards, "share of right answers in training", "optimizer steps")
    _title(change, "change of the entropy (nats)", "percentile of the entropy before training")
    _save(figure, path)
