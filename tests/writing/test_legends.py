"""No legend of a picture lies over its curves."""

from pathlib import Path

import pandas
import pytest
from matplotlib.figure import Figure

from trl_forking.card.training_plot import draw_training
from trl_forking.commands.demo.plot import plot_demo
from trl_forking.evaluation.comparison_plot import draw_comparison
from trl_forking.evaluation.evaluated_runs import RunGroup
from trl_forking.evaluation.learning_curves import Curve
from trl_forking.evaluation.run_comparison import RunComparison
from trl_forking.writing.legends import add_legend_below


NOISE = [0.0, 1.0] * 50


@pytest.fixture
def figures(monkeypatch):
    """The figures that are saved in a test."""
    found = []
    create = Figure.__init__
    monkeypatch.setattr(
        Figure, "__init__", lambda self, *args, **more: (create(self, *args, **more), found.append(self))[0]
    )
    return found


def draw_card() -> None:
    columns = ("entropy", "forking/threshold", "reward")
    draw_training({"step": list(range(100))} | dict.fromkeys(columns, NOISE), resumed_at=[30])


def draw_demo(folder: Path) -> None:
    logs = [{"step": s, "reward": y, "forking/threshold": 1 - y, "entropy": y} for s, y in enumerate(NOISE)]
    plot_demo(pandas.DataFrame({"step": [1]}), logs, folder / "demo.png")


def draw_runs() -> None:
    groups = [RunGroup(name, []) for name in ("plain", "forks", "a run with a name that is too long for a legend")]
    curves = [Curve(group.name, "runs", 0, [float(s) for s in range(100)], [], NOISE, [], 99) for group in groups]
    draw_comparison(RunComparison(groups, [], [], curves, []))


def test_no_legend_lies_over_the_axes(figures, tmp_path):
    draw_card()
    draw_demo(tmp_path)
    draw_runs()
    legends = [(axes, axes.get_legend()) for figure in figures for axes in figure.axes if axes.get_legend()]
    assert len(legends) == 3
    for axes, legend in legends:
        box, frame = legend.get_window_extent(), axes.figure.bbox
        assert not any(box.overlaps(other.get_window_extent()) for other in axes.figure.axes)
        assert not box.overlaps(axes.xaxis.label.get_window_extent())
        assert frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0


def test_axes_without_labels_have_no_legend():
    axes = Figure(layout="constrained").subplots()
    axes.plot([1, 2])
    add_legend_below(axes, 1)
    assert axes.get_legend() is None
