"""Plans for several ranks, by properties: every answer once, equal costs, and few moves."""

import random

import pytest

from trl_forking.update.dealing import compute_cost
from trl_forking.update.rank_plan import plan_ranks


def draw_lengths(num_ranks: int, num_rows: int, seed: int, zero_share: float = 0.2) -> list[list[int]]:
    source = random.Random(seed)
    return [
        [
            0 if source.random() < zero_share else min(int(source.lognormvariate(8.6, 0.8)), 20_480)
            for _ in range(num_rows)
        ]
        for _ in range(num_ranks)
    ]


def compute_costs(lengths: list[list[int]], plan: list[list[list[int]]]) -> list[list[int]]:
    flat = [length for of_rank in lengths for length in of_rank]
    return [[compute_cost(flat, group) for group in groups] for groups in plan]


CASES = [(2, 8, 1), (2, 32, 4), (4, 16, 2), (8, 64, 8), (32, 32, 4), (3, 7, 7)]


@pytest.mark.parametrize(("num_ranks", "num_rows", "num_micro_batches"), CASES)
def test_every_answer_once_and_those_that_cost_nothing_at_home(num_ranks, num_rows, num_micro_batches):
    lengths = draw_lengths(num_ranks, num_rows, seed=num_ranks)
    plan = plan_ranks(lengths, num_micro_batches)
    assert [len(groups) for groups in plan] == [num_micro_batches] * num_ranks
    places = [place for groups in plan for group in groups for place in group]
    assert sorted(places) == list(range(num_ranks * num_rows))
    for rank, groups in enumerate(plan):
        free = [place for group in groups for place in group if lengths[place // num_rows][place % num_rows] == 0]
        assert all(place // num_rows == rank for place in free)


@pytest.mark.parametrize(("num_ranks", "num_rows", "num_micro_batches"), [(2, 32, 4), (8, 64, 8), (32, 32, 4)])
def test_micro_batches_cost_the_same_on_all_ranks(num_ranks, num_rows, num_micro_batches):
    lengths = draw_lengths(num_ranks, num_rows, seed=0)
    costs = compute_costs(lengths, plan_ranks(lengths, num_micro_batches))
    real = sum(map(sum, lengths))
    slowest = sum(max(of_rank[number] for of_rank in costs) for number in range(num_micro_batches))
    assert slowest * num_ranks / real < 1.35
    mean = sum(map(sum, costs)) / num_ranks
    assert 1 - mean / slowest < 0.1  # ranks wait for a tenth of their time at most
    longest = max(max(of_rank) for of_rank in lengths)
    assert num_ranks * num_rows * longest / real > 2  # what TRL computes


def test_a_rank_without_work_gets_its_part():
    lengths = [[0] * 16, draw_lengths(1, 16, seed=0, zero_share=0.0)[0]]
    costs = compute_costs(lengths, plan_ranks(lengths, 4))
    assert sum(costs[0]) > 0.7 * sum(costs[1])


def test_what_can_stay_stays():
    """One micro-batch on each rank, and the groups are those that the ranks hold already."""
    lengths = [[5, 5, 5, 5], [9, 9, 9, 9]]
    plan = plan_ranks([lengths[1], lengths[1]], 1)
    assert [sorted(groups[0]) for groups in plan] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    source = random.Random(0)
    lengths = [[source.choice([100, 101, 102]) for _ in range(64)] for _ in range(4)]
    plan = plan_ranks(lengths, 8)
    num_moved = sum(place // 64 != rank for rank, groups in enumerate(plan) for group in groups for place in group)
    assert num_moved < 0.65 * 4 * 64  # at random, three of four would move


def test_the_plan_does_not_depend_on_the_rank_that_makes_it():
    lengths = draw_lengths(4, 16, seed=3)
    assert plan_ranks(lengths, 4) == plan_ranks([list(of_rank) for of_rank in lengths], 4)
