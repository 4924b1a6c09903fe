"""Intervals against published tables, the equations they solve, and how often they contain the true share."""

import math

import pytest

from trl_forking.evaluation.intervals import (
    compute_difference_interval,
    compute_share_interval,
    compute_standard_error,
)


Z = 1.959963984540054


def solve_by_bisection(function, low: float, high: float) -> float:
    """Find where a function that falls crosses zero."""
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) > 0 else (low, middle)
    return (low + high) / 2


def reference_share_interval(num_right: int, num_all: int) -> tuple[float, float]:
    """The true shares that lie exactly z standard errors, their own, from the measured one."""
    share = num_right / num_all

    def distance(true_share: float) -> float:
        return Z**2 * true_share * (1 - true_share) / num_all - (share - true_share) ** 2  # above 0 inside

    low = 0.0 if num_right == 0 else solve_by_bisection(lambda p: -distance(p), 0.0, share)
    high = 1.0 if num_right == num_all else solve_by_bisection(distance, share, 1.0)
    return low, high


@pytest.mark.parametrize("num_all", [1, 2, 7, 64, 512, 1771, 100_000])
def test_a_share_lies_z_standard_errors_from_the_ends(num_all):
    for num_right in {0, 1, num_all // 3, num_all // 2, num_all - 1, num_all}:
        expected = reference_share_interval(num_right, num_all)
        assert compute_share_interval(num_right, num_all) == pytest.approx(expected, abs=1e-12)


def test_intervals_of_shares_are_those_of_newcombes_table():
    # Newcombe (1998), Two-sided confidence intervals for the single proportion, table I, method 3.
    for counts, expected in {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }.items():
        assert compute_share_interval(*counts) == pytest.approx(expected, abs=5e-5)


def test_intervals_of_differences_are_those_of_newcombes_table():
    # Newcombe (1998), Interval estimation for the difference between independent proportions, table II, method 10.
    for (first, second), expected in {
        ((56, 70), (48, 80)): (0.0524, 0.3339),
        ((9, 10), (3, 10)): (0.1705, 0.8090),
        ((6, 7), (2, 7)): (0.0582, 0.8062),
        ((5, 56), (0, 29)): (-0.0381, 0.1926),
        ((0, 10), (0, 20)): (-0.1611, 0.2775),
        ((10, 10), (0, 20)): (0.6791, 1.0),
        ((10, 10), (0, 10)): (0.6075, 1.0),
    }.items():
        assert compute_difference_interval(second, first) == pytest.approx(expected, abs=5e-5)


def test_a_difference_the_other_way_round_has_the_mirrored_interval():
    low, high = compute_difference_interval((17, 64), (40, 512))
    assert compute_difference_interval((40, 512), (17, 64)) == pytest.approx((-high, -low), abs=1e-15)


@pytest.mark.parametrize("true_share", [0.02, 0.3, 0.5, 0.9])
def test_the_interval_contains_the_true_share_in_about_95_of_100_runs(true_share):
    num_all, covered = 512, 0.0
    for num_right in range(num_all + 1):
        low, high = compute_share_interval(num_right, num_all)
        log_probability = (
            math.lgamma(num_all + 1)
            - math.lgamma(num_right + 1)
            - math.lgamma(num_all - num_right + 1)
            + num_right * math.log(true_share)
            + (num_all - num_right) * math.log(1 - true_share)
        )
        covered += math.exp(log_probability) * (low <= true_share <= high)
    assert 0.93 < covered < 0.97


def test_more_confidence_makes_wider_intervals():
    ends = [compute_share_interval(30, 100, confidence) for confidence in (0.5, 0.9, 0.95, 0.99)]
    assert all(
        wider[0] < narrower[0] and narrower[1] < wider[1] for narrower, wider in zip(ends, ends[1:], strict=False)
    )
    low, high = compute_difference_interval((30, 100), (45, 100), confidence=0.99)
    assert low < 0 < compute_difference_interval((30, 100), (45, 100))[0] < high


@pytest.mark.parametrize("counts", [(0, 0), (-1, 3), (4, 3)])
def test_counts_that_cannot_be_are_refused(counts):
    with pytest.raises(ValueError, match="A share needs"):
        compute_share_interval(*counts)
    with pytest.raises(ValueError, match="A share needs"):
        compute_difference_interval((1, 2), counts)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95, math.nan])
def test_a_confidence_that_cannot_be_is_refused(confidence):
    with pytest.raises(ValueError, match="confidence must be in"):
        compute_share_interval(1, 2, confidence)


def test_the_standard_error_of_a_mean():
    values = [0.25, 0.5, 1.0, 0.0, 0.75]
    mean = sum(values) / 5
    expected = math.sqrt(sum((value - mean) ** 2 for value in values) / 4 / 5)
    assert compute_standard_error(values) == pytest.approx(expected, abs=1e-15)
    assert math.isnan(compute_standard_error([1.0]))
