import math

import pytest
import torch

from trl_forking.selection.costly import compute_costly


NEEDS = ("log_prob", "sum_sq_probs", "is_top1")


def test_against_a_loop():
    logits = 3 * torch.randn(6, 9, generator=torch.Generator().manual_seed(0))
    tokens = torch.tensor([0, 3, 8, 2, *logits.argmax(1).tolist()[4:]])
    found = compute_costly(logits, tokens, NEEDS)
    for row, token, (log_prob, sum_sq_probs, is_top1) in zip(
        logits.tolist(), tokens.tolist(), found.tolist(), strict=True
    ):
        total = math.fsum(map(math.exp, row))
        assert log_prob == pytest.approx(row[token] - math.log(total), abs=1e-5)
        assert sum_sq_probs == pytest.approx(math.fsum((math.exp(z) / total) ** 2 for z in row), rel=1e-5)
        assert bool(is_top1) == (row[token] == max(row))
    assert torch.equal(compute_costly(logits, tokens, NEEDS[1:]), found[:, 1:])
