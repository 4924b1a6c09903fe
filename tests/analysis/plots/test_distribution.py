"""The histogram of the entropies, and the share that the highest ones have."""

import math

import numpy as np
import pytest

from helpers.plotted import ENTROPIES, GENERATOR, find_text
from trl_forking.analysis.plots import plot_cumulative_share, plot_entropy_histogram, render_svg


@pytest.mark.parametrize("scale", [0.001, 1.0, 3.7])
@pytest.mark.parametrize("rho", [0.01, 0.2, 0.5, 1.0])
def test_histogram_counts_every_token_once_and_marks_the_threshold(scale, rho):
    entropies = ENTROPIES * scale
    axes = plot_entropy_histogram(entropies, rho).axes[0]
    others, forks = (sum(bar.get_height() for bar in bars) for bars in axes.containers)
    assert (others, forks) == (2000 - math.ceil(2000 * rho), math.ceil(2000 * rho))
    threshold = sorted(entropies)[-math.ceil(2000 * rho)]
    assert axes.lines[0].get_xdata()[0] == pytest.approx(threshold, abs=2.0**-16)


def test_histogram_names_the_80th_percentile():
    values = np.arange(1, 101) / 100
    text = find_text(render_svg(plot_entropy_histogram(values), "label"))
    assert "80th percentile: 0.81 nats" in text and "the 20 tokens from here on are the forks" in text


def test_cumulative_share_equals_the_reference():
    line = plot_cumulative_share(ENTROPIES).axes[0].lines[1]
    ordered = sorted(map(float, ENTROPIES), reverse=True)
    for x, y in list(zip(*line.get_data(), strict=True))[::40]:
        assert y == pytest.approx(100 * sum(ordered[: round(x / 100 * 2000)]) / sum(ordered), rel=1e-9)


@pytest.mark.parametrize("shape", [0.1, 1.0, 8.0])
@pytest.mark.parametrize("share", [0.01, 0.05, 0.2, 0.5, 0.59, 0.7, 0.95])
def test_the_label_of_the_share_lies_on_no_line(shape, share):
    figure = plot_cumulative_share(GENERATOR.gamma(shape, 1.0, 500), share)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    label = next(text for text in axes.texts if "of the tokens:" in text.get_text()).get_window_extent()
    assert axes.bbox.x0 <= label.x0 and label.x1 <= axes.bbox.x1 and axes.bbox.y0 <= label.y0
    for line in axes.lines[:2]:
        x, y = (np.interp(np.linspace(0, 1, 2000), np.linspace(0, 1, len(v)), v) for v in line.get_data())
        points = axes.transData.transform(np.column_stack([x, y]))
        assert not ((points > label.min) & (points < label.max)).all(1).any()
