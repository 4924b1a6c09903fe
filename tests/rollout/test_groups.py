"""A group is informative if the advantages that will be trained are, in float32 and however they are scaled."""

import math
import random
from fractions import Fraction

import pytest
import torch

from helpers.tiny import NUM_GENERATIONS, build_trainer, record_rollouts, roll_out
from trl_forking.rollout.groups import compute_advantages, find_informative_groups


SCALES = ("group", "batch", "none")
EXTREMES = [0.0, 1.0, -1.0, 0.5, 1e-3, 1e-20, 1e-38, 1e-42, -1e-42, 1e-45, 1e10, -1e14, 1e15, 3e-39, 0.3, math.nan]


def draw_rewards(source: random.Random, num_functions: int, values: list[float]) -> torch.Tensor:
    """Sixteen groups; a third of them are all equal, and a third differ in one answer."""
    rows = []
    for _ in range(16):
        kind, base = source.randrange(3), [source.choice(values) for _ in range(num_functions)]
        group = [list(base) for _ in range(NUM_GENERATIONS)]
        if kind == 1:
            group[source.randrange(NUM_GENERATIONS)] = [source.choice(values) for _ in range(num_functions)]
        if kind == 2:
            group = [[source.choice(values) for _ in range(num_functions)] for _ in group]
        rows += group
    return torch.tensor(rows)


class Scripted:
    """A reward function whose values are set from outside."""

    __name__ = "scripted"

    def __call__(self, completions, **kwargs):
        return [None if math.isnan(value) else value for value in self.values]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("aggregation", ["sum_then_normalize", "normalize_then_sum"])
def test_advantages_are_those_that_trl_trains(tmp_path, scale, aggregation):
    """With rho 1.0 this library silences nothing."""
    source, functions = random.Random(0), [Scripted(), Scripted()]
    settings = {"scale_rewards": scale, "multi_objective_aggregation": aggregation, "reward_weights": [1.0, 0.3]}
    trainer = build_trainer(str(tmp_path), top_entropy_quantile=1.0, reward_funcs=functions, **settings)
    for _ in range(12):
        rewards = draw_rewards(source, 2, EXTREMES)
        for column, function in enumerate(functions):
            function.values = rewards[:, column].tolist()
        trained = roll_out(trainer)["advantages"]
        ours = compute_advantages(rewards, trainer.reward_weights, NUM_GENERATIONS, aggregation, scale)
        assert torch.equal(ours, trained), (
            f"TRL's advantages with {settings} are no longer those of compute_advantages, which finds informative groups."
        )


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("seed", range(10))
def test_a_group_is_informative_if_its_advantages_are(scale, seed):
    """Against exact fractions: the rewards differ by more than rounding, and float32 has an advantage for it."""
    source = random.Random(seed)
    rewards = draw_rewards(source, 1, EXTREMES)
    informative = find_informative_groups(rewards, torch.ones(1), NUM_GENERATIONS, scale_rewards=scale)
    advantages = compute_advantages(rewards, torch.ones(1), NUM_GENERATIONS, scale_rewards=scale)
    for group, flag in enumerate(informative.tolist()):
        part = slice(group * NUM_GENERATIONS, (group + 1) * NUM_GENERATIONS)
        values = [Fraction(value) for value in rewards[part, 0].tolist() if not math.isnan(value)]
        spread = max(values) - min(values) if values else 0
        differs = spread > Fraction(1e-5) * max(map(abs, values), default=0)
        is_trained = advantages[part].abs().max().item() >= torch.finfo(torch.float32).tiny
        assert flag == (differs and is_trained), (rewards[part, 0].tolist(), advantages[part].tolist())
    assert informative.any() and not informative.all()


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("value", [-math.inf, math.inf, 3e38, 1e-42, 1e-45])
def test_what_float32_has_no_advantage_for_is_no_difference(scale, value):
    """Of the group with infinity nothing is left, and the advantages of 1e-42 are below the normal numbers."""
    rewards = torch.tensor([[0.0], [0.0], [0.0], [value], [0.0], [1.0], [0.0], [1.0]])
    first = find_informative_groups(rewards, torch.ones(1), 4, scale_rewards=scale)[0].item()
    assert first == (value == 3e38 and scale == "none")
    if math.isfinite(value) and value < 1:
        assert find_informative_groups(rewards, torch.ones(1), 4, scale_rewards=scale)[1]


@pytest.mark.parametrize("scale", SCALES)
def test_dynamic_sampling_replaces_such_groups(tmp_path, scale):
    """Half of the prompts have rewards that differ by a denormal number: none of their groups is trained."""

    def reward(completion_ids, number, **kwargs):
        unit = [1e-42 if n % 2 else 1.0 for n in number]
        return [len(ids) % 2 * size for ids, size in zip(completion_ids, unit, strict=True)]

    trainer = build_trainer(
        str(tmp_path), reward_funcs=reward, dynamic_sampling=True, scale_rewards=scale, per_device_train_batch_size=8,
        gradient_accumulation_steps=2,
    )  # fmt: skip
    rollouts = record_rollouts(trainer)
    trainer.train()
    numbers = {row["number"] for row in rollouts[0].inputs}
    assert numbers and all(number % 2 == 0 for number in numbers)
    assert all(rollouts[0].batch["advantages"].view(-1, NUM_GENERATIONS).abs().amax(1) > 0)
