"""The number of micro-batches that a message names does: with it no micro-batch is above the limit."""

import random

import pytest

from trl_forking.update.dealing import compute_cost, deal
from trl_forking.update.token_limit import count_micro_batches


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("is_dealt", [True, False])
def test_the_number_does(seed, is_dealt):
    source = random.Random(seed)
    num_rows, num_given = source.choice([2, 4, 6, 8]), source.choice([1, 2, 4])
    lengths = [int(source.lognormvariate(3, 0.8)) * source.choice([0, 1, 1]) for _ in range(num_rows * num_given)]
    limit = max(lengths) + source.randint(0, 2 * sum(lengths))
    number = count_micro_batches(lengths, num_rows, limit, is_dealt)
    assert number % num_given == 0 and len(lengths) % number == 0  # rows divide by a whole number
    if is_dealt:
        groups = deal(lengths, number)
        assert max(compute_cost(lengths, group) for group in groups) <= limit
    else:  # whatever rows meet
        assert len(lengths) // number * max(lengths) <= limit
    # Half as many rows in a micro-batch are the next choice, so the number is no more than it has to be.
    fewer = [n for n in range(num_given, number, num_given) if (num_given * num_rows) % n == 0]
    for choice in fewer:
        costs = [compute_cost(lengths, group) for group in deal(lengths, choice)]
        assert (max(costs) if is_dealt else len(lengths) // choice * max(lengths)) > limit


def test_one_row_above_the_limit_has_no_number():
    assert count_micro_batches([9, 1, 1, 1], num_rows=2, limit=8, is_dealt=True) == 0
