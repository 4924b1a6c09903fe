"""What changes over a training: percentiles, overlap of the forks, and changes by bins."""

import numpy as np
import pytest

from helpers.plotted import make_comparison
from trl_forking.analysis.comparison import build_comparison
from trl_forking.analysis.plots import plot_change_by_bin, plot_overlap, plot_percentile_traces, save_figure


@pytest.mark.parametrize("num_checkpoints", [1, 40])
@pytest.mark.parametrize("noise", [0.0, 0.01, 50.0])
def test_comparisons_of_any_length_fit(num_checkpoints, noise, tmp_path):
    comparison = make_comparison(num_checkpoints, noise)
    overlap = plot_overlap(comparison["overlap"])
    low, high = overlap.axes[0].get_ylim()
    values = [100 * row[key] for row in comparison["overlap"] for key in ("to_first", "to_last")]
    assert low <= min(values) and high >= 100
    for figure in (overlap, plot_percentile_traces(comparison["percentiles"])):
        save_figure(figure, tmp_path / "figure.png")
        names = [label.get_text() for label in figure.axes[0].get_xticklabels()]
        assert 2 <= len(names) <= 7 and names[0] == "base" and names[-1].endswith(f"{num_checkpoints - 1}")
        boxes = sorted(
            (box.x0, box.x1) for box in (label.get_window_extent() for label in figure.axes[0].get_xticklabels())
        )
        assert all(right < left for (_, right), (left, _) in zip(boxes, boxes[1:], strict=False))


def test_labels_at_the_ends_of_lines_do_not_touch():
    rows = [{"checkpoint": name, "p50": 1.0, "p80": 1.001, "p95": 1.002, "p99": 1.003} for name in ("base", "late")]
    axes = plot_percentile_traces(rows).axes[0]
    heights = sorted(text.get_position()[1] for text in axes.texts)
    assert min(np.diff(heights)) > 0.05 * axes.get_ylim()[1]


@pytest.mark.parametrize("rho", [0.01, 0.07, 0.2, 1.0])
def test_changes_are_summed_up_in_the_title(rho):
    base, late = [np.linspace(0, 2, 100)], [np.where(np.arange(100) < 80, 0, 0.5) + np.linspace(0, 2, 100)]
    figure = plot_change_by_bin(build_comparison(base, {"late": late})["change_by_bin"], "late", rho)
    title = " ".join(figure.get_suptitle().split())
    expected = {
        0.01: "Mean change at late: +0.1 nats in the rest",
        0.07: "Mean change at late: +0.5 nats in the top 5 % of base entropy, +0.0789 nats in the rest",
        0.2: "Mean change at late: +0.5 nats in the top 20 % of base entropy, +0 nats in the rest",
        1.0: "Mean change at late: +0.1 nats in the top 100 % of base entropy",
    }
    assert title == expected[rho]
