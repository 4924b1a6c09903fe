"""Dynamic sampling without a trainer: which groups are informative, which prompts are drawn, which groups stay."""

import math
import random

import pytest
import torch
from datasets import Dataset
from trl.trainer.utils import RepeatSampler

from trl_forking.rollout.dynamic_sampling import DynamicSampler, fill_batch
from trl_forking.rollout.groups import find_informative_groups
from trl_forking.rollout.prompt_stream import PromptStream, ResumableSampler
from trl_forking.rollout.tape import Answer


def find_informative_groups_by_hand(rewards: list[list[float]], weights: list[float], size: int) -> list[bool]:
    """Loops over groups; rewards here are multiples of 1/4, so that equal means equal."""
    informative = []
    for start in range(0, len(rewards), size):
        totals = [
            sum(w * r for w, r in zip(weights, row, strict=True) if not math.isnan(r))
            for row in rewards[start : start + size]
            if not all(map(math.isnan, row))
        ]
        informative.append(len(set(totals)) > 1)
    return informative


@pytest.mark.parametrize("seed", range(20))
def test_informative_groups_are_those_of_the_loops(seed):
    source = random.Random(seed)
    size, num_functions = source.choice([2, 3, 8]), source.choice([1, 2, 3])
    values = [0.0, 0.25, 1.0, math.nan]
    rewards = [[source.choice(values) for _ in range(num_functions)] for _ in range(size * 50)]
    for start in range(0, len(rewards), 5 * size):  # some groups are all equal
        rewards[start : start + size] = [rewards[start]] * size
    weights = [source.choice([0.5, 1.0, 2.0]) for _ in range(num_functions)]
    informative = find_informative_groups(torch.tensor(rewards), torch.tensor(weights), size)
    assert informative.tolist() == find_informative_groups_by_hand(rewards, weights, size)
    assert informative.any() and not informative.all()


@pytest.mark.parametrize("scale", [1e-6, 0.1, 1.0, 3e7])
def test_rounding_is_no_difference_and_a_thousandth_is(scale):
    generator = torch.Generator().manual_seed(0)
    rewards = scale * torch.rand(1, 3, generator=generator).repeat(8, 1)
    permuted = torch.stack(
        [row[torch.randperm(3, generator=generator)] for row in rewards]
    )  # another order of the sum
    noisy = permuted * (1 + 2.0**-22 * torch.randint(-1, 2, (8, 3), generator=generator))
    assert len(set(noisy.sum(1).tolist())) > 1
    assert not find_informative_groups(noisy, torch.ones(3), 8).any()
    noisy[3, 0] *= 1.001
    assert find_informative_groups(noisy, torch.ones(3), 8).all()


def test_terms_that_cancel_leave_no_difference():
    """1000 - 999.9 in fp32 has an error far above that of 0.1: what counts is the size of the terms."""
    rewards = torch.tensor([[1000.0, -999.9], [1000.0, -999.9000244140625]])
    assert not find_informative_groups(rewards, torch.ones(2), 2).any()


@pytest.mark.parametrize("aggregation", ["sum_then_normalize", "normalize_then_sum"])
def test_functions_that_return_none(aggregation):
    nan = math.nan
    groups = {
        "an answer without a reward does not differ": ([[1.0, nan], [nan, nan], [1.0, nan]], False),
        "nor do answers of which none has one": ([[nan, nan]] * 3, False),
        "one reward is not a difference": ([[1.0, nan], [nan, nan], [nan, nan]], False),
        "two are": ([[1.0, nan], [0.0, nan], [nan, nan]], True),
        "whatever the other function says": ([[1.0, 0.5], [0.0, 0.5], [nan, 0.5]], True),
    }
    for rewards, is_informative in groups.values():
        assert find_informative_groups(torch.tensor(rewards), torch.ones(2), 3, aggregation).tolist() == [
            is_informative
        ], rewards


def test_normalized_rewards_differ_where_their_sum_does_not():
    rewards = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [0.25, 0.75]])
    weights = torch.tensor([1.0, 1.0])
    assert not find_informative_groups(rewards, weights, 4).any()
    assert not find_informative_groups(
        rewards, weights, 4, "normalize_then_sum"
    ).any()  # mirror images cancel here too
    assert find_informative_groups(rewards, torch.tensor([1.0, 2.0]), 4, "normalize_then_sum").all()
    noise = torch.tensor([[0.3, 1.0], [0.3 + 3e-8, 1.0], [0.3, 1.0], [0.3, 1.0]])
    assert not find_informative_groups(noise, weights, 4, "normalize_then_sum").any()


