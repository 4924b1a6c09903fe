"""Pictures of the distribution of entropy in one collection."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ...writing.colors import ACCENT, FORK, MUTED, OTHER
from ...writing.numbers import format_ordinal, format_percent
from ..forks import select_forks
from ..statistics import compute_entropy_share, compute_share_below
from .drawing import NothingToDraw, add_label, create_axes


if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_NUM_BARS = 60


def plot_entropy_histogram(entropies: np.ndarray, top_entropy_quantile: float = 0.2) -> "Figure":
    r"""
    Draw a histogram of the entropies. Counts have a logarithmic axis, forks are red, and a line marks the threshold.

    With \\( \rho = 0.2 \\) the threshold is the 80th percentile.

    Source: the histogram of entropies in [Beyond the 80/20 Rule](https://huggingface.co/papers/2506.01939).

    Args:
        entropies (`np.ndarray` of shape `(N,)`):
            Entropies in nats.
        top_entropy_quantile (`float`, *optional*, defaults to `0.2`):
            Share of forks, \\( \rho \\), a fraction in (0, 1].

    Returns:
        [`~matplotlib.figure.Figure`]

    Raises:
        [`NothingToDraw`]: if there are no tokens.

    Example:
    ```python
    >>> figure = plot_entropy_histogram(np.array([0.0, 0.0, 0.0, 0.5, 2.0]))
    >>> print(figure.get_suptitle())
    60 % of the tokens are under 0.01 nats; the top 20 % start at 2 nats
    ```
    """
    if len(entropies) == 0:
        raise NothingToDraw("There is no histogram of entropies: the answers have no tokens.")
    forks = select_forks([entropies], top_entropy_quantile)[0]
    threshold = float(entropies[forks].min())
    near_zero, share = format_percent(compute_share_below(entropies)), format_percent(top_entropy_quantile)
    title = f"{near_zero} of the tokens are under 0.01 nats; the top {share} start at {threshold:.3g} nats"
    figure, axes = create_axes(title, "entropy (nats)", "tokens (logarithmic)")

    edges = _find_edges(threshold, float(entropies.max()))
    others, tops = (np.histogram(entropies[kind], edges)[0] for kind in (~forks, forks))
    width = edges[1] - edges[0]
    bars: dict[str, Any] = {"width": 0.9 * width, "align": "edge"}
    axes.bar(edges[:-1], others, color=OTHER, **bars)
    axes.bar(edges[:-1], tops, bottom=others, color=FORK, **bars)
    axes.set_yscale("log")
    highest = float((others + tops).max())
    axes.set_ylim(0.7, highest * 6)
    axes.set_yticks([10**power for power in range(len(str(int(highest))))])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.yaxis.set_minor_locator(_no_ticks())
    axes.axvline(threshold, color=ACCENT, linewidth=1.2)
    percentile = f"{format_ordinal(100 * (1 - top_entropy_quantile))} percentile: {threshold:.3g} nats"
    _add_beside(axes, threshold, percentile, 0.95, fontweight="bold")
    _add_beside(axes, threshold, f"the {int(forks.sum()):,} tokens from here on are the forks", 0.87)
    return figure


def _find_edges(threshold: float, highest: float) -> np.ndarray:
    """Find the edges of about 60 bars of equal width. The threshold is an edge, so that each bar has one color."""
    width = max(highest, 1e-3) / _NUM_BARS
    if threshold >= width:
        width = threshold / round(threshold / width)
    edges = width * np.arange(int(highest / width) + 2)
    nearest = int(np.abs(edges - threshold).argmin())
    if abs(edges[nearest] - threshold) < 1e-6 * width:
        edges[nearest] = threshold  # a multiple of the width can differ from it by a rounding error
    return edges


def _no_ticks() -> Any:
    from matplotlib.ticker import NullLocator

    return NullLocator()


def _add_beside(axes: "Axes", x: float, text: str, height: float, **style: Any) -> None:
    """Add a label beside a vertical line, on the side with more room."""
    left, right = axes.get_xlim()
    is_right = (x - left) / (right - left) < 0.45
    gap = 0.012 * (right - left)
    position, alignment = (x + gap, "left") if is_right else (x - gap, "right")
    add_label(axes, position, height, text, ha=alignment, transform=axes.get_xaxis_transform(), **style)


def plot_cumulative_share(entropies: np.ndarray, top_entropy_quantile: float = 0.2) -> "Figure":
    r"""
    Draw the share of all entropy that the top x % of the tokens hold, over x.

    Args:
        entropies (`np.ndarray` of shape `(N,)`):
            Entropies in nats.
        top_entropy_quantile (`float`, *optional*, defaults to `0.2`):
            Share of forks, \\( \rho \\), a fraction in (0, 1]. A point marks it.

    Returns:
        [`~matplotlib.figure.Figure`]

    Raises:
        [`NothingToDraw`]: if no token has any entropy.

    Example:
    ```python
    >>> print(plot_cumulative_share(np.array([0.0, 0.0, 0.0, 1.0, 3.0])).get_suptitle())
    The top 20 % of the tokens hold 75 % of the entropy
    ```
    """
    if len(entropies) == 0 or not np.any(entropies):
        raise NothingToDraw("There is no picture of the shares of entropy: no token has an entropy above 0.")
    held = compute_entropy_share(entropies, top_entropy_quantile)
    share = format_percent(top_entropy_quantile)
    title = f"The top {share} of the tokens hold {format_percent(held)} of the entropy"
    figure, axes = create_axes(title, "tokens, highest entropy first (%)", "entropy held (%)")

    sums = np.concatenate([[0.0], np.sort(entropies.astype(np.float64))[::-1].cumsum()])
    points = np.linspace(0, 1, 201)
    shares = np.interp(points * len(entropies), np.arange(len(sums)), sums / sums[-1])
    is_fork = points <= top_entropy_quantile + 1e-9
    axes.fill_between(100 * points[is_fork], 100 * shares[is_fork], color=FORK, alpha=0.25, linewidth=0)
    axes.plot([0, 100], [0, 100], color=OTHER, linewidth=1, linestyle=(0, (4, 3)))
    axes.plot(100 * points, 100 * shares, color=ACCENT, linewidth=2)
    axes.plot(100 * top_entropy_quantile, 100 * held, "o", color=FORK, markersize=7)
    text = f"{share} of the tokens: {format_percent(held)}"
    x, y, side = _place_label(100 * top_entropy_quantile, 100 * held, len(text))
    add_label(axes, x, y, text, ha=side, fontweight="bold")
    add_label(axes, 97, 74, "if all tokens had\nthe same entropy", ha="right", va="top", color=MUTED)
    axes.set_xlim(0, 101)
    axes.set_ylim(0, 103)
    return figure


def _place_label(x: float, y: float, num_characters: int) -> tuple[float, float, str]:
    """Find the place of a label beside a point, below the curve and off the diagonal."""
    width, height = 1.9 * num_characters, 4  # of the label, and half of it, in percent of the axes
    if x - 3 - width >= 3 * height:
        return x - 3, x - 3 - width - 2 * height, "right"
    if y - 7 - height > x + 3 + width:
        return x + 3, y - 7, "left"
    start = min(max(x + 3, 4 * height), 100 - width)
    return start, start - 2 * height, "left"
