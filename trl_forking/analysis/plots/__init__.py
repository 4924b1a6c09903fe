"""The pictures of `analyze` and `compare`: every `plot_*` draws one figure, `save_figure` and `render_svg` keep it.

Titles say what the figures show, labels stand beside what they name, and red means forks throughout. No global state of
matplotlib is used: the figures are plain `Figure` objects.
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