@pytest.mark.parametrize("shuffle", [True, False])
def test_stream_has_the_order_of_trls_sampler(shuffle):
    sampler = RepeatSampler(range(12), mini_repeat_count=1, batch_size=4, shuffle=shuffle, seed=7)
    stream = PromptStream(12, seed=7, shuffle=shuffle)
    for _ in range(3):  # epochs
        assert stream.take(12) == list(sampler)


def test_stream_hands_out_each_prompt_once_in_a_pass():
    stream, source, taken = PromptStream(50, seed=3), random.Random(0), []
    while len(taken) < 200:
        taken += stream.take(source.randint(1, 17))
    for epoch in range(4):
        assert sorted(taken[50 * epoch : 50 * (epoch + 1)]) == list(range(50))


def test_stream_goes_on_from_its_state():
    stream = PromptStream(10, seed=0, num_epochs=3)
    stream.take(13)
    stream.put_back = [4, 2]
    resumed = PromptStream(10, seed=0, num_epochs=3)
    resumed.load_state_dict(stream.state_dict())
    assert resumed.count_remaining() == stream.count_remaining() == 19
    taken = resumed.take(9)
    assert taken == stream.take(9)
    assert taken[:2] == [4, 2]  # what was put back comes first


@pytest.mark.parametrize(("size", "seed", "message"), [(12, 0, "num_prompts is 12, and was 10"), (10, 1, "seed is 1")])
def test_stream_of_other_prompts_is_not_taken_up(size, seed, message):
    stream = PromptStream(size, seed)
    with pytest.raises(ValueError, match=message):
        stream.load_state_dict(PromptStream(10, seed=0).state_dict())
    assert stream.position == 0


def test_stream_beyond_its_end_has_what_was_put_back():
    stream = PromptStream(4, seed=0, num_epochs=1)
    stream.take(7)  # a first round is not optional
    stream.put_back = [2]
    assert stream.count_remaining() == 1
    stream.restart()
    assert stream.count_remaining() == 4 and stream.take(4) == PromptStream(4, seed=0).take(4)


def test_sampler_depends_on_the_epoch_alone():
    def build():
        return RepeatSampler(range(10), mini_repeat_count=2, batch_size=5, repeat_count=3, seed=1)

    continued = build()
    orders = [list(continued) for _ in range(3)]
    resumable = [list(ResumableSampler(build(), lambda epoch=epoch: epoch)) for epoch in range(3)]
    assert resumable == orders
    assert list(build()) != orders[1]  # what TRL's own gives to a process that begins in the second epoch
    assert len(ResumableSampler(build(), int)) == len(build()) == len(orders[0])


