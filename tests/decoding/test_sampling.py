"""Drawing answers in batches and with processors. tests/analysis/test_collect.py has more about the samplers."""

import pytest
import torch

from helpers.tiny import EOS, build_model, build_tokenizer
from trl_forking.decoding import ForkTemperature
from trl_forking.decoding.sampling import SamplingSettings, TransformersSampler


PROMPTS = [[3], [4, 5, 6], [7, 8], [9], [10, 11]]
SETTINGS = SamplingSettings(num_generations=3, max_completion_length=8)


def build_sampler(*processors, settings=SETTINGS) -> TransformersSampler:
    return TransformersSampler(build_model(), build_tokenizer(), settings, processors)


def test_the_seed_decides_and_the_random_state_of_the_caller_stays():
    sampler = build_sampler()
    torch.manual_seed(7)
    state = torch.get_rng_state()
    first = sampler.sample(PROMPTS, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(8)
    assert sampler.sample(PROMPTS, seed=1) == first != sampler.sample(PROMPTS, seed=2)
    assert [len(answers) for answers in first] == [3] * 5
    assert all(EOS not in answer[:-1] and 1 <= len(answer) <= 8 for answers in first for answer in answers)


def test_batches_draw_on_in_one_random_sequence():
    sampler = build_sampler()
    answers = sampler.sample(PROMPTS, seed=1, batch_size=2)
    assert answers[:2] == sampler.sample(PROMPTS[:2], seed=1)  # the first batch
    assert [len(part) for part in answers] == [3] * 5
    assert answers != sampler.sample(PROMPTS, seed=1)
    same = sampler.sample([[3], [3]], seed=1, batch_size=1)
    assert same[0] != same[1]  # the second batch does not begin the sequence again
    assert sampler.sample(PROMPTS, seed=1, batch_size=5) == sampler.sample(PROMPTS, seed=1)
    assert sampler.sample([], seed=1) == []


class Forbid:
    """Lets one token through only."""

    def __init__(self, token: int):
        self.token, self.num_calls = token, 0

    def __call__(self, input_ids, scores):
        self.num_calls += 1
        return torch.full_like(scores, -torch.inf).index_fill(1, torch.tensor([self.token]), 0.0)


def test_processors_change_what_is_drawn():
    forbid = Forbid(12)
    assert build_sampler(forbid).sample(PROMPTS, seed=1, batch_size=2) == [[[12] * 8] * 3] * 5
    assert forbid.num_calls == 3 * 8


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_fork_temperature_draws_as_the_plain_temperature_where_both_are_equal(temperature):
    plain = build_sampler(settings=SamplingSettings(3, 8, temperature))
    forks = build_sampler(ForkTemperature(1.0, temperature, temperature))
    assert forks.sample(PROMPTS, seed=1) == plain.sample(PROMPTS, seed=1)
