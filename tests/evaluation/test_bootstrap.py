"""Bootstrap intervals: their coverage on simulated problems, pairing, and edge cases."""

import math

import numpy as np
import pytest

from trl_forking.evaluation import bootstrap
from trl_forking.evaluation.bootstrap import estimate_difference, estimate_mean
from trl_forking.evaluation.student import find_t_quantile


def simulate(generator, num_problems, num_answers=16):
    """Shares of right answers to problems whose difficulty differs as in a contest."""
    difficulty = generator.beta(0.7, 1.0, num_problems)
    return generator.binomial(num_answers, difficulty) / num_answers


@pytest.fixture
def fewer_resamples(monkeypatch):
    """The ends of an interval scatter more, and its coverage stays the same."""
    monkeypatch.setattr(bootstrap, "NUM_RESAMPLES", 2000)


@pytest.mark.slow
@pytest.mark.parametrize("num_problems", [30, 200])
def test_coverage_is_between_93_and_97_percent(num_problems, fewer_resamples):
    generator, true_mean = np.random.default_rng(1), 0.7 / 1.7
    intervals = [estimate_mean(simulate(generator, num_problems), seed=index) for index in range(1500)]
    coverage = np.mean([low <= true_mean <= high for _, low, high, _ in intervals])
    assert 0.93 <= coverage <= 0.97, coverage


@pytest.mark.slow
def test_coverage_of_a_paired_difference(fewer_resamples):
    generator, hits = np.random.default_rng(2), []
    for index in range(1500):
        difficulty = generator.beta(0.7, 1.0, 60) * 0.9
        before, after = (generator.binomial(16, difficulty + gain) / 16 for gain in (0.0, 0.05))
        _, low, high, _ = estimate_difference(before, after, seed=index)
        hits.append(low <= 0.05 <= high)
    assert 0.93 <= np.mean(hits) <= 0.97, np.mean(hits)


def test_pairing_makes_the_interval_shorter():
    generator = np.random.default_rng(0)
    before = simulate(generator, 100)
    after = np.clip(before + generator.normal(0.02, 0.02, 100), 0, 1)
    paired = estimate_difference(before, after)
    apart = estimate_mean(after), estimate_mean(before)
    assert paired.high - paired.low < 0.2 * sum(each.high - each.low for each in apart)
    assert paired.mean == pytest.approx(after.mean() - before.mean())


def test_the_same_seed_gives_the_same_interval():
    values = simulate(np.random.default_rng(0), 40)
    assert estimate_mean(values, seed=3) == estimate_mean(values, seed=3) != estimate_mean(values, seed=4)


def test_quantiles_of_student():
    """Values of a table, at 97.5 %."""
    for freedom, expected in ((1, 12.706), (4, 2.776), (10, 2.228), (29, 2.045), (1000, 1.962)):
        assert find_t_quantile(0.975, freedom) == pytest.approx(expected, rel=2e-3)


def test_problems_without_a_value_have_no_part():
    assert estimate_mean([0.0, math.nan, 1.0, 1.0])[::3] == (pytest.approx(2 / 3), 3)
    assert estimate_difference([0.0, math.nan, 0.0], [1.0, 1.0, math.nan]).num_problems == 1


def test_one_problem_has_no_interval_and_none_has_no_mean():
    assert estimate_mean([0.5]).mean == 0.5 and math.isnan(estimate_mean([0.5]).low)
    assert math.isnan(estimate_mean([]).mean)
    assert estimate_mean([1.0] * 9)[1:3] == (1.0, 1.0)


def test_other_problems_are_refused():
    with pytest.raises(ValueError, match="2 and 3 problems cannot be paired"):
        estimate_difference([0.0] * 2, [0.0] * 3)
