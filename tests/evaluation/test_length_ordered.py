"""Answers in rounds: the same distribution as in one go, batches without waiting, and the same answers for the same seed."""

import numpy as np
import pytest
import torch

from helpers.tiny import build_model, build_tokenizer
from trl_forking.countdown import load_countdown_model, load_countdown_tokenizer, make_countdown_dataset
from trl_forking.decoding.sampling import SamplingSettings, TransformersSampler
from trl_forking.evaluation.length_ordered import LengthOrderedSampler


@pytest.fixture(scope="module")
def countdown():
    return load_countdown_model(), load_countdown_tokenizer()


def get_prompts(tokenizer, number):
    return tokenizer(list(make_countdown_dataset("eval", number, 0)["prompt"]))["input_ids"]


@pytest.mark.slow
def test_rounds_draw_from_the_same_distribution(countdown):
    """First words and lengths of answers that rounds of 5 tokens draw, against answers in one go."""
    model, tokenizer = countdown
    (prompt,) = get_prompts(tokenizer, 1)
    settings = SamplingSettings(num_generations=600, max_completion_length=52)
    (rounds,) = LengthOrderedSampler(model, tokenizer, settings, 100, first_round=5).sample([prompt], seed=1)
    (whole,) = TransformersSampler(model, tokenizer, settings).sample([prompt], seed=2)
    for feature in (lambda answer: answer[0], lambda answer: answer[10], len):
        values = sorted({*map(feature, rounds), *map(feature, whole)})
        shares = [
            np.array([[*map(feature, answers)].count(value) for value in values]) / 600 for answers in (rounds, whole)
        ]
        assert np.abs(shares[0] - shares[1]).max() < 0.09  # four standard errors


def test_the_seed_decides(countdown):
    model, tokenizer = countdown
    settings = SamplingSettings(num_generations=3, max_completion_length=52)
    sampler = LengthOrderedSampler(model, tokenizer, settings, batch_size=4, first_round=8)
    prompts, state = get_prompts(tokenizer, 3), torch.get_rng_state()
    answers = sampler.sample(prompts, seed=1)
    assert answers == sampler.sample(prompts, seed=1) != sampler.sample(prompts, seed=2)
    assert torch.equal(state, torch.get_rng_state())
    assert [len(group) for group in answers] == [3, 3, 3]


def test_an_answer_ends_once_and_no_answer_is_longer_than_the_limit(countdown):
    model, tokenizer = countdown
    sampler = LengthOrderedSampler(model, tokenizer, SamplingSettings(8, 30), batch_size=5, first_round=7)
    answers = [answer for group in sampler.sample(get_prompts(tokenizer, 4), seed=0) for answer in group]
    (end,) = sampler.eos_token_ids
    assert all(answer.count(end) <= 1 and end not in answer[:-1] and len(answer) <= 30 for answer in answers)
    assert all(len(answer) == 30 for answer in answers if answer[-1] != end)
    assert {answer[-1] == end for answer in answers} == {True, False}


class RecordingModel:
    """Stands in for `TransformersSampler` in a test of which rows are continued together."""

    lengths = {1: 3, 2: 20, 3: 9, 4: 30}  # by the first token of the prompt

    def __init__(self, model, tokenizer, settings, calls):
        self.step, self.calls = settings.max_completion_length, calls

    def sample(self, prompt_ids, seed):
        self.calls.append((self.step, [len(prompt) for prompt in prompt_ids]))
        return [[self.draw(prompt)] for prompt in prompt_ids]

    def draw(self, prompt):
        done, length = len(prompt) - prompt[0], self.lengths[prompt[0]]  # the prompt has as many tokens as it says
        tokens = [7] * min(self.step, length - done)
        return tokens if done + len(tokens) < length else [*tokens[:-1], 99]


def test_only_answers_that_have_not_ended_are_continued(monkeypatch):
    calls, ended = [], []
    monkeypatch.setattr(
        "trl_forking.evaluation.length_ordered.TransformersSampler", lambda *args: RecordingModel(*args, calls)
    )
    sampler = LengthOrderedSampler(
        build_model(), build_tokenizer(), SamplingSettings(1, 24), batch_size=2, first_round=4
    )
    sampler.eos_token_ids = [99]
    answers = sampler.sample([[number] * number for number in (1, 2, 3, 4)], 0, ended.append)
    assert [len(answer) for (answer,) in answers] == [3, 20, 9, 24] and sum(ended) == 4
    assert calls[0] == (4, [4, 3]) and calls[1] == (4, [2, 1])  # the longest first
    assert [sum(len(rows) for step, rows in calls if step == each) for each in dict(calls)] != []
    steps = [step for step, _ in calls]
    assert steps == sorted(steps[:-1]) + steps[-1:] and max(steps) <= 12
    assert all(lengths == sorted(lengths, reverse=True) for _, lengths in calls)
    assert sum(len(lengths) for _, lengths in calls) < 4 * len(dict.fromkeys(steps)) * 2


def test_a_model_without_an_end_stops_at_the_limit(countdown):
    model, tokenizer = countdown
    sampler = LengthOrderedSampler(model, tokenizer, SamplingSettings(2, 11), first_round=4)
    sampler.eos_token_ids = []
    counted = []
    (answers,) = sampler.sample(get_prompts(tokenizer, 1), 0, counted.append)
    assert all(len(answer) <= 11 for answer in answers) and sum(counted) == 2


def test_wrong_numbers():
    with pytest.raises(ValueError, match="batch_size and first_round must be at least 1"):
        LengthOrderedSampler(build_model(), build_tokenizer(), SamplingSettings(), batch_size=0)
