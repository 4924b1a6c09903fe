"""Learning curves of compared runs: steps, generated tokens, logged evaluations, older and broken records, and the plot."""

import io
import json
import math
from pathlib import Path

import pytest

from helpers.compared import write_run
from trl_forking.evaluation.comparison_plot import draw_comparison
from trl_forking.evaluation.comparison_text import describe_all
from trl_forking.evaluation.evaluated_runs import EvaluatedRun, read_groups
from trl_forking.evaluation.learning_curves import read_curve
from trl_forking.evaluation.run_comparison import compare_groups, describe_json


STEPS, TOKENS = "optimizer steps", "generated tokens, all rollouts"
VALUES = [0.2, 0.4, 0.1, 0.9, 0.3, 0.5, 0.8]


def make_evaluation(step, value, interval=(0.1, 0.9), name=None, metric="avg@4"):
    interval = None if interval is None else list(interval)
    return {"step": step, "name": name, "metric": metric, "value": value, "interval": interval, "num_samples": 7}


def compare(*folders):
    return compare_groups(read_groups(list(folders)))


def read_axes(picture_of, monkeypatch):
    """Draw, and return the places of the lines of each panel, by the title and the name of the axis."""
    import matplotlib.figure

    figures, save = [], matplotlib.figure.Figure.savefig
    monkeypatch.setattr(
        matplotlib.figure.Figure, "savefig", lambda self, *a, **k: (figures.append(self), save(self, *a, **k))
    )
    assert draw_comparison(picture_of).startswith(b"\x89PNG")
    return {
        (axes.get_title(loc="left"), axes.get_xlabel()): [list(line.get_xdata()) for line in axes.lines]
        for axes in figures[0].axes
    }


def test_curves_are_over_generated_tokens_and_not_over_those_of_prompts(tmp_path):
    found = compare(write_run(tmp_path / "a", VALUES), write_run(tmp_path / "b", VALUES[::-1]))
    first, second = found.curves
    assert first.tokens == second.tokens == [50.0, 100.0, 150.0] and first.steps == [1, 2, 3]
    assert describe_all(found)[1] == (
        "Equal steps are not equal compute: a generated 150 tokens in 3 steps; b generated 150 tokens in 3 steps. Generated "
        "tokens are those of all answers in all rollouts, without prompts; the plot has both axes."
    )


def test_dynamic_sampling_has_the_reward_of_all_answers(tmp_path):
    history = {
        "step": [1, 2, 3, 4],
        "reward": [0.5, None, 0.5, None],
        "forking/sampled_reward": [0.1, None, 0.3, None],
        "forking/generated_tokens": [70, None, 150, None],
    }
    curve = compare(write_run(tmp_path / "a", VALUES, history=history), write_run(tmp_path / "b", VALUES)).curves[0]
    assert (curve.steps, curve.tokens, curve.rewards) == ([1, 3], [70, 150], [0.1, 0.3])
    assert curve.num_steps == 4, "the last step makes no rollout"


def test_logged_evaluations_have_their_place_in_steps_and_tokens(tmp_path):
    rows = [make_evaluation(0, 0.2), make_evaluation(2, 0.4, None), make_evaluation(9, 0.6)]
    found = compare(write_run(tmp_path / "a", VALUES, evaluations=rows), write_run(tmp_path / "b", VALUES))
    points = found.curves[0].evaluations
    assert [(point.step, point.tokens, point.value) for point in points] == [(0, 0, 0.2), (2, 100, 0.4), (9, 150, 0.6)]
    assert (points[0].low, points[0].high) == (0.1, 0.9) and math.isnan(points[1].low)
    content = json.loads(json.dumps(describe_json(found), allow_nan=False))
    assert content["curves"][0]["evaluations"][1]["low"] is None and content["curves"][1]["evaluations"] == []


