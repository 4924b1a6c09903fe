"""Rows that move between two processes arrive as they were, and nothing else is sent."""

import pytest
import torch

from helpers.processes import run_steps
from trl_forking.update.exchange import exchange_rows
from trl_forking.update.micro_batches import take_rows
from workers.exchange_worker import build_part


NUM_ROWS = 6
STAYS = [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
SWAPS = [[6, 7, 8, 9, 10, 11], [0, 1, 2, 3, 4, 5]]
SETTINGS = [
    {"seed": 0, "plan": [[0, 2, 7, 9, 11], [1, 3, 4, 5, 6, 8, 10]]},
    {"seed": 1, "plan": [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10], [11]]},  # one way only
    {"seed": 2, "plan": SWAPS, "dtype": "bfloat16"},
    {"seed": 3, "plan": STAYS},
]


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> list[dict]:
    return run_steps("exchange_worker.py", tmp_path_factory.mktemp("exchange") / "records.pt", SETTINGS)


def get_expected(settings: dict, place: int) -> dict[str, torch.Tensor]:
    """The row by slices: a prompt without what stands on its left, an answer without what stands on its right."""
    part = build_part(place // NUM_ROWS, settings["seed"], dtype=settings.get("dtype", "float32"))
    row = place % NUM_ROWS
    prompt, answer = int(part["prompt_mask"][row].sum()), max(int(part["completion_mask"][row].sum()), 1)
    cut = {name: value[row] for name, value in part.items() if value.dim()}
    for name, value in cut.items():
        if name.startswith("prompt_"):
            cut[name] = value[-prompt:]
        elif len(value.shape) and name != "importance_sampling_ratio":
            cut[name] = value[:answer]
    return cut


@pytest.mark.slow
@pytest.mark.parametrize("index", range(len(SETTINGS)))
def test_every_row_arrives_as_it_was_and_only_moved_rows_are_sent(records, index):
    settings, record = SETTINGS[index], records[index]
    for rank in range(2):
        rows = record["ranks"][rank]["rows"]
        assert sorted(rows) == sorted(settings["plan"][rank])
        moved_away = [place for place in range(rank * NUM_ROWS, (rank + 1) * NUM_ROWS) if place not in rows]
        for place, row in rows.items():
            expected = get_expected(settings, place)
            assert row.keys() == expected.keys()
            for name, value in expected.items():
                arrived = row[name][-len(value) :] if name.startswith("prompt_") else row[name]
                assert arrived.dtype == value.dtype and torch.equal(arrived, value), (place, name)
        num_bytes = sum(
            value.numel() * value.element_size() for p in moved_away for value in get_expected(settings, p).values()
        )
        assert record["ranks"][rank]["bytes"] == num_bytes
        assert record["ranks"][rank]["calls"] == (0 if settings["plan"] == STAYS else 9)


def test_nothing_is_called_where_nothing_moves():
    """Without a process group: a call would fail."""
    part = build_part(0, seed=0)
    sizes = torch.ones(2, NUM_ROWS, 2, dtype=torch.long)
    rows = exchange_rows(take_rows(part), part, sizes, STAYS, rank=0)
    assert sorted(rows) == STAYS[0] and rows[3]["row_ids"] == 3
