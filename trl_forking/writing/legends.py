"""Legends of pictures, beside the curves and never on them."""

from typing import Any

from .colors import INK


def add_legend_below(axes: Any, num_columns: int, font_size: float = 9) -> None:
    """
    Add a legend below the axes and their label, where no curve can be. The layout of the figure has to be constrained.

    Args:
        axes ([`~matplotlib.axes.Axes`]):
            Axes whose lines and bars have labels. Without labels there is no legend.
        num_columns (`int`):
            Largest number of labels beside each other.
        font_size (`float`, *optional*, defaults to `9`):
            Size of the text, in points.

    Example:
    ```python
    >>> from matplotlib.figure import Figure
    >>> axes = Figure(layout="constrained").subplots()
    >>> lines = axes.plot([1, 2], [0, 1], label="reward")
    >>> add_legend_below(axes, num_columns=1)
    >>> bool(axes.get_legend().get_window_extent().y1 < axes.get_window_extent().y0)
    True
    ```
    """
    handles, labels = axes.get_legend_handles_labels()
    if not handles:
        return
    gap = 0.28  # inches, for the ticks
    if axes.get_xlabel():
        gap += 1.6 * axes.xaxis.label.get_size() / 72
    height = axes.get_position().height * axes.figure.get_figheight()
    axes.legend(
        handles,
        labels,
        loc="upper left",
        bbox_to_anchor=(0, -gap / height),
        borderaxespad=0,
        ncols=num_columns,
        frameon=False,
        fontsize=font_size,
        labelcolor=INK,
    )
