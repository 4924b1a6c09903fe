"""The plot of a comparison of runs: rewards over steps and over tokens, and the differences with their intervals."""

import io
import math
from typing import Any

import numpy as np

from ..card.training_plot import smooth_values
from ..writing.colors import ACCENT, INK, MUTED, OTHER, REWARD, RULE
from .run_comparison import Curve, RunComparison


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
    num_bars = sum(len(each.sets) for each in comparison.comparisons)
    has_curves = bool(comparison.curves)
    height = max(3.2 if has_curves else 1.6, 0.9 + 0.42 * num_bars)
    figure = Figure(figsize=(12.6 if has_curves else 6.4, height), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(np.atleast_1d(figure.subplots(1, 3 if has_curves else 1)))
    if has_curves:
        _draw_curves(panels[0], comparison.curves, "steps", styles)
        _draw_curves(panels[1], comparison.curves, "tokens", styles)
        panels[0].legend(frameon=False, fontsize=8, labelcolor=INK)
    _draw_differences(panels[-1], comparison, styles)
    for axes in panels:
        _tidy(axes)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _draw_curves(axes: Any, curves: list[Curve], axis: str, styles: dict[str, tuple[str, str]]) -> None:
    named: set[str] = set()
    for curve in curves:
        color, line = styles[curve.group]
        smooth = smooth_values(np.array(curve.rewards), len(curve.rewards) // 20)
        label = "" if curve.group in named else _shorten(curve.group)
        marker = "o" if len(smooth) < 3 else None
        axes.plot(
            getattr(curve, axis), smooth, line, color=color, marker=marker, linewidth=1.5, alpha=0.85, label=label
        )
        named.add(curve.group)
    axes.set_title(f"mean reward over {axis}", loc="left", fontsize=10, color=INK)
    texts = {"steps": "optimizer steps", "tokens": "tokens of prompts and answers, all rollouts"}
    axes.set_xlabel(texts[axis], fontsize=9, color=MUTED)


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
