"""The plot of a card: entropy, threshold and reward over the steps of a run."""

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..writing.colors import ACCENT, INK, MUTED, OTHER, REWARD, RULE
from ..writing.legends import add_legend_below


_COLORS = {"entropy": OTHER, "threshold": ACCENT, "reward": REWARD}
_MOST_POINTS = 1000


def draw_training(history: dict[str, list], resumed_at: Sequence[int] = ()) -> bytes | None:
    r"""
    Plot the entropy and the threshold, and beside them the reward, over the steps of a run.

    Args:
        history (`dict[str, list]`):
            Columns `step`, `entropy`, `forking/threshold` and `reward`. With dynamic sampling there is also
            `forking/sampled_reward`, which is plotted as the reward. A step without a number has `None`.
        resumed_at (`Sequence[int]`, *optional*, defaults to `()`):
            Steps at which the run was resumed, plotted as dotted lines.

    Returns:
        `bytes` or `None`: a PNG file of less than 60 kB; `None` without matplotlib or with fewer than two steps.

    Example:
    ```python
    >>> picture = draw_training({"step": [1, 2], "reward": [0.25, 0.5]})
    >>> picture[:4], draw_training({"step": [1], "reward": [0.25]})
    (b'\x89PNG', None)
    ```
    """
    curves = {
        "entropy": history.get("entropy"),
        "threshold": history.get("forking/threshold"),
        "reward": history.get("forking/sampled_reward") or history.get("reward"),
    }
    found = {name: _read_points(history["step"], values) for name, values in curves.items() if values}
    found = {name: points for name, points in found.items() if len(points[0]) > 1}
    if not found:
        return None
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from PIL import Image
    except ImportError:
        return None
    figure = Figure(figsize=(8.4, 2.9), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, points in found.items():
        _draw(right if name == "reward" else left, name, *points)
    left.set_title("mean entropy and threshold (nats)", loc="left", fontsize=10, color=INK)
    of_all = "of all answers" if history.get("forking/sampled_reward") else "of a rollout"
    right.set_title(f"mean reward {of_all}", loc="left", fontsize=10, color=INK)
    for axes in (left, right):
        _tidy(axes, resumed_at)
    if left.lines:
        add_legend_below(left, num_columns=2)
        left.set_ylim(bottom=0)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(64)  # a third of the bytes
    file = io.BytesIO()
    picture.save(file, format="png", optimize=True)
    return file.getvalue()


def _read_points(steps: list[int], values: list[float | None]) -> tuple[np.ndarray, np.ndarray]:
    pairs = [(s, v) for s, v in zip(steps, values, strict=True) if v is not None and math.isfinite(v)]
    x, y = (np.array(column, dtype=float) for column in zip(*pairs, strict=True)) if pairs else (np.empty(0),) * 2
    size = math.ceil(len(x) / _MOST_POINTS) or 1  # means of neighbors keep the file of a long run small
    starts = np.arange(0, len(x), size)
    counts: np.ndarray = np.diff(np.append(starts, len(x)))
    return (np.add.reduceat(x, starts) / counts, np.add.reduceat(y, starts) / counts) if len(x) else (x, y)


def _draw(axes: Any, name: str, x: np.ndarray, y: np.ndarray) -> None:
    smooth = smooth_values(y, max(1, len(y) // 20))
    is_noisy = len(y) >= 20
    axes.plot(
        x, y, color=_COLORS[name], alpha=0.28 if is_noisy else 1.0, linewidth=1.0, label="" if is_noisy else name
    )
    if is_noisy:
        axes.plot(x, smooth, color=_COLORS[name], linewidth=1.8, label=name)


def smooth_values(values: np.ndarray, reach: int) -> np.ndarray:
    """
    Average every value with its neighbors. At the ends there are fewer of them.

    Args:
        values (`np.ndarray` of shape `(N,)`):
            Values in order.
        reach (`int`):
            Neighbors on each side.

    Returns:
        `np.ndarray` of shape `(N,)`: the means.

    Example:
    ```python
    >>> smooth_values(np.array([0.0, 3.0, 0.0]), 1).tolist()
    [1.5, 1.0, 1.5]
    ```
    """
    sums = np.concatenate([[0.0], np.cumsum(values)])
    first = np.maximum(np.arange(len(values)) - reach, 0)
    last = np.minimum(np.arange(len(values)) + reach + 1, len(values))
    return (sums[last] - sums[first]) / (last - first)


def _tidy(axes: Any, resumed_at: Sequence[int]) -> None:
    for step in resumed_at:
        axes.axvline(step, color=MUTED, linestyle=":", linewidth=1.2)
    axes.set_xlabel("step" + (" (dotted: resumed)" if resumed_at else ""), fontsize=9, color=MUTED)
    axes.tick_params(labelsize=8, length=0, colors=MUTED)
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(OTHER)
