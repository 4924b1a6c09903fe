"""The plot of a comparison of runs: rewards and logged evaluations over steps and over generated tokens, and the differences."""

import io
import math
from typing import Any

import numpy as np

from ..card.training_plot import smooth_values
from ..writing.colors import ACCENT, INK, MUTED, OTHER, REWARD, RULE
from ..writing.legends import add_legend_below
from .learning_curves import Curve
from .run_comparison import RunComparison


_STYLES = [(OTHER, "-"), (ACCENT, "-"), (REWARD, "-"), (INK, "--"), (ACCENT, ":"), (REWARD, "--"), (OTHER, ":")]


def draw_comparison(comparison: RunComparison) -> bytes | None:
    """
    Draw a comparison of runs.

    Args:
        comparison ([`RunComparison`]):
            The comparison.

    Returns:
        `bytes` or `None`: a PNG; `None` without matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return None
    styles = {group.name: _STYLES[index % len(_STYLES)] for index, group in enumerate(comparison.groups)}
    axes_names = _choose_axes(comparison.curves)
    logged = list(dict.fromkeys((p.name, p.metric) for curve in comparison.curves for p in curve.evaluations))
    num_rows, num_columns = 1 + len(logged) if axes_names else 1, len(axes_names) + 1
    num_bars = sum(len(each.sets) for each in comparison.comparisons)
    height = max(3.2 * num_rows if axes_names else 1.6, 0.9 + 0.42 * num_bars)
    figure = Figure(figsize=(4.2 * num_columns + (0 if axes_names else 2.2), height), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(num_rows, num_columns)
    for column, axis in enumerate(axes_names):
        panels = [figure.add_subplot(grid[row, column]) for row in range(num_rows)]
        _draw_curves(panels[0], comparison.curves, axis, styles)
        for axes, (name, metric) in zip(panels[1:], logged, strict=True):
            _draw_evaluations(axes, comparison.curves, axis, name, metric, styles)
    if axes_names:
        add_legend_below(figure.axes[0], num_columns=2, font_size=8)
    _draw_differences(figure.add_subplot(grid[:, -1]), comparison, styles)
    for axes in figure.axes:
        _tidy(axes)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _choose_axes(curves: list[Curve]) -> list[str]:
    """Choose what the curves are drawn over: steps, and tokens where a run has counted them."""
    if not curves:
        return []
    return ["steps", "tokens"] if any(curve.tokens for curve in curves) else ["steps"]


_AXES = {"steps": ("steps", "optimizer steps"), "tokens": ("generated tokens", "generated tokens, all rollouts")}


def _draw_curves(axes: Any, curves: list[Curve], axis: str, styles: dict[str, tuple[str, str]]) -> None:
    named: set[str] = set()
    for curve in curves:
        if not getattr(curve, axis):
            continue
        color, line = styles[curve.group]
        smooth = smooth_values(np.array(curve.rewards), len(curve.rewards) // 20)
        label = "" if curve.group in named else _shorten(curve.group)
        marker = "o" if len(smooth) < 3 else None
        axes.plot(
            getattr(curve, axis), smooth, line, color=color, marker=marker, linewidth=1.5, alpha=0.85, label=label
        )
        named.add(curve.group)
    _name(axes, f"mean reward over {_AXES[axis][0]}", axis)


def _draw_evaluations(
    axes: Any, curves: list[Curve], axis: str, name: str | None, metric: str, styles: dict[str, tuple[str, str]]
) -> None:
    """Draw the evaluations of one set, each with its interval."""
    for curve in curves:
        points = [p for p in curve.evaluations if (p.name, p.metric) == (name, metric)]
        places = [p.step if axis == "steps" else p.tokens for p in points]
        if not points or any(map(math.isnan, places)):  # the run did not count its tokens
            continue
        color, line = styles[curve.group]
        values = [p.value for p in points]
        # A point without an interval has no bar.
        reach = np.nan_to_num([[p.value - p.low for p in points], [p.high - p.value for p in points]])
        axes.errorbar(
            places, values, yerr=np.maximum(reach, 0), fmt=f"o{line}", color=color, markersize=4, linewidth=1.2,
            elinewidth=0.9, capsize=2, alpha=0.8,
        )  # fmt: skip
    of = "the evaluation set" if name is None else f"evaluation set {_shorten(name, 12)}"
    _name(axes, f"{metric} on {of}, 95 % intervals", axis)


def _name(axes: Any, title: str, axis: str) -> None:
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.set_xlabel(_AXES[axis][1], fontsize=9, color=MUTED)
    if axis == "tokens":
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.locator_params(axis="x", nbins=5)


def _draw_differences(axes: Any, comparison: RunComparison, styles: dict[str, tuple[str, str]]) -> None:
    labels: list[str] = []
    for each in comparison.comparisons:
        for one in each.sets:
            name = one.headlines[0]
            found = one.figures[name].difference
            if not math.isnan(found.mean):
                row, mean = len(labels), 100 * found.mean
                reach = [[mean - 100 * found.low], [100 * found.high - mean]]
                axes.errorbar(
                    [mean],
                    [row],
                    xerr=None if math.isnan(found.low) else np.maximum(reach, 0),
                    fmt="o",
                    markersize=6,
                    markerfacecolor="white" if found.is_noise else None,
                    color=styles[each.second][0],
                    capsize=3,
                )
            labels.append(f"{_shorten(one.title)}, {name}\n{_shorten(each.second)}")
    axes.axvline(0, color=MUTED, linewidth=1, linestyle=":")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_title(f"difference to {_shorten(comparison.groups[0].name)} (points)", loc="left", fontsize=10, color=INK)
    axes.set_xlabel("95 % intervals; hollow: not distinguishable from noise", fontsize=9, color=MUTED)


def _shorten(text: str, length: int = 24) -> str:
    text = text.replace("$", r"\$")  # matplotlib takes it for a formula
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _tidy(axes: Any) -> None:
    axes.tick_params(labelsize=8, length=0, colors=MUTED)
    axes.grid(color=RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(OTHER)
