"""Rows that are taken out of parts of a rollout and put together again are what they were."""

import pytest
import torch

from trl_forking.update.micro_batches import build_micro_batch, take_rows


PAD = 7


def build_part() -> dict:
    """Four answers of 2, 5, 1 and 0 tokens, the last one a masked truncated answer."""
    lengths = torch.tensor([2, 5, 1, 0])
    mask = (torch.arange(5) < lengths.unsqueeze(1)).long()
    values = torch.arange(20.0).view(4, 5)
    return {
        "prompt_ids": torch.tensor([[PAD, 3, 4], [5, 6, 8], [PAD, PAD, 9], [PAD, 3, 3]]),
        "prompt_mask": torch.tensor([[0, 1, 1], [1, 1, 1], [0, 0, 1], [0, 1, 1]]),
        "completion_ids": torch.where(mask.bool(), torch.arange(20).view(4, 5) + 10, PAD),
        "completion_mask": mask,
        "old_per_token_logps": values * mask,
        "importance_sampling_ratio": torch.where(mask.bool(), values, 1.0),
        "tool_mask": torch.ones(4, 5, dtype=torch.long),
        "kept": mask.bool(),
        "advantages": torch.tensor([0.5, -0.5, 1.0, 0.0]),
        "row_ids": torch.tensor([8, 9, 10, 11]),
        "num_items_in_batch": torch.tensor(8),
        "forking/threshold": torch.tensor(0.7, dtype=torch.float64),
    }


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [1, 0], [2], [3, 2]])
def test_rows_keep_what_they_have(order):
    part = build_part()
    rows = take_rows(part)
    batch = build_micro_batch([rows[place] for place in order], len(order), part, PAD)
    width = max(1, *[int(part["completion_mask"][row].sum()) for row in order])
    assert batch.keys() == part.keys() and batch["completion_ids"].size(1) == width
    for name, value in part.items():
        assert batch[name].dtype == value.dtype
        expected = value[order] if value.dim() else value
        is_answer = value.dim() == 2 and not name.startswith("prompt_")
        assert torch.equal(batch[name], expected[:, :width] if is_answer else expected), name


def test_ratios_of_answers_stay_one_column():
    part = build_part() | {"importance_sampling_ratio": torch.tensor([[0.5], [2.0], [1.0], [1.0]])}
    batch = build_micro_batch(take_rows(part)[:2], 3, part, PAD)
    assert batch["importance_sampling_ratio"].tolist() == [[0.5], [2.0], [1.0]]


@pytest.mark.parametrize("num_real", [0, 2])
def test_empty_rows_have_no_token_and_no_part_in_a_loss(num_real):
    part = build_part()
    batch = build_micro_batch(take_rows(part)[:num_real], 4, part, PAD)
    empty = slice(num_real, 4)
    for name in ("prompt_mask", "completion_mask", "kept", "advantages", "old_per_token_logps"):
        assert not batch[name][empty].any(), name
    assert (batch["prompt_ids"][empty] == PAD).all() and (batch["completion_ids"][empty] == PAD).all()
    assert (batch["importance_sampling_ratio"][empty] == 1).all()  # the loss takes its logarithm
    assert (batch["row_ids"][empty] == -1).all() and batch["row_ids"][:num_real].tolist() == [8, 9][:num_real]
    assert batch["completion_ids"].size(1) >= 1 and batch["prompt_ids"].size(1) >= 1
