"""The entropy against a loop in float64."""

import math

import pytest
import torch

from helpers import reference
from trl_forking.selection.entropies import compute_entropies


@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("shape", [(17,), (12, 17), (3, 5, 170)])
def test_entropies_equal_a_loop_in_float64(scale, shape):
    generator = torch.Generator().manual_seed(0)
    logits = scale * torch.randn(shape, generator=generator)
    logits = logits.masked_fill(torch.rand(shape, generator=generator) < 0.2, -math.inf)
    before = logits.clone()
    entropies = compute_entropies(logits)
    assert entropies.shape == (*shape[:-1], 1) and entropies.dtype == torch.float32
    expected = [reference.entropy(row) for row in logits.view(-1, shape[-1]).tolist()]
    assert entropies.flatten().tolist() == pytest.approx(expected, abs=2e-6)
    assert torch.equal(logits, before)


def test_a_large_vocabulary_and_large_logits_cost_no_precision():
    """A sum of p log p in fp32 is wrong by 9e-6 here, and log Z minus the mean logit by 1.1e-5."""
    logits = 3 * torch.randn(64, 50_000, generator=torch.Generator().manual_seed(0)) + 40
    probabilities = logits.double().softmax(-1)
    expected = torch.special.entr(probabilities).sum(-1, keepdim=True)
    torch.testing.assert_close(compute_entropies(logits).double(), expected, atol=2e-6, rtol=0)


def test_one_possible_token_has_no_entropy():
    assert compute_entropies(torch.tensor([[-math.inf, 3.0, -math.inf]])).item() == 0.0


def test_half_precision_is_computed_in_fp32_and_carries_no_gradient():
    logits = torch.randn(4, 9, dtype=torch.bfloat16, requires_grad=True)
    entropies = compute_entropies(logits)
    assert torch.equal(entropies, compute_entropies(logits.detach().float())) and not entropies.requires_grad
