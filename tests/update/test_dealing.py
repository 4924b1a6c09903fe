"""Rows dealt to groups: compared with every possible dealing of a few rows, and by properties of many."""

import itertools
import random

import pytest

from trl_forking.update.dealing import SLACK, compute_cost, count_groups, deal, spread


def draw_lengths(source: random.Random, num_rows: int, longest: int = 200) -> list[int]:
    """Long-tailed lengths, some of them equal and some of them zero."""
    return [
        min(int(source.lognormvariate(3.5, 0.8)), longest) * source.choice([0, 1, 1, 1, 1]) for _ in range(num_rows)
    ]


def deal_in_every_way(rows: list[int], num_groups: int) -> list[list[list[int]]]:
    """All ways to put rows into groups, neighbors in length or not."""
    ways = []
    for choice in itertools.product(range(num_groups), repeat=len(rows)):
        ways.append([[row for row, group in zip(rows, choice, strict=True) if group == g] for g in range(num_groups)])
    return ways


def compute_costs(lengths: list[int], groups: list[list[int]]) -> list[int]:
    """Rows times the longest row, written with loops."""
    costs = []
    for group in groups:
        longest = 0
        for row in group:
            longest = max(longest, lengths[row])
        costs.append(longest * sum(1 for row in group if lengths[row]))
    return costs


@pytest.mark.parametrize("seed", range(12))
def test_no_dealing_has_a_smaller_largest_group_and_none_within_that_has_less_padding(seed):
    source = random.Random(seed)
    lengths = draw_lengths(source, num_rows=7, longest=40)
    live, num_groups = [row for row, length in enumerate(lengths) if length], source.choice([2, 3])
    every = [compute_costs(lengths, way) for way in deal_in_every_way(live, num_groups)]
    smallest = min(map(max, every))
    ours = compute_costs(lengths, deal(lengths, num_groups))
    assert max(ours) == smallest
    least = min(sum(costs) for costs in every if max(costs) <= smallest)
    assert sum(ours) <= 1.05 * least  # borders move one by one, which now and then ends a little above
    with_slack = compute_costs(lengths, deal(lengths, num_groups, slack=0.5))
    assert max(with_slack) <= 1.5 * smallest and sum(with_slack) <= sum(ours)


@pytest.mark.parametrize("seed", range(12))
def test_the_number_of_groups_is_the_least_that_does(seed):
    source = random.Random(seed)
    lengths = draw_lengths(source, num_rows=6, longest=40)
    live, limit = [row for row, length in enumerate(lengths) if length], max(lengths) + source.randint(0, 60)
    least = next(
        number
        for number in range(len(live) + 1)
        if any(max(compute_costs(lengths, way), default=0) <= limit for way in deal_in_every_way(live, number))
    )
    assert count_groups(lengths, limit) == least


@pytest.mark.parametrize(("num_rows", "num_groups"), [(16, 2), (32, 4), (64, 8), (256, 32), (33, 7), (8, 8)])
def test_every_row_once_and_never_worse_than_equal_parts(num_rows, num_groups):
    source = random.Random(num_rows)
    for slack in (0.0, SLACK):
        lengths = draw_lengths(source, num_rows, longest=200)
        groups = deal(lengths, num_groups, slack)
        assert len(groups) == num_groups
        live = [row for row, length in enumerate(lengths) if length]
        assert sorted(row for group in groups for row in group) == live
        costs = compute_costs(lengths, groups)
        assert costs == [compute_cost(lengths, group) for group in groups] == sorted(costs, reverse=True)
        ordered = sorted(lengths, reverse=True)
        size = -(-num_rows // num_groups)
        parts = [ordered[start : start + size] for start in range(0, num_rows, size)]
        in_parts = [part[0] * sum(map(bool, part)) for part in parts]
        assert max(costs) <= max(in_parts) * (1 + slack)
        assert sum(costs) <= 1.1 * sum(in_parts)


def test_long_tailed_lengths_lose_most_of_their_padding():
    source = random.Random(0)
    lengths = [min(int(source.lognormvariate(8.6, 0.8)), 20_480) for _ in range(64)]
    groups = deal(lengths, 8, SLACK)
    assert 64 * max(lengths) / sum(lengths) > 2.5  # padded to the longest
    assert sum(compute_costs(lengths, groups)) / sum(lengths) < 1.2
    assert max(compute_costs(lengths, groups)) < 0.6 * 8 * max(lengths)


def test_equal_lengths_make_equal_groups():
    assert [len(group) for group in deal([7] * 32, 4)] == [8] * 4


def test_fewer_rows_than_groups_leave_groups_empty():
    assert deal([5, 0, 7], 4) == [[2], [0], [], []]
    assert deal([0, 0], 2) == [[], []] and deal([], 1) == [[]]


def test_rows_that_cost_nothing_go_to_the_smallest_groups():
    groups = [[0, 1, 2], [3], []]
    spread(groups, [4, 5, 6, 7, 8])
    assert [len(group) for group in groups] == [3, 3, 3]


def test_a_row_above_the_limit_is_refused():
    with pytest.raises(ValueError, match="A row of 9 tokens does not fit into a group of 8"):
        count_groups([9, 1], 8)


def test_ten_thousand_rows_are_dealt_within_seconds():
    """One sweep over the borders is linear: a quadratic one would take minutes."""
    source = random.Random(0)
    lengths = draw_lengths(source, 10_000, longest=20_000)
    assert len(deal(lengths, 5_000)) == 5_000