def run_fill(
    informative_share: float, seed: int, num_groups: int = 16, max_rounds: int = 10, multiple: int = 1, **stream
):
    """Fill a batch; the group of a prompt is always informative or never."""
    stream = PromptStream(**({"num_prompts": 1000, "seed": seed} | stream))
    asked = []

    def is_informative(prompt: int) -> bool:
        return random.Random(prompt * 1_000_003 + seed).random() < informative_share

    def roll_out(prompts: list[int]) -> list[bool]:
        asked.append(prompts)
        return [is_informative(prompt) for prompt in prompts]

    filling = fill_batch(num_groups, max_rounds, stream, roll_out, multiple)
    return filling, asked, stream, is_informative


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("informative_share", [0.0, 0.05, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("multiple", [1, 4])
def test_batch_is_filled_with_groups_that_teach(informative_share, seed, multiple):
    filling, asked, stream, is_informative = run_fill(informative_share, seed, multiple=multiple)
    found = [prompt for prompts in asked for prompt in prompts if is_informative(prompt)]
    batch = [asked[number][group] for number, group in filling.slots]
    assert len(batch) == len(set(filling.slots)) == 16
    assert len(sum(asked, [])) == len(set(sum(asked, [])))  # no prompt twice
    assert all(len(prompts) % multiple == 0 for prompts in asked)
    # Nothing that was found is lost: it is in the batch, or, if there was no place, its prompt comes again.
    assert sorted([prompt for prompt in batch if is_informative(prompt)] + filling.put_back) == sorted(found)
    assert stream.put_back == filling.put_back
    assert filling.num_informative == min(16, len(found)) == sum(map(is_informative, batch))
    assert len(asked) == 10 or filling.num_informative == 16
    # Each round asks for what is missing, at the share of informative groups so far.
    missing, share = 16, 1.0
    for number, prompts in enumerate(asked):
        expected = missing / share if share else 16
        assert min(expected, 16) <= len(prompts) < min(expected + multiple, 17)
        missing -= min(missing, sum(map(is_informative, prompts)))
        share = sum(is_informative(prompt) for prompts in asked[: number + 1] for prompt in prompts) / len(
            sum(asked[: number + 1], [])
        )


def test_what_is_left_takes_the_last_zero_variance_groups():
    filling, asked, _, is_informative = run_fill(0.2, seed=0, max_rounds=2)
    zero_variance = [
        (number, group)
        for number, prompts in enumerate(asked)
        for group, prompt in enumerate(prompts)
        if not is_informative(prompt)
    ]
    unfilled = 16 - filling.num_informative
    assert unfilled > 0
    assert sorted(slot for slot in filling.slots if slot in zero_variance) == zero_variance[-unfilled:]


def test_informative_groups_of_the_first_round_keep_their_slots():
    filling, asked, _, is_informative = run_fill(0.5, seed=1)
    for group, prompt in enumerate(asked[0]):
        assert (filling.slots[group] == (0, group)) == is_informative(prompt)


def test_refilling_stops_where_the_prompts_of_all_passes_end():
    filling, asked, stream, _ = run_fill(0.1, seed=0, num_prompts=20, num_epochs=1.0)
    assert len(sum(asked, [])) == 20
    assert stream.count_remaining() == 0
    assert filling.num_informative < 16
    filling, asked, stream, _ = run_fill(0.1, seed=0, num_prompts=19, num_epochs=1.0, multiple=4)
    assert len(sum(asked, [])) == 16 and stream.count_remaining() == 3


def test_shares():
    filling, asked, _, is_informative = run_fill(0.5, seed=2)
    assert filling.zero_variance_share == 1 - sum(map(is_informative, asked[0])) / 16
    assert filling.informative_share == 16 / len(sum(asked, []))


@pytest.mark.parametrize(("num_ranks", "size"), [(1, 4), (2, 4), (4, 2), (8, 4), (8, 6), (3, 4)])
def test_ranks_agree_and_hold_the_batch_of_one_process(num_ranks, size, monkeypatch):
    """Ranks one after the other, without processes: every third group is informative, and answers are handed over."""
    dataset = Dataset.from_dict({"prompt": [str(number) for number in range(500)]})
    leaving: list = []
    monkeypatch.setattr(
        "trl_forking.rollout.dynamic_sampling.gather_object", lambda items: leaving.extend(items) or leaving
    )

    def run(rank: int, ranks: int) -> tuple[list[str], torch.Tensor]:
        sampler = DynamicSampler(
            dataset, PromptStream(500, seed=5), 12, size, max_rounds=50, rank=rank, num_ranks=ranks
        )
        order = PromptStream(500, seed=5)

        def roll_out(rows: list[dict]) -> tuple[list[Answer], torch.Tensor, torch.Tensor]:
            prompts = order.take(len(rows) * ranks // size)  # of all ranks
            rewards = torch.tensor([[float(n == 0 and prompt % 3 == 0)] for prompt in prompts for n in range(size)])
            first = rank * len(rows)
            texts = [f"{row['prompt']}/{(first + index) % size}" for index, row in enumerate(rows)]
            answers = [Answer(row, {"completions": text}) for row, text in zip(rows, texts, strict=True)]
            return answers, rewards, find_informative_groups(rewards, torch.ones(1), size)

        rollout = sampler.fill(roll_out)
        return [answer.generated["completions"] for answer in rollout.answers], rollout.rewards_per_func

    for rank in range(num_ranks):
        run(rank, num_ranks)  # fills `leaving`, as the other ranks would by now
    parts = [run(rank, num_ranks) for rank in range(num_ranks)]
    batch = [text for part, _ in parts for text in part]
    if size % num_ranks == 0:  # else rounds are rounded up to what the ranks can share
        assert batch == run(0, 1)[0]
    assert all(len(part) == 12 * size // num_ranks for part, _ in parts)
    for start in range(0, len(batch), size):
        prompt = batch[start].split("/")[0]
        assert batch[start : start + size] == [f"{prompt}/{sample}" for sample in range(size)]
        assert int(prompt) % 3 == 0
    assert all(torch.equal(rewards, parts[0][1]) for _, rewards in parts)
