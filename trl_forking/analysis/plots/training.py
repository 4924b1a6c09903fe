"""Pictures of several models that scored the same answers. They show how the forks move in training."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...writing.colors import ACCENT, FORK, MUTED, OTHER
from ...writing.numbers import format_ordinal, format_percent
from .drawing import NothingToDraw, add_label, create_axes, shorten_name


if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_MAX_NAMES = 7  # of checkpoints on an axis
_MAX_CHARACTERS = 56  # of all these names together
_OVERLAP_COLORS = {"to_first": FORK, "to_last": ACCENT}


def plot_percentile_traces(rows: Sequence[Mapping[str, Any]]) -> "Figure":
    """
    Draw percentiles of entropy over training.

    Source: the figure of percentiles over training in
    [Beyond the 80/20 Rule](https://huggingface.co/papers/2506.01939).

    Args:
        rows (sequence of `dict`):
            For each checkpoint, `checkpoint` (its name) and percentiles in nats, with keys such as `p50`: the table
            `percentiles` of [`build_comparison`].

    Returns:
        [`~matplotlib.figure.Figure`]

    Raises:
        [`NothingToDraw`]: if there are no tokens.

    Example:
    ```python
    >>> rows = [{"checkpoint": "base", "p80": 0.67}, {"checkpoint": "step 16", "p80": 0.61}]
    >>> print(plot_percentile_traces(rows).get_suptitle())
    80th percentile of entropy: 0.67 nats at base, 0.61 at step 16
    ```
    """
    keys = [key for key in rows[0] if key != "checkpoint" and rows[0][key] is not None] if rows else []
    if not keys:
        raise NothingToDraw("There is no picture of percentiles: the answers have no tokens.")
    key = "p80" if "p80" in keys else keys[-1]
    first, last = rows[0], rows[-1]
    title = (
        f"{format_ordinal(float(key[1:]))} percentile of entropy: {first[key]:.3g} nats at "
        f"{shorten_name(first['checkpoint'])}, {last[key]:.3g} at {shorten_name(last['checkpoint'])}"
    )
    figure, axes = create_axes(title, "", "entropy (nats)")
    colors = {key: ACCENT if key == "p80" else MUTED for key in keys}
    _draw_lines(axes, rows, colors)
    axes.set_ylim(bottom=0)
    labels = {key: f"{format_ordinal(float(key[1:]))} percentile: {last[key]:.2g}" for key in keys}
    _name_lines(axes, last, labels, colors)
    return figure


def plot_overlap(rows: Sequence[Mapping[str, Any]], top_entropy_quantile: float = 0.2) -> "Figure":
    r"""
    Draw the share of fork positions that each checkpoint has in common with the first and with the last model.

    Args:
        rows (sequence of `dict`):
            For each checkpoint, `checkpoint` (its name), `to_first` and `to_last` (fractions): the table `overlap` of
            [`build_comparison`].
        top_entropy_quantile (`float`, *optional*, defaults to `0.2`):
            Share of forks, \\( \rho \\). It is also the overlap of unrelated models.

    Returns:
        [`~matplotlib.figure.Figure`]

    Raises:
        [`NothingToDraw`]: if there are no tokens.

    Example:
    ```python
    >>> rows = [{"checkpoint": "base", "to_first": 1.0, "to_last": 0.867},
    ...         {"checkpoint": "step 1360", "to_first": 0.867, "to_last": 1.0}]
    >>> print(plot_overlap(rows).get_suptitle())
    86.7 % of the forks at base are still forks at step 1360
    ```
    """
    if not rows or rows[0]["to_last"] is None:
        raise NothingToDraw("There is no picture of the overlap: the answers have no tokens.")
    first, last = shorten_name(rows[0]["checkpoint"]), shorten_name(rows[-1]["checkpoint"])
    title = f"{format_percent(rows[0]['to_last'])} of the forks at {first} are still forks at {last}"
    figure, axes = create_axes(title, "", "fork positions shared (%)")
    percents = [dict(row) | {key: 100 * row[key] for key in _OVERLAP_COLORS} for row in rows]
    _draw_lines(axes, percents, _OVERLAP_COLORS)
    _set_overlap_scale(axes, min(row[key] for row in percents for key in _OVERLAP_COLORS), top_entropy_quantile)
    _name_lines(axes, percents[-1], {"to_first": f"with {first}", "to_last": f"with {last}"}, _OVERLAP_COLORS)
    if len(rows) <= _MAX_NAMES:
        _add_values(axes, percents)
    return figure


def _set_overlap_scale(axes: "Axes", lowest: float, top_entropy_quantile: float) -> None:
    """Scale the axis to the overlaps, and mark the overlap of unrelated models."""
    bottom = max(0, 10 * int((lowest - 5) // 10))
    span, chance = 100 - bottom, 100 * top_entropy_quantile
    axes.set_ylim(bottom, 100 + 0.06 * span)
    axes.set_yticks(range(bottom, 101, 5 if span <= 20 else 10 if span <= 60 else 20))
    if chance > bottom:
        axes.axhline(chance, color=OTHER, linewidth=1, linestyle=(0, (4, 3)))
    note = f"unrelated models would share {format_percent(top_entropy_quantile)}"
    add_label(axes, 0, max(chance, bottom) + 0.05 * span, note, color=MUTED)


def _add_values(axes: "Axes", rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the overlaps at their points, the higher one above its line. The overlap of a model with itself is left out."""
    values = [(position, "to_first", "to_last") for position in range(1, len(rows))]
    values += [(position, "to_last", "to_first") for position in range(len(rows) - 1)]
    for position, key, other in values:
        height = rows[position][key]
        is_above = height > rows[position][other]
        style: dict[str, Any] = {
            "ha": "center",
            "va": "bottom" if is_above else "top",
            "color": _OVERLAP_COLORS[key],
            "fontsize": 8,
        }
        place = (0, 5 if is_above else -6)
        axes.annotate(f"{height:.1f}", (position, height), place, textcoords="offset points", **style)


def _draw_lines(axes: "Axes", rows: Sequence[Mapping[str, Any]], colors: Mapping[str, str]) -> None:
    """Draw one line for each column, over the checkpoints."""
    positions = list(range(len(rows)))
    marker = "o" if len(rows) <= 20 else None
    for key, color in colors.items():
        axes.plot(positions, [row[key] for row in rows], color=color, linewidth=1.8, marker=marker, markersize=4)
    names = [shorten_name(row["checkpoint"]) for row in rows]
    num_shown = min(_MAX_NAMES, max(2, _MAX_CHARACTERS // (max(map(len, names)) + 2)))
    shown = np.linspace(0, len(rows) - 1, min(num_shown, len(rows))).round().astype(int).tolist()
    axes.set_xticks(shown, [names[position] for position in shown], parse_math=False)
    margin = max(0.3, 0.03 * len(rows))
    axes.set_xlim(-margin, len(rows) - 1 + margin)


def _name_lines(axes: "Axes", last: Mapping[str, Any], labels: Mapping[str, str], colors: Mapping[str, str]) -> None:
    """Write a label at the right end of each line."""
    low, high = axes.get_ylim()
    heights = _spread([last[key] for key in labels], 0.062 * (high - low))
    for (key, label), height in zip(labels.items(), heights, strict=True):
        add_label(axes, 1.01, height, label, color=colors[key], transform=axes.get_yaxis_transform())


def _spread(heights: list[float], distance: float) -> list[float]:
    """Move heights upwards, without a change of their order, so that labels at these heights do not touch."""
    spread = list(heights)
    order = sorted(range(len(heights)), key=lambda index: heights[index])
    for lower, upper in zip(order, order[1:], strict=False):
        spread[upper] = max(spread[upper], spread[lower] + distance)
    return spread


def plot_change_by_bin(rows: Sequence[Mapping[str, Any]], name: str, top_entropy_quantile: float = 0.2) -> "Figure":
    r"""
    Draw the mean change of entropy under a checkpoint, by base entropy. The bins of the base model's forks are red.

    Source: the figure of changes by 5 %-bins in [Beyond the 80/20 Rule](https://huggingface.co/papers/2506.01939).

    Args:
        rows (sequence of `dict`):
            Table `change_by_bin` of [`build_comparison`].
        name (`str`):
            Name of the checkpoint, which is a column of the rows.
        top_entropy_quantile (`float`, *optional*, defaults to `0.2`):
            Share of forks, \\( \rho \\), a fraction in (0, 1].

    Returns:
        [`~matplotlib.figure.Figure`]

    Raises:
        [`NothingToDraw`]: if there are no tokens.

    Example:
    ```python
    >>> from trl_forking.analysis.comparison import build_comparison
    >>> base, checkpoint = [np.linspace(0, 2, 20)], [np.linspace(0, 3, 20)]
    >>> comparison = build_comparison(base, {"step 16": checkpoint})
    >>> print(plot_change_by_bin(comparison["change_by_bin"], "step 16").get_suptitle())
    Mean change at step 16: +0.921 nats in the top 20 % of base entropy, +0.395 nats in the rest
    ```
    """
    filled = [row for row in rows if row[name] is not None]
    if not filled:
        raise NothingToDraw("There is no picture of the change of entropy: the answers have no tokens.")
    is_fork = np.array([row["from"] >= 1 - top_entropy_quantile - 1e-9 for row in filled])
    changes = np.array([row[name] for row in filled])
    title = f"Mean change at {shorten_name(name)}: {_describe_changes(filled, is_fork, changes)}"
    figure, axes = create_axes(title, "percentile of base entropy", "mean change (nats)")
    left = [100 * row["from"] for row in filled]
    widths = [90 * (row["to"] - row["from"]) for row in filled]
    axes.bar(left, changes, widths, align="edge", color=[FORK if fork else OTHER for fork in is_fork])
    axes.axhline(0, color=MUTED, linewidth=0.8)
    axes.set_xlim(-1, 101)
    axes.margins(y=0.12)
    return figure


def _describe_changes(rows: Sequence[Mapping[str, Any]], is_fork: np.ndarray, changes: np.ndarray) -> str:
    counts = np.array([row["num_tokens"] for row in rows])
    places = {
        True: f"in the top {format_percent(counts[is_fork].sum() / counts.sum())} of base entropy",
        False: "in the rest",
    }
    parts = [
        f"{np.average(changes[is_fork == kind], weights=counts[is_fork == kind]):+.3g} nats {place}"
        for kind, place in places.items()
        if (is_fork == kind).any()
    ]
    return ", ".join(parts).replace("-", "−")
