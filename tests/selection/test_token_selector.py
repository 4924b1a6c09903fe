"""The selector on batches made by hand: what is kept, what TRL's loss gets, what is counted and carried along."""

import math

import pytest
import torch

from trl_forking import ForkingGRPOConfig
from trl_forking.selection.token_selector import Selection, TokenSelector, get_loss_mask


MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0]])
ENTROPIES = torch.tensor([[0.1, 2.0, 0.3, 1.0], [1.5, 0.2, 0.4, 9.0], [3.0, 2.5, 9.0, 9.0]])


def build_batch(**tensors):
    return {
        "completion_mask": MASK,
        "advantages": torch.tensor([1.0, -0.5, 0.0]),
        "row_ids": torch.arange(3),
    } | tensors


def build_selector(**settings):
    return TokenSelector(ForkingGRPOConfig("runs/none", **({"use_cpu": True, "top_entropy_quantile": 0.4} | settings)))


def test_a_batch_is_selected_over_all_its_answers():
    """Seven tokens have an advantage; the top three of them are kept, and none of the answer without one."""
    selection = build_selector().select(build_batch(), ENTROPIES, seed=0)
    expected = torch.tensor([[0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]]).bool()
    assert torch.equal(selection.kept, expected) and selection.num_kept == 3
    assert selection.counted.sum() == 7 and selection.batch_weight.item() == 3.0  # nine tokens carry loss
    assert selection.metrics["threshold"] == 1.0 and selection.metrics["kept_fraction"] == pytest.approx(3 / 7)


def test_every_answer_for_itself():
    selection = build_selector(selection_scope="sequence").select(build_batch(), ENTROPIES, seed=0)
    assert selection.kept.sum(1).tolist() == [2, 2, 0]


def test_answers_without_advantage_count_if_asked_for():
    selection = build_selector(count_zero_advantage=True).select(build_batch(), ENTROPIES, seed=0)
    assert selection.kept[2].tolist() == [True, True, False, False] and selection.counted.sum() == 9


def test_a_batch_carries_its_selection():
    """TRL cuts a rollout into micro-batches: each finds its own rows, and the numbers of the whole."""
    batch, selector = build_batch(), build_selector()
    assert Selection.read_from(batch) is None
    selection = selector.select(batch, ENTROPIES, seed=0)
    selection.write_to(batch)
    part = {name: value[:1] if value.dim() else value for name, value in batch.items()}
    found = Selection.read_from(part)
    assert torch.equal(found.kept, selection.kept[:1]) and torch.equal(found.counted, selection.counted[:1])
    assert (found.num_kept, found.batch_weight) == (3, 3.0) and found.metrics == selection.metrics


@pytest.mark.parametrize("normalizer, weight", [("kept", 3.0), ("all", 1.0)])
def test_dropped_tokens_have_no_advantage_and_kept_ones_are_weighted(normalizer, weight):
    selector, batch = build_selector(loss_normalizer=normalizer), build_batch()
    selection = selector.select(batch, ENTROPIES, seed=0)
    replaced = selector.weigh(batch, selection)
    assert set(replaced) == {"advantages"}
    torch.testing.assert_close(replaced["advantages"], batch["advantages"].unsqueeze(1) * selection.kept * weight)
    assert batch["advantages"].shape == (3,)  # the batch itself stays as it is


def test_nothing_is_replaced_where_nothing_is_dropped():
    selector = build_selector(top_entropy_quantile=1.0)
    assert selector.weigh(build_batch(), selector.select(build_batch(), ENTROPIES, seed=0)) == {}


def test_ratios_of_dropped_tokens_are_neutral():
    """An infinite ratio, or a large old log-probability, times an advantage of zero would be NaN."""
    batch = build_batch(
        importance_sampling_ratio=torch.full((3, 4), math.inf), old_per_token_logps=torch.full((3, 4), -90.0)
    )
    selector = build_selector()
    selection = selector.select(batch, ENTROPIES, seed=0)
    dense, sparse = (selector.weigh(batch, selection, scores_dropped=flag) for flag in (True, False))
    assert (dense["importance_sampling_ratio"][~selection.kept] == 1).all() and "old_per_token_logps" not in dense
    assert (sparse["old_per_token_logps"] == 0).logical_or(selection.kept).all()
    assert (sparse["old_per_token_logps"][selection.kept] == -90.0).all()


def test_sequence_level_ratios_are_narrowed_to_kept_tokens():
    selector = build_selector(importance_sampling_level="sequence", loss_type="grpo")
    batch = build_batch(tool_mask=torch.ones_like(MASK))
    selection = selector.select(batch, ENTROPIES, seed=0)
    assert torch.equal(selector.weigh(batch, selection)["tool_mask"].bool(), selection.kept)


def test_loss_metrics_are_over_kept_and_counted_tokens():
    selector, batch = build_selector(), build_batch(old_per_token_logps=torch.zeros(3, 4))
    selection = selector.select(batch, ENTROPIES, seed=0)
    batch |= selector.weigh(batch, selection)
    logps = torch.zeros(3, 4)
    logps[0, 1] = 1.0  # ratio e, advantage 1: clipped
    logps[0, 0] = 5.0  # dropped: no part in it
    found = selector.compute_loss_metrics(batch, selection, logps, ENTROPIES, get_loss_mask(build_batch()))
    assert found.clip_fraction == pytest.approx(1 / 3) and found.tokens_per_kept == pytest.approx(3.0)
    assert found.entropy == pytest.approx(ENTROPIES[selection.counted].mean().item())


def test_numbers_over_no_token_are_nan():
    batch, selector = build_batch(advantages=torch.zeros(3)), build_selector()
    selection = selector.select(batch, ENTROPIES, seed=0)
    assert selection.num_kept == 0 and selection.batch_weight.item() == 9.0
    found = selector.compute_loss_metrics(
        batch | selector.weigh(batch, selection), selection, torch.zeros(3, 4), ENTROPIES, get_loss_mask(batch)
    )
    assert all(map(math.isnan, (found.clip_fraction, found.entropy, found.tokens_per_kept)))


def test_random_draws_anew_with_the_seed():
    selector = build_selector(token_selection="random")
    kept = {tuple(selector.select(build_batch(), ENTROPIES, seed).kept.flatten().tolist()) for seed in range(8)}
    assert len(kept) > 3 and {sum(flags) for flags in kept} == {3}
