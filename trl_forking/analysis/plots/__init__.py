"""The pictures of `analyze` and `compare`. Every `plot_*` draws a figure; `save_figure` and `render_svg` write it.

The title says what a figure shows, labels stand beside the things that they name, and forks are red in all figures. The
figures are plain `Figure` objects: nothing here changes the global state of matplotlib.
"""

from .distribution import plot_cumulative_share, plot_entropy_histogram
from .drawing import NothingToDraw, render_svg, save_figure
from .training import plot_change_by_bin, plot_overlap, plot_percentile_traces
from .words import plot_fork_words


__all__ = [
    "NothingToDraw",
    "plot_change_by_bin",
    "plot_cumulative_share",
    "plot_entropy_histogram",
    "plot_fork_words",
    "plot_overlap",
    "plot_percentile_traces",
    "render_svg",
    "save_figure",
]
