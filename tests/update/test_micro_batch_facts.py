"""Facts of micro-batches against loops, and weights that make means of micro-batches means of the step."""

import math

import pytest
import torch

from trl_forking.update.micro_batch_facts import (
    Column,
    MicroBatchFacts,
    compute_facts,
    sum_micro_batches,
    weigh_metric,
    weigh_newest,
)


def draw_table(num_rows: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    table = torch.randint(0, 9, (num_rows, len(Column)), generator=generator)
    table[:, Column.REAL] = torch.minimum(table[:, Column.REAL], table[:, Column.COMPUTED])
    table[:, Column.ROWS] = 1
    return table


def test_sums_equal_loops():
    table, parts = draw_table(9), [[0, 4, 8], [], [1, 2, 3, 5, 6, 7]]
    for rows, sums in zip(parts, sum_micro_batches(table, parts).tolist(), strict=True):
        longest, num_live = 0, 0
        for row in rows:
            longest, num_live = max(longest, int(table[row, 0])), num_live + int(table[row, 0] > 0)
        assert sums[0] == longest * num_live
        assert sums[1:] == [sum(int(table[row, column]) for row in rows) for column in range(1, 6)]


def test_shares_equal_loops():
    """Two ranks and three micro-batches: what is padded, and how long the faster rank waits."""
    sums = torch.stack([sum_micro_batches(draw_table(6, seed), [[0, 1], [2], [3, 4, 5]]) for seed in (1, 2)])
    fact = compute_facts(sums, num_rows=[2, 1, 3])[0]
    computed = real = slowest = mean = 0
    for place in range(3):
        costs = [int(sums[rank, place, 0]) for rank in range(2)]
        computed, real = computed + sum(costs), real + sum(int(sums[rank, place, 1]) for rank in range(2))
        slowest, mean = slowest + max(costs), mean + sum(costs) / 2
    assert fact.padding_share == pytest.approx(1 - real / computed)
    assert fact.rank_imbalance == pytest.approx(1 - mean / slowest) and fact.rank_imbalance > 0
    assert all(other.padding_share == fact.padding_share for other in compute_facts(sums, num_rows=[2, 1, 3]))


@pytest.mark.parametrize("column", [Column.TOKENS, Column.COUNTED, Column.KEPT])
def test_weighted_means_of_micro_batches_are_the_mean_of_the_step(column):
    sums = torch.stack([sum_micro_batches(draw_table(6, seed), [[0, 1], [2], [3, 4, 5]]) for seed in (1, 2)])
    sums[:, 1, column] = 0  # a micro-batch without such tokens has no mean
    values = [0.3, math.nan, 0.9]
    numbers = sums[:, :, column].sum(0).tolist()
    expected = (0.3 * numbers[0] + 0.9 * numbers[2]) / (numbers[0] + numbers[2])
    name = {Column.TOKENS: "token_weight", Column.COUNTED: "counted_weight", Column.KEPT: "kept_weight"}[column]
    weights = [getattr(fact, name) for fact in compute_facts(sums, num_rows=[2, 1, 3])]
    weighted = [weigh_metric(value, weight) for value, weight in zip(values, weights, strict=True)]
    assert sum(weighted) / 3 == pytest.approx(expected)


def test_a_mean_over_rows_leaves_empty_rows_out():
    """TRL divides by all rows of a micro-batch, those that only fill it up too."""
    sums = sum_micro_batches(draw_table(4), [[0], [1, 2, 3]]).unsqueeze(0)
    weights = [fact.row_weight for fact in compute_facts(sums, num_rows=[2, 3])]
    of_rows = [1.0, 0.0, 1.0, 1.0]
    means = [of_rows[0] / 2, sum(of_rows[1:]) / 3]
    assert sum(m * w for m, w in zip(means, weights, strict=True)) / 2 == pytest.approx(sum(of_rows) / 4)


def test_a_step_with_nothing_in_it_has_no_mean():
    (fact,) = compute_facts(torch.zeros(1, 1, len(Column), dtype=torch.long), num_rows=[1])
    assert math.isnan(weigh_metric(math.nan, fact.kept_weight)) and fact.padding_share == fact.rank_imbalance == 0.0


def test_facts_survive_a_batch():
    facts, batch = MicroBatchFacts(loss_scale=0.375, kept_weight=1.5), {}
    assert MicroBatchFacts.read_from(batch) is None
    facts.write_to(batch)
    assert MicroBatchFacts.read_from(batch) == facts


@pytest.mark.parametrize(
    ("drops_tokens", "level", "weight"), [(True, "token", 3.0), (True, "sequence", 3.0), (False, "sequence", 5.0)]
)
def test_clip_ratios_are_weighted_by_what_they_are_means_over(drops_tokens, level, weight):
    facts = MicroBatchFacts(token_weight=2.0, kept_weight=3.0, counted_weight=4.0, row_weight=5.0)
    metrics = {"clip_ratio/low_mean": [1.0], "entropy": [9.0, 1.0], "reward": [1.0], "kl": []}
    weigh_newest(metrics, facts, drops_tokens, level)
    assert metrics == {"clip_ratio/low_mean": [weight], "entropy": [9.0, 4.0], "reward": [1.0], "kl": []}
