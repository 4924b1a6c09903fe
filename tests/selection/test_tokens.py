import itertools
import math
from fractions import Fraction

import pytest
import torch

from helpers.reference import kept_tokens
from trl_forking.selection import (
    compute_budget,
    compute_loss_weights,
    compute_tie_keys,
    round_entropies,
    select_tokens,
    select_tokens_per_sequence,
)


GENERATOR = torch.Generator().manual_seed(0)
ENTROPIES = torch.rand(6, 20, generator=GENERATOR) * 3
MASK = torch.arange(20) < torch.tensor([20, 1, 7, 0, 13, 20]).unsqueeze(1)
RHOS = (0.01, 0.1, 0.2, 0.3, 0.5, 0.99, 1.0)


def as_set(kept: torch.Tensor) -> set[tuple[int, int]]:
    return {tuple(place) for place in kept.nonzero().tolist()}


@pytest.mark.parametrize("rho", RHOS)
def test_high_entropy_equals_the_reference(rho):
    kept = select_tokens(ENTROPIES, MASK, rho)
    assert as_set(kept) == kept_tokens(ENTROPIES.double().tolist(), MASK.tolist(), rho)


@pytest.mark.parametrize("rho", RHOS)
def test_per_sequence_equals_the_reference_on_every_row(rho):
    kept = select_tokens_per_sequence(ENTROPIES, MASK, rho)
    for row in range(len(MASK)):
        expected = kept_tokens([ENTROPIES[row].double().tolist()], [MASK[row].tolist()], rho)
        assert as_set(kept[row : row + 1]) == expected


@pytest.mark.parametrize("select", [select_tokens, select_tokens_per_sequence])
@pytest.mark.parametrize("rho", RHOS)
def test_low_entropy_is_the_complement_and_random_has_the_size_of_high_entropy(select, rho):
    high, low, random = (select(ENTROPIES, MASK, rho, name) for name in ("high_entropy", "low_entropy", "random"))
    assert torch.equal(high ^ low, MASK) and not (high & low).any()
    assert random.sum() == high.sum() and not (random & ~MASK).any()
    if select is select_tokens_per_sequence:
        assert torch.equal(random.sum(1), high.sum(1))


@pytest.mark.parametrize("select", [select_tokens, select_tokens_per_sequence])
@pytest.mark.parametrize("name", ["high_entropy", "random"])
def test_selections_are_nested_in_rho(select, name):
    kept = [select(ENTROPIES, MASK, rho, name) for rho in RHOS]
    assert all((small <= large).all() for small, large in itertools.pairwise(kept))


@pytest.mark.parametrize("select", [select_tokens, select_tokens_per_sequence])
@pytest.mark.parametrize("name", ["high_entropy", "low_entropy", "random"])
@pytest.mark.parametrize("entropies", [ENTROPIES, torch.zeros_like(ENTROPIES), ENTROPIES.round()])
def test_rows_may_be_permuted_with_their_ids(select, name, entropies):
    rows = torch.tensor([3, 0, 5, 1, 4, 2])
    kept = select(entropies, MASK, 0.2, name)
    permuted = select(entropies[rows], MASK[rows], 0.2, name, row_ids=rows)
    assert torch.equal(permuted, kept[rows])


def test_padding_does_not_matter():
    wider = torch.nn.functional.pad(ENTROPIES, (0, 7), value=float("nan"))
    kept = select_tokens(wider, torch.nn.functional.pad(MASK, (0, 7)), 0.2)
    assert torch.equal(kept[:, :20], select_tokens(ENTROPIES, MASK, 0.2)) and not kept[:, 20:].any()


def test_ties_keep_exactly_k():
    """Nine zero entropies of ten, rho 0.2: TRL keeps all ten."""
    entropies = torch.zeros(1, 10)
    entropies[0, 4] = 1.0
    for select in (select_tokens, select_tokens_per_sequence):
        kept = select(entropies, torch.ones(1, 10), 0.2)
        assert kept.sum() == 2 and kept[0, 4]


def test_ties_favor_no_row():
    kept = select_tokens(torch.zeros(100, 100), torch.ones(100, 100), 0.2)
    shares = kept.float().mean(1)
    assert kept.sum() == 2000 and (shares - 0.2).abs().max() < 0.2  # 5 standard deviations


