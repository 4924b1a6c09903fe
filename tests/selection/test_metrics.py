import math

import pytest
import torch

from trl_forking.selection import compute_budget, select_tokens, select_tokens_per_sequence
from trl_forking.selection.metrics import PERCENTILES, compute_selection_metrics, compute_thresholds, find_clipped


GENERATOR = torch.Generator().manual_seed(0)
ENTROPIES = torch.rand(5, 30, generator=GENERATOR) * 2
MASK = torch.arange(30) < torch.tensor([30, 1, 17, 0, 25]).unsqueeze(1)
COUNTED = MASK & torch.tensor([True, True, False, True, True]).unsqueeze(1)


def reference_metrics(kept: torch.Tensor, rho: float) -> dict[str, float]:
    """Loops over tokens in float64."""
    places = [(i, t) for i in range(5) for t in range(30)]
    values = {place: ENTROPIES[place].double().item() for place in places}
    counted = [values[place] for place in places if COUNTED[place]]
    chosen = [values[place] for place in places if kept[place]]
    dropped = [values[place] for place in places if COUNTED[place] and not kept[place]]
    ordered = sorted(counted)
    metrics = {
        "threshold": ordered[-compute_budget(len(counted), rho)],
        "kept_fraction": len(chosen) / len(counted),
        "counted_fraction": len(counted) / sum(bool(MASK[place]) for place in places),
        "entropy_share": sum(chosen) / sum(counted),
        "selected_entropy_mean": sum(chosen) / len(chosen),
        "dropped_entropy_mean": sum(dropped) / len(dropped),
    }
    for percentile in PERCENTILES:  # the smallest entropy that at least p % of the tokens do not exceed
        metrics[f"entropy_p{percentile}"] = next(
            value for rank, value in enumerate(ordered, start=1) if 100 * rank >= percentile * len(ordered)
        )
    return metrics


@pytest.mark.parametrize("token_selection", ["high_entropy", "low_entropy", "random"])
@pytest.mark.parametrize("rho", [0.05, 0.2, 0.5])
def test_metrics_equal_the_reference(token_selection, rho):
    kept = select_tokens(ENTROPIES, COUNTED, rho, token_selection)
    metrics = compute_selection_metrics(ENTROPIES, MASK, COUNTED, kept, rho)
    assert metrics == pytest.approx(reference_metrics(kept, rho), rel=1e-5)


def test_threshold_per_sequence_is_the_mean_of_the_answers_thresholds():
    kept = select_tokens_per_sequence(ENTROPIES, COUNTED, 0.2)
    thresholds = [ENTROPIES[row][kept[row]].min().item() for row in range(5) if kept[row].any()]
    metrics = compute_selection_metrics(ENTROPIES, MASK, COUNTED, kept, 0.2, per_sequence=True)
    assert metrics["threshold"] == pytest.approx(sum(thresholds) / len(thresholds), rel=1e-6)
    assert compute_thresholds(ENTROPIES, COUNTED, 0.2).tolist() == pytest.approx(thresholds)


def test_what_stands_outside_the_masks_does_not_matter():
    kept = select_tokens(ENTROPIES, COUNTED, 0.2)
    spoilt = ENTROPIES.masked_fill(~COUNTED, math.nan)
    expected = compute_selection_metrics(ENTROPIES, MASK, COUNTED, kept, 0.2)
    assert compute_selection_metrics(spoilt, MASK, COUNTED, kept, 0.2) == expected


def test_numbers_that_do_not_exist_are_nan():
    nothing = torch.zeros_like(MASK)
    metrics = compute_selection_metrics(ENTROPIES, MASK, nothing, nothing, 0.2)
    assert metrics.pop("counted_fraction") == 0
    assert all(math.isnan(value) for value in metrics.values())
    everything = compute_selection_metrics(ENTROPIES, MASK, MASK, MASK, 1.0)
    assert math.isnan(everything["dropped_entropy_mean"]) and everything["entropy_share"] == 1.0


@pytest.mark.parametrize("loss_type", ["dapo", "grpo", "cispo", "sapo", "vespo"])
def test_clipped_equals_the_definition(loss_type):
    ratios, advantages = torch.meshgrid(
        torch.tensor([0.1, 0.79, 0.81, 1.0, 1.27, 1.29, 6.0]), torch.tensor([-1.0, 0.0, 2.0])
    )
    epsilon_high = 5.0 if loss_type == "cispo" else 0.28
    clipped = find_clipped(ratios, advantages, 0.2, epsilon_high, loss_type)
    for ratio, advantage, is_clipped in zip(ratios.flatten(), advantages.flatten(), clipped.flatten(), strict=True):
        if loss_type == "cispo":
            expected = bool(advantage > 0) and ratio > 5.0
        elif loss_type in ("sapo", "vespo"):
            expected = False
        else:
            expected = (advantage > 0 and ratio > 1.28) or (advantage < 0 and ratio < 0.8)
        assert bool(is_clipped) == bool(expected)
