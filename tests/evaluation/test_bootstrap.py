"""Bootstrap intervals: their coverage on simulated problems, pairing, and edge cases."""

import math
from statistics import NormalDist

import numpy as np
import pytest

from trl_forking.evaluation import bootstrap
from trl_forking.evaluation.bootstrap import (
    FEWEST_PROBLEMS,
    count_differing,
    estimate_difference,
    estimate_mean,
    is_noise,
)
from trl_forking.evaluation.intervals import compute_share_interval
from trl_forking.evaluation.student import find_t_quantile


def simulate(generator, num_problems, num_answers=16, shape=(0.7, 1.0)):
    """Shares of right answers to problems whose difficulty differs as in a contest."""
    difficulty = generator.beta(*shape, num_problems)
    return generator.binomial(num_answers, difficulty) / num_answers


@pytest.fixture
def fewer_resamples(monkeypatch):
    """The ends of an interval scatter more, and its coverage stays the same."""
    monkeypatch.setattr(bootstrap, "NUM_RESAMPLES", 2000)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_problems", "shape"),
    [(30, (0.7, 1.0)), (200, (0.7, 1.0)), (30, (0.3, 2.0)), (40, (1.0, 9.0))],
    ids=["30 of all kinds", "200 of all kinds", "30 hard", "40 hard"],
)
def test_coverage_is_between_93_and_97_percent(num_problems, shape, fewer_resamples):
    generator, true_mean = np.random.default_rng(1), shape[0] / sum(shape)
    intervals = [estimate_mean(simulate(generator, num_problems, shape=shape), seed=index) for index in range(1500)]
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


def test_equal_values_are_no_certainty():
    """Nine problems of a kind: others may differ, as far as the bounds allow."""
    low, high = compute_share_interval(9, 9)
    assert estimate_mean([1.0] * 9, bounds=(0, 1))[:3] == (1.0, pytest.approx(low), high)
    assert estimate_mean([0.0] * 9, bounds=(0, 1))[:3] == (0.0, 0.0, pytest.approx(1 - low))
    middle = estimate_mean([0.25] * 9, bounds=(0, 1))
    assert (middle.low, middle.high) == (pytest.approx(0.25 * low), pytest.approx(0.25 + 0.75 * (1 - low)))
    nothing = estimate_difference([0.5] * 9, [0.5 + 1e-16] * 9, bounds=(-1, 1))
    assert -nothing.low == pytest.approx(nothing.high) == pytest.approx(1 - low)
    assert estimate_mean([1.0] * 200, bounds=(0, 1)).low > 0.97
    for unbounded in (estimate_mean([812.0] * 9), estimate_mean([-1.0] * 9, bounds=(0, 1))):
        assert math.isnan(unbounded.low) and math.isnan(unbounded.high)


def test_few_problems_differing_are_noise_whatever_the_interval_says():
    assert is_noise(0.2, 0.4, FEWEST_PROBLEMS - 1) and not is_noise(0.2, 0.4, FEWEST_PROBLEMS)
    assert is_noise(-0.1, 0.4, 30) and is_noise(math.nan, math.nan, 30) and not is_noise(-0.4, -0.1, 30)
    assert is_noise(0.0, 0.4, 30) and is_noise(-0.4, 0.0, 30)
    assert count_differing([0.1 + 0.2 - 0.3, 0.0, math.nan, -0.5, 0.5]) == 2


def bca_slowly(values, seed):
    """Efron's formula, with drawn means one by one and the table's quantile of Student's t."""
    size, source = len(values), np.random.default_rng(seed)
    center = sum(values) / size
    means = sorted(sum(values[source.integers(size)] for _ in range(size)) / size for _ in range(4000))
    below = sum((mean < center) + (mean <= center) for mean in means) / 2 / len(means)
    bias = NormalDist().inv_cdf(below)
    cubes, squares = (sum((value - center) ** power for value in values) for power in (3, 2))
    acceleration = cubes / 6 / squares**1.5
    ends = []
    for reach in (-2.0930, 2.0930):  # 19 degrees of freedom
        moved = bias + reach * math.sqrt(20 / 19)
        rank = NormalDist().cdf(bias + moved / (1 - acceleration * moved))
        ends.append(means[round(rank * (len(means) - 1))])
    return ends


def test_the_interval_equals_the_slow_reference():
    values = [0.0] * 12 + [0.0625, 0.125, 0.125, 0.25, 0.5, 0.75, 0.9375, 1.0]
    found = estimate_mean(values)
    assert [found.low, found.high] == pytest.approx(bca_slowly(values, 5), abs=0.015)
    assert found.high - found.mean > 1.1 * (found.mean - found.low), "the long tail is on the right"


@pytest.mark.parametrize(
    "values", [[0.0, 1.0], [0.0, 0.0, 1.0], [0.0] * 29 + [1.0], [1.0] * 7 + [0.0], [0.0, 1e-9, 1.0]]
)
def test_few_or_skewed_values_have_an_interval_around_the_mean(values):
    found = estimate_mean(values)
    assert 0 <= found.low <= found.mean <= found.high <= 1 and found.high > found.low


def test_other_problems_are_refused():
    with pytest.raises(ValueError, match="2 and 3 problems cannot be paired"):
        estimate_difference([0.0] * 2, [0.0] * 3)
