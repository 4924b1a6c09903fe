"""avg@k, pass@k and maj@k against all the ways to draw answers, and cases worked by hand."""

import math
from collections import Counter
from itertools import combinations
from random import Random

import pytest

from trl_forking.evaluation.metrics import compute_average, compute_majority_at_k, compute_pass_at_k


def average_over_draws(n, k, score):
    draws = list(combinations(range(n), k))
    return sum(map(score, draws)) / len(draws)


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_pass_at_k_is_the_share_of_draws_with_a_right_answer(n):
    for num_right in range(n + 1):
        for k in range(1, n + 1):
            expected = average_over_draws(n, k, lambda draw, c=num_right: float(any(index < c for index in draw)))
            assert compute_pass_at_k(n, num_right, k) == pytest.approx(expected, abs=1e-12)


def test_pass_at_k_rises_with_k_and_begins_with_the_average():
    values = [compute_pass_at_k(16, 3, k) for k in range(1, 17)]
    assert values[0] == compute_average([1.0] * 3 + [0.0] * 13) == 3 / 16
    assert values == sorted(values) and values[-1] == 1.0


def test_pass_at_k_is_exact_for_many_answers():
    """Factorials of this size overflow a float; one in a million is not rounded away."""
    assert compute_pass_at_k(2000, 1, 2) == pytest.approx(0.001, rel=1e-12)


def vote(draw, votes, is_right):
    counts = Counter(votes[index] for index in draw if votes[index] is not None)
    if not counts:
        return 0.0
    most = max(counts.values())
    winners = [label for label, count in counts.items() if count == most]
    right = {label: [is_right[i] for i in range(len(votes)) if votes[i] == label] for label in winners}
    return sum(sum(flags) / len(flags) for flags in right.values()) / len(winners)


@pytest.mark.parametrize("seed", range(30))
def test_majority_is_that_of_all_draws(seed):
    random = Random(seed)
    n = random.randint(1, 8)
    votes = [random.choice([0, 0, 0, 1, 1, 2, None]) for _ in range(n)]
    is_right = [label == 0 for label in votes]
    for k in range(1, n + 1):
        expected = average_over_draws(n, k, lambda draw: vote(draw, votes, is_right))
        assert compute_majority_at_k(votes, is_right, k) == pytest.approx(expected, abs=1e-12)


def test_one_vote_is_the_average_without_silent_answers():
    assert compute_majority_at_k([0, 1, 1, 2], [True, False, False, False], k=1) == 0.25


def test_nobody_votes():
    assert compute_majority_at_k([None, None], [False, False], k=2) == 0.0


def test_a_class_that_the_verifier_splits_is_right_in_part():
    """Equality of a verifier need not be transitive."""
    assert compute_majority_at_k([0, 0], [True, False], k=2) == 0.5


def test_fewer_answers_than_tries_say_nothing():
    assert math.isnan(compute_pass_at_k(3, 1, 4)) and math.isnan(compute_majority_at_k([0], [True], 2))
    assert math.isnan(compute_average([]))


@pytest.mark.parametrize("n, right, k", [(3, 4, 1), (3, -1, 1), (3, 1, 0)])
def test_impossible_numbers_are_refused(n, right, k):
    with pytest.raises(ValueError, match="right ones of"):
        compute_pass_at_k(n, right, k)
    with pytest.raises(ValueError, match="one verdict a vote"):
        compute_majority_at_k([0] * 3, [True] * 2, 1)
