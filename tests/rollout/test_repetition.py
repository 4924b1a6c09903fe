"""The share of repeated answers, against an obvious count."""

import random

import pytest
import torch

from trl_forking.rollout.repetition import compute_repeated_share, digest_answers


@pytest.mark.parametrize("seed", range(5))
def test_the_share_is_that_of_an_obvious_count(seed):
    source = random.Random(seed)
    size = source.randint(2, 6)
    groups = [[tuple(source.choices(range(3), k=source.randint(1, 3))) for _ in range(size)] for _ in range(4)]
    answers = [answer for group in groups for answer in group]
    ids, mask = torch.zeros(len(answers), 5, dtype=torch.int64), torch.zeros(len(answers), 5, dtype=torch.int64)
    for row, answer in enumerate(answers):
        ids[row, : len(answer)], mask[row, : len(answer)] = torch.tensor(answer), 1
        ids[row, len(answer) :] = source.randint(0, 9)  # padding does not count
    expected = sum(answer in group[:place] for group in groups for place, answer in enumerate(group)) / len(answers)
    assert compute_repeated_share(digest_answers(ids, mask), size) == pytest.approx(expected)


def test_the_same_answer_to_another_prompt_is_no_repetition():
    assert compute_repeated_share(torch.tensor([1, 2, 1, 2]), num_generations=2) == 0.0
    assert compute_repeated_share(torch.tensor([1, 1, 1, 1]), num_generations=2) == 0.5
