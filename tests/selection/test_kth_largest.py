import threading
import time

import pytest
import torch

from trl_forking.selection.kth_largest import (
    compute_order_codes,
    compute_order_statistics,
    find_kth_largest,
    select_largest,
)


class Ranks:
    """Runs a function in `size` threads that sum tensors with one another, as ranks do; counts what they send."""

    def __init__(self, size: int):
        self.size, self.sent, self.calls = size, 0, 0
        self._barrier, self._parts = threading.Barrier(size), [None] * size

    def run(self, function, arguments):
        results = [None] * self.size

        def work(rank: int) -> None:
            def reduce(tensor: torch.Tensor) -> torch.Tensor:
                self._parts[rank] = tensor
                self._barrier.wait(timeout=60)
                total = sum(self._parts)
                self._barrier.wait(timeout=60)
                if rank == 0:
                    self.sent, self.calls = self.sent + tensor.numel(), self.calls + 1
                return total

            results[rank] = function(arguments[rank], reduce)

        threads = [threading.Thread(target=work, args=(rank,)) for rank in range(self.size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results


VALUES = {
    "normal": torch.randn(1000, generator=torch.Generator().manual_seed(0)),
    "zeros": torch.zeros(64),
    "mostly_zero": torch.cat([torch.zeros(90), torch.rand(10, generator=torch.Generator().manual_seed(1))]),
    "signed_zeros": torch.tensor([0.0, -0.0, 1.0, -0.0]),
    "infinite": torch.tensor([1.0, float("inf"), -float("inf"), 3.0]),
    "subnormal": torch.tensor([1e-45, 0.0, -1e-45, 1e-38]),
}


@pytest.mark.parametrize("name", VALUES)
def test_order_statistics_equal_sorting(name):
    values = VALUES[name]
    expected = values.sort(descending=True).values.tolist()
    assert compute_order_statistics(values, list(range(1, len(values) + 1))) == expected


@pytest.mark.parametrize("name", VALUES)
def test_order_codes_keep_the_order(name):
    values = VALUES[name]
    codes = compute_order_codes(values)
    assert ((codes.unsqueeze(0) < codes.unsqueeze(1)) == (values.unsqueeze(0) < values.unsqueeze(1))).all()


def test_kth_largest_of_64_bit_integers_equals_sorting():
    keys = torch.randint(-(2**63), 2**63 - 1, (999,), generator=torch.Generator().manual_seed(0))
    expected = keys.sort(descending=True).values.tolist()
    assert [find_kth_largest(lambda: keys.split(100), k) for k in range(1, 1000, 37)] == expected[::37]


@pytest.mark.parametrize("k", [0, -1, 5])
def test_impossible_k_is_refused(k):
    with pytest.raises(ValueError, match="k must be between 1 and the number of values"):
        find_kth_largest(lambda: [torch.arange(4)], k)


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.2, 0.5, 1.0])
def test_exactly_k_largest_are_selected(name, share):
    values = VALUES[name]
    k = round(share * len(values))
    selected = select_largest(values, k, tie_keys=lambda index: -index)
    # Sorted by value and, among equals, by position: the keys -index prefer the first.
    order = sorted(range(len(values)), key=lambda i: (-values[i].item(), i))
    assert selected.nonzero().flatten().tolist() == sorted(order[:k])


@pytest.mark.parametrize("sizes", [[100], [50, 50], [0, 100], [1, 9, 90], [25, 25, 25, 25]])
@pytest.mark.parametrize("name", ["normal", "mostly_zero", "zeros"])
def test_selection_does_not_depend_on_the_split_over_ranks(sizes, name):
    values = VALUES[name].repeat(2)[:100]
    keys = torch.randperm(100, generator=torch.Generator().manual_seed(2))
    expected = select_largest(values, 20, tie_keys=lambda index: keys[index])
    parts = list(zip(values.split(sizes), keys.split(sizes), strict=True))
    ranks = Ranks(len(sizes))
    results = ranks.run(lambda part, reduce: select_largest(part[0], 20, lambda i: part[1][i], reduce), parts)
    assert torch.equal(torch.cat(results), expected)


def test_traffic_does_not_grow_with_the_number_of_values():
    sent = []
    for size in (1_000, 1_000_000):
        ranks = Ranks(2)
        values = torch.rand(2, size, generator=torch.Generator().manual_seed(0))
        ranks.run(lambda part, reduce, size=size: select_largest(part, size // 5, lambda i: i, reduce), list(values))
        sent.append(ranks.sent)
    # Two passes of 65,536 counts and two numbers; a gather of the larger input alone would send 2,000,000.
    assert sent[0] <= sent[1] <= 2 * 65_536 + 2 + 4 * 65_536


@pytest.mark.slow
def test_2_to_the_26_values_where_torch_quantile_refuses():
    """Promise 5 of TRL's list: `torch.quantile` stops at 2^24 elements."""
    values = torch.rand(2**26, generator=torch.Generator().manual_seed(0))
    with pytest.raises(RuntimeError, match="too large"):
        torch.quantile(values, 0.8)
    start = time.perf_counter()
    selected = select_largest(values, 2**26 // 5, tie_keys=lambda index: index)
    assert selected.count_nonzero() == 2**26 // 5
    assert values[selected].min() >= values[~selected].max()
    print(f"2^26 values in {time.perf_counter() - start:.1f} s")