def test_the_plot_has_a_row_for_each_evaluation_set(tmp_path, monkeypatch):
    rows = [make_evaluation(step, step / 5, name=name) for step in (0, 1, 3) for name in ("amc", "aime")]
    found = compare(
        write_run(tmp_path / "a", VALUES, evaluations=rows), write_run(tmp_path / "b", VALUES, evaluations=rows[:1])
    )
    panels = read_axes(found, monkeypatch)
    assert len(panels) == 7
    assert panels["mean reward over generated tokens", TOKENS] == [[50, 100, 150]] * 2
    assert panels["mean reward over steps", STEPS] == [[1, 2, 3]] * 2
    # The line of each run, and the caps of the intervals.
    assert [0, 50, 150] in panels["avg@4 on evaluation set aime, 95 % intervals", TOKENS]
    assert [0, 1, 3] in panels["avg@4 on evaluation set amc, 95 % intervals", STEPS]
    assert [0] in panels["avg@4 on evaluation set amc, 95 % intervals", STEPS]


def test_without_evaluations_there_is_one_row(tmp_path, monkeypatch):
    found = compare(write_run(tmp_path / "a", VALUES), write_run(tmp_path / "b", VALUES))
    assert len(read_axes(found, monkeypatch)) == 3


def test_a_run_that_did_not_count_its_tokens_is_named_and_drawn_over_steps(tmp_path, monkeypatch):
    """A record of an older version, and a run that was resumed from one of its checkpoints."""
    old = {"step": [1, 2], "reward": [0.1, 0.2], "num_tokens": [50.0, 100.0]}
    resumed = old | {"forking/generated_tokens": [40.0, None]}
    rows = [make_evaluation(1, 0.5)]
    groups = [
        write_run(tmp_path / "old", VALUES, history=old, evaluations=rows),
        write_run(tmp_path / "resumed", VALUES, history=resumed),
    ]
    found = compare(*groups)
    assert [curve.tokens for curve in found.curves] == [[], []] and math.isnan(found.curves[0].evaluations[0].tokens)
    text = describe_all(found)
    assert "old made 2 steps; resumed made 2 steps." in text[1] and text[2].startswith(
        f"{groups[0]}, {groups[1]} did not count"
    )
    panels = read_axes(found, monkeypatch)
    assert [title for title, _ in panels] == [
        "mean reward over steps",
        "avg@4 on the evaluation set, 95 % intervals",
        "difference to old (points)",
    ]
    both = compare(groups[0], write_run(tmp_path / "new", VALUES))
    monkeypatch.undo()
    assert read_axes(both, monkeypatch)["mean reward over generated tokens", TOKENS] == [[50, 100, 150]]


def read(**record):
    return read_curve("a", EvaluatedRun("a", Path("a/evaluation.json"), {}, record))


@pytest.mark.parametrize(
    "history",
    [
        {"step": [1], "reward": ["x"], "num_tokens": [None]},
        {"step": 3, "reward": None},
        {"reward": [0.1]},
        {"step": [1], "reward": [None]},
        {"step": [], "reward": []},
        {},
    ],
)
def test_a_run_without_a_usable_history_has_no_curve(history):
    assert read(history=history) is None


def test_runs_without_a_record_have_no_curves(tmp_path):
    found = compare(*(write_run(tmp_path / name, VALUES, record=False) for name in "ab"))
    assert found.curves == [] and not any("Equal steps" in line for line in describe_all(found))
    assert draw_comparison(found).startswith(b"\x89PNG")


def test_broken_evaluations_of_a_record_are_left_out():
    rows = [3, {}, make_evaluation("x", 0.1), make_evaluation(1, None), make_evaluation(1, 0.5, (0.1, "x"))]
    history = {"step": [1], "reward": [0.5]}
    (point,) = read(history=history, evaluations=rows).evaluations
    assert point.value == 0.5 and math.isnan(point.low)
    assert read(history=history, evaluations={"a": 1}).evaluations == read(history=history).evaluations == []


def test_a_picture_of_real_size(tmp_path):
    """The text of the panels does not run over each other: the picture is wide enough for three columns."""
    from matplotlib.image import imread

    rows = [make_evaluation(step, 0.3 + step / 20) for step in (0, 1, 2, 3)]
    found = compare(write_run(tmp_path / "a", VALUES, evaluations=rows), write_run(tmp_path / "b", VALUES))
    height, width, _ = imread(io.BytesIO(draw_comparison(found))).shape
    assert (width, height) == (1638, 832)
