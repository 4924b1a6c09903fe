"""The simulation of many ranks: a case by hand, the order of the layouts, and the figures of its page."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest


BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return runpy.run_path(str(BENCHMARKS / "simulate_ranks.py"))


def test_two_ranks_by_hand(script):
    """Nine tokens in two micro-batches of one answer on each of two ranks."""
    costs = script["simulate"]([np.array([[[4, 1], [2, 2]]])], num_micro_batches=2)
    ninths = {name: [round(9 * value) for value in vars(cost).values()] for name, cost in costs.items()}
    # Padded tokens; two ranks times the sum of the larger micro-batches; two ranks times the larger sum.
    assert ninths["TRL"] == [4 + 4 + 2 + 2, 2 * (4 + 4), 2 * 8]
    assert ninths["cut"] == [9, 2 * (4 + 2), 2 * 5]
    assert ninths["within a rank"] == [9, 2 * (4 + 2), 2 * 5]
    assert ninths["over ranks"][:2] == [9, 2 * (4 + 2)]
    assert costs["cut"].idle_synchronized == pytest.approx(3 / 12) and costs["cut"].idle_ddp == pytest.approx(1 / 10)


def test_trl_pads_to_the_rollout_and_the_others_to_the_micro_batch(script):
    rollout = np.array([[[9, 1]], [[2, 2]]])  # two optimizer steps of one rank
    costs = script["simulate"]([rollout], num_micro_batches=1)
    assert [round(14 * cost.padding) for cost in costs.values()] == [36, 22, 22, 22]


@pytest.mark.parametrize(("num_ranks", "num_micro_batches"), [(1, 4), (3, 2), (8, 16)])
def test_every_balance_costs_less_than_the_one_before(script, num_ranks, num_micro_batches):
    lengths = script["draw_lengths"]((5, 2, num_ranks, 16), 1000, np.random.default_rng(0))
    costs = list(script["simulate"](list(lengths), num_micro_batches).values())
    for kind in ("synchronized", "ddp"):
        values = [getattr(cost, kind) for cost in costs]
        assert all(later <= earlier + 1e-9 for earlier, later in zip(values, values[1:], strict=False))
    assert all(1 <= cost.padding <= cost.ddp + 1e-9 <= cost.synchronized + 2e-9 for cost in costs)
    assert num_ranks > 1 or all(cost.idle_ddp == cost.idle_synchronized == 0 for cost in costs)


def test_the_figures_of_32_synchronized_ranks(script, capsys):
    """A mean of 7,500 tokens and a cap of 20,480, 16 answers on each rank, one at a time."""
    (costs,) = script["main"](["--ranks", "32"]).values()
    assert [cost.synchronized for cost in costs.values()] == pytest.approx([2.73, 2.66, 1.49, 1.08], abs=0.03)
    assert "| 32 | TRL | 2.4" in capsys.readouterr().out


def test_measured_lengths_come_from_a_file(script, tmp_path):
    file = tmp_path / "lengths.txt"
    file.write_text("4, 1\n2 2\n")
    outputs = ["--json", str(tmp_path / "costs.json"), "--plot", str(tmp_path / "costs.png")]
    shape = ["--ranks", "1", "2", "--answers", "2", "--micro-batches", "1"]
    results = script["main"](["--lengths", str(file), *shape, *outputs])
    # On one rank: two rollouts, (4, 1) and (2, 2). On two: one rollout, where the second rank waits for the first.
    assert [round(9 * results[ranks]["cut"].ddp) for ranks in (1, 2)] == [8 + 4, 2 * 8]
    assert json.loads((tmp_path / "costs.json").read_text())["2"]["cut"]["ddp"] == results[2]["cut"].ddp
    assert (tmp_path / "costs.png").read_bytes().startswith(b"\x89PNG")


def test_too_few_lengths_begin_anew(script):
    (rollout,) = script["take_rollouts"](np.array([5, 7]), (1, 2, 2), np.random.default_rng(0))
    assert rollout.shape == (1, 2, 2) and np.sort(rollout).tolist() == [[[5, 7], [5, 7]]]


@pytest.mark.parametrize("content", ["", "12 x", "12 0", "1.5"])
def test_a_file_with_anything_else_is_refused(script, tmp_path, content):
    file = tmp_path / "lengths.txt"
    file.write_text(content)
    with pytest.raises(ValueError, match="positive whole numbers"):
        script["read_lengths"](file)


def test_micro_batches_that_do_not_divide_the_answers_are_refused(script):
    with pytest.raises(ValueError, match="choose a number of micro-batches"):
        script["simulate"]([np.ones((1, 1, 4), dtype=int)], num_micro_batches=3)


def test_drawn_lengths_have_the_mean_and_stay_below_the_cap(script):
    for mean in (0.2, 0.37, 0.8):
        lengths = script["draw_lengths"]((50_000,), 10_000, np.random.default_rng(0), mean)
        assert lengths.mean() == pytest.approx(10_000 * mean, rel=0.01)
        assert lengths.min() >= 1 and lengths.max() == 10_000


def test_few_answers_have_the_lengths_of_many(script):
    spread = script["draw_lengths"].__globals__["spread_lengths"](16, 1000, np.random.default_rng(0))
    assert spread.mean() == pytest.approx(370, rel=0.01) and spread.max() == 1000
