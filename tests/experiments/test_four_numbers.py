"""Countdown with four numbers: problems, searches, verifier, and a run of the smallest size."""

from random import Random

import pytest
import torch
from four_numbers import (
    FORK_OFFSETS,
    MAX_ATTEMPTS,
    WORDS_PER_ATTEMPT,
    Problem,
    draw_problem,
    is_held_out,
    list_derivations,
    verify,
    write_search,
)
from run_four_numbers import TINY, Searches, build_tokenizer, run, warm_start

from trl_forking.countdown import mark_forks


def test_a_search_is_right_if_it_ends_with_yes():
    random = Random(0)
    for index in range(200):
        problem = draw_problem(held_out=bool(index % 2), random=random)
        search = write_search(problem, 0.3, random)
        words = search.split()
        assert is_held_out(problem.nums) == bool(index % 2)
        assert len(words) % WORDS_PER_ATTEMPT == 0 and len(words) <= MAX_ATTEMPTS * WORDS_PER_ATTEMPT
        assert verify(search, problem) == (words[-1] == "yes")


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(" yes", " no"),
        lambda text: text + " yes",
        lambda text: text.rpartition(" ")[0],
        lambda text: text.replace("9 + 6", "6 + 9"),
        lambda text: f"{text} {text}",
        lambda text: "",
    ],
)
def test_a_changed_answer_is_wrong(change):
    right = "5 + 4 = 9 left 9 3 2 , 3 * 2 = 6 left 6 9 , 9 + 6 = 15 vs 15 yes"
    problem = Problem((3, 5, 2, 4), 15)
    assert verify(right, problem)
    assert not verify(change(right), problem)


def test_all_words_but_the_forks_follow_from_the_words_before():
    """Attempts that agree in all words up to a place have the same word there, unless the place is a fork."""
    nums = (2, 3, 5, 7)
    attempts = [f"{text} vs 17 {'yes' if value == 17 else 'no'}".split() for text, value in list_derivations(nums)]
    assert {len(words) for words in attempts} == {WORDS_PER_ATTEMPT}
    free = {
        place
        for place in range(WORDS_PER_ATTEMPT)
        for start in {tuple(words[:place]) for words in attempts}
        if len({words[place] for words in attempts if tuple(words[:place]) == start}) > 1
    }
    assert free == set(FORK_OFFSETS)
    assert [place for place, fork in enumerate(mark_forks(attempts[0], FORK_OFFSETS)) if fork] == list(FORK_OFFSETS)


@pytest.mark.slow
def test_the_script_runs_from_nothing_to_a_record(tmp_path):
    tokenizer = build_tokenizer()
    warm_start(TINY, tokenizer, tmp_path)
    record = run("top_20", 0, TINY, tmp_path, tokenizer)
    assert len(record["log"]["reward"]) == TINY.num_steps
    assert len(record["scores"]) == 2 * TINY.num_problems


def test_a_batch_of_searches_depends_on_its_index_alone():
    tokenizer = build_tokenizer()
    searches = Searches(TINY, tokenizer)
    assert len(searches) == TINY.num_warm_steps
    input_ids, labels = searches[3]
    assert all(map(torch.equal, searches[3], (input_ids, labels))) and not torch.equal(searches[4][0], input_ids)
    assert input_ids.shape == labels.shape and len(labels) == TINY.warm_batch
    for row, label in zip(input_ids, labels, strict=True):
        prompt, answer = row[:8], label[label != -100]
        assert tokenizer.decode(prompt[:1]) == "nums" and tokenizer.decode(answer[-1:]) == "<end>"
        assert torch.equal(row[8 : 8 + len(answer)], answer) and (label[:8] == -100).all()