def test_seed_changes_random_and_not_high_entropy():
    assert not torch.equal(*(select_tokens(ENTROPIES, MASK, 0.2, "random", seed=seed) for seed in (0, 1)))
    assert torch.equal(*(select_tokens(ENTROPIES, MASK, 0.2, seed=seed) for seed in (0, 1)))


def test_tie_keys_are_unique():
    rows, positions = torch.meshgrid(torch.arange(512), torch.arange(2048), indexing="ij")
    assert compute_tie_keys(rows, positions).unique().numel() == 512 * 2048
    large = compute_tie_keys(torch.tensor([0, 2**31 - 1]), torch.tensor([2**32 - 1, 0]))
    assert large[0] != large[1]


def test_no_token_counts():
    for select in (select_tokens, select_tokens_per_sequence):
        assert not select(ENTROPIES, torch.zeros_like(MASK), 0.2).any()


def test_nan_names_row_and_position():
    entropies = ENTROPIES.clone()
    entropies[2, 5] = float("nan")
    with pytest.raises(ValueError, match="row 2, position 5 is NaN"):
        select_tokens(entropies, MASK, 0.2)
    entropies[2, 5], entropies[3, 0] = 1.0, float("nan")  # row 3 has no counted token
    select_tokens(entropies, MASK, 0.2)


def test_infinite_entropy_is_no_nan():
    entropies = ENTROPIES.clone()
    entropies[0, 0] = math.inf
    assert select_tokens(entropies, MASK, 0.2)[0, 0]


def test_float64_entropies():
    for seed in range(20):
        entropies = torch.rand(1, 10, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        assert select_tokens(entropies, torch.ones(1, 10), 0.1).nonzero().tolist() == [[0, int(entropies.argmax())]]


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="same shape"):
        select_tokens(ENTROPIES, MASK[:, :3], 0.2)
    with pytest.raises(ValueError, match="token_selection must be one of"):
        select_tokens(ENTROPIES, MASK, 0.2, "highest")


@pytest.mark.parametrize("rho", RHOS + (0.07, 1 / 3))
def test_budget_is_the_exact_ceiling(rho):
    from decimal import Decimal

    for num_tokens in (0, 1, 5, 15, 100, 101, 2**26):
        budget = compute_budget(num_tokens, rho)
        assert budget >= Decimal(str(rho)) * num_tokens > budget - 1
    assert compute_budget(100, 0.07) == 7 and math.ceil(0.07 * 100) == 8


@pytest.mark.parametrize(
    ("share", "meant"),
    [
        (0.1 + 0.2, Fraction(3, 10)),
        (1 - 0.9, Fraction(1, 10)),
        (0.3 - 0.1, Fraction(1, 5)),
        (sum([0.1] * 7), Fraction(7, 10)),
        (1.1 - 1, Fraction(1, 10)),
        (2 / 3, Fraction(2, 3)),
        (1 / 7, Fraction(1, 7)),
        (0.012345 * 3 / 3, Fraction(12345, 10**6)),
        (1e-9, Fraction(1, 10**9)),
        (0.2000001, Fraction(2000001, 10**7)),
        (0.1234567890123, Fraction(1234567890123, 10**13)),
        (sum([0.1] * 10), Fraction(1)),
    ],
)
def test_rounding_errors_of_a_share_add_no_token(share, meant):
    for num_tokens in (1, 3, 7, 10, 2100, 123_456_789, 10**12):
        assert compute_budget(num_tokens, share) == math.ceil(meant * num_tokens)


def test_rounding_moves_entropies_by_less_than_half_the_grid():
    assert (round_entropies(ENTROPIES) - ENTROPIES).abs().max() <= 2**-17
    noisy = torch.tensor([0.7]) + torch.tensor([-3e-7, 0.0, 3e-7])
    assert round_entropies(noisy).unique().numel() == 1


def test_loss_weights_exchange_one_count_for_another():
    mask, kept = MASK.long(), select_tokens(ENTROPIES, MASK, 0.2)
    assert compute_loss_weights(mask, kept, None).item() == 1.0
    assert compute_loss_weights(mask, kept, "batch", batch_weight=5.0).item() == 5.0
    assert compute_loss_weights(mask, kept, "micro_batch").item() == pytest.approx(mask.sum() / kept.sum())
    weights = compute_loss_weights(mask, kept, "sequence").squeeze(1)
    for row, weight in enumerate(weights.tolist()):
        assert weight == pytest.approx(max(int(mask[row].sum()), 1) / max(int(kept[row].sum()), 1))
