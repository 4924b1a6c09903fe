"""How the model that comes with the package was trained, and what it is good for."""

from random import Random

import pytest

from trl_forking.countdown import (
    MAX_COMPLETION_LENGTH,
    WORDS_PER_ATTEMPT,
    list_attempts,
    load_countdown_model,
    make_countdown_dataset,
    verify_countdown,
)
from trl_forking.countdown import warm_start as countdown_warm_start


def test_warm_start_draws_no_held_out_triple():
    random = Random(0)
    seen = set()
    for _ in range(20_000):
        nums, goal = countdown_warm_start.draw_problem(random)
        seen.add(tuple(sorted(nums)))
        assert any(attempt.endswith("yes") for attempt in list_attempts(nums, goal))
    held_out = {tuple(sorted(nums)) for nums in make_countdown_dataset("eval", 1771, seed=0)["nums"]}
    assert not seen & held_out
    assert len([triple for triple in seen if max(triple) <= 9]) == 131


def test_warm_start_searches_are_legal():
    random = Random(0)
    right = 0
    for problem in make_countdown_dataset("train", num_problems=300, seed=0):
        nums, goal = problem["nums"], problem["goal"]
        search = countdown_warm_start.draw_search(nums, goal, random)
        words = search.split()
        attempts = [" ".join(words[i : i + WORDS_PER_ATTEMPT]) for i in range(0, len(words), WORDS_PER_ATTEMPT)]
        assert set(attempts) <= set(list_attempts(nums, goal)) and len(words) < MAX_COMPLETION_LENGTH
        assert verify_countdown(search, nums, goal) == search.endswith("yes")
        assert search.endswith("yes") or len(attempts) == 3
        right += search.endswith("yes")
    assert 60 < right < 240


@pytest.mark.slow
def test_entropy_of_shipped_model_sits_at_the_forks():
    problems = make_countdown_dataset("eval", num_problems=512, seed=3)
    figures = countdown_warm_start.compute_figures(load_countdown_model(), problems, seed=0)
    assert figures["precision"] > 0.9
    assert figures["recall"] > 0.75
    assert figures["entropy held by the top 20 %"] > 0.9
