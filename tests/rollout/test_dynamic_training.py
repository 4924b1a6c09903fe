"""Dynamic sampling in the trainer: what is trained, what is logged, what is passed on, and when it does nothing."""

import math
from collections import Counter

import pytest
import torch
from datasets import Dataset, IterableDataset

from helpers.tiny import (
    NUM_GENERATIONS,
    NUM_PROMPTS,
    build_answer,
    build_dataset,
    build_trainer,
    compute_weight_change,
    replay_fixed_answers,
    reward_fixed,
)
from trl_forking import ForkingGRPOConfig
from trl_forking.run.checkpoints import is_complete


ZERO_VARIANCE = {number for number in range(NUM_PROMPTS) if number % 4 == 0}  # by `reward_fixed`, at least


def has_zero_variance(number: int) -> bool:
    answers = [build_answer(number, sample) for sample in range(NUM_GENERATIONS)]
    return len(set(reward_fixed(answers, [number] * NUM_GENERATIONS))) == 1


class Recorder:
    """A reward that notes which prompts were answered, by call."""

    def __init__(self, reward=reward_fixed):
        self.reward, self.rounds, self.__name__ = reward, [], "recorded"

    def __call__(self, number, **kwargs):
        self.rounds.append(list(dict.fromkeys(number)))
        return self.reward(number=number, **kwargs)


def build(tmp_path, **settings):
    """Rollouts of four prompts."""
    defaults = {"gradient_accumulation_steps": 2, "max_steps": 3, "learning_rate": 0.1, "dynamic_sampling": True}
    return build_trainer(tmp_path, **(defaults | settings))


class Batches(list):
    """The batches of recorded rollouts, with the numbers of their prompts."""

    def __getitem__(self, index):
        return dict(
            super().__getitem__(index).batch, numbers=[row["number"] for row in super().__getitem__(index).inputs]
        )

    def __iter__(self):
        return (self[index] for index in range(len(self)))


def record_batches(trainer) -> Batches:
    batches, make_rollout = Batches(), trainer.make_rollout

    def record(inputs):
        batches.append(make_rollout(inputs))
        return list.__getitem__(batches, -1)

    trainer.make_rollout = record
    return batches


def get_logs(trainer) -> list[dict]:
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def test_every_trained_group_is_informative(tmp_path):
    rewards = Recorder()
    trainer = build(tmp_path, reward_funcs=rewards)
    batches = record_batches(trainer)
    trainer.train()
    assert len(batches) == 3
    consumed = 0
    for batch, entry in zip(batches, get_logs(trainer), strict=True):
        assert not any(has_zero_variance(number) for number in batch["numbers"])
        assert set(Counter(batch["numbers"]).values()) == {NUM_GENERATIONS}  # whole groups
        advantages = batch["advantages"].view(-1, NUM_GENERATIONS)
        assert (advantages != 0).any(1).all()
        assert entry["frac_reward_zero_std"] == 0.0
        rounds = rewards.rounds[: int(entry["forking/sampling_rounds"])]
        rewards.rounds = rewards.rounds[len(rounds) :]
        prompts = [number for numbers in rounds for number in numbers]
        consumed += len(prompts) - (
            sum(not has_zero_variance(number) for number in prompts) - 4
        )  # those beyond 4 come again
        assert entry["forking/prompts_consumed"] == consumed
        assert entry["forking/informative_groups"] == pytest.approx(4 / len(prompts))
        assert entry["forking/zero_variance_groups"] == pytest.approx(sum(map(has_zero_variance, rounds[0])) / 4)
        answers = [(build_answer(n, sample), n) for n in prompts for sample in range(NUM_GENERATIONS)]
        mean = sum(reward_fixed(*map(list, zip(*answers, strict=True)))) / len(answers)
        assert entry["forking/sampled_reward"] == pytest.approx(mean)


def test_prompts_come_in_the_order_of_trls_sampler_and_are_trained_once_a_pass(tmp_path):
    plain, rewards = Recorder(), Recorder()
    build(tmp_path, reward_funcs=plain, shuffle_dataset=True, max_steps=8, dynamic_sampling=False).train()
    trainer = build(tmp_path, reward_funcs=rewards, shuffle_dataset=True, max_steps=6)
    batches = record_batches(trainer)
    trainer.train()
    drawn = list(dict.fromkeys(number for numbers in rewards.rounds for number in numbers))
    assert drawn == [number for numbers in plain.rounds for number in numbers][:NUM_PROMPTS]
    trained = Counter(number for batch in batches for number in batch["numbers"][::NUM_GENERATIONS])
    passes = math.ceil(get_logs(trainer)[-1]["forking/prompts_consumed"] / NUM_PROMPTS)
    assert passes == 3 and max(trained.values()) <= passes
    assert min(trained[number] for number in range(NUM_PROMPTS) if not has_zero_variance(number)) >= passes - 1


@pytest.mark.parametrize("settings", [{}, {"num_iterations": 2, "steps_per_generation": 4}, {"log_completions": True}])
def test_one_round_is_training_without_it(tmp_path, settings):
    """What is played back to TRL is what it had generated itself: the weights are the same to the last bit."""
    settings = {"rollout_func": None, "max_steps": 4} | settings
    changes = []
    for dynamic in ({"dynamic_sampling": False}, {"dynamic_sampling": True, "dynamic_sampling_max_rounds": 1}):
        changes.append(compute_weight_change(build(tmp_path, **settings, **dynamic)))
    assert changes[0].any()
    assert torch.equal(*changes)


def test_what_was_found_is_kept_when_the_rounds_run_out(tmp_path):
    """Only the group of prompt 5 is informative, which is drawn in the second round."""

    def only_five(completion_ids, number, **kwargs):
        return [float(n == 5 and index % NUM_GENERATIONS == 0) for index, n in enumerate(number)]

    trainer = build(tmp_path, reward_funcs=only_five, max_steps=1, dynamic_sampling_max_rounds=3)
    batches = record_batches(trainer)
    change = compute_weight_change(trainer)
    assert Counter(batches[0]["numbers"])[5] == NUM_GENERATIONS
    assert set(batches[0]["numbers"]) == {
        5,
        9,
        10,
        11,
    }  # rounds of 4, 4 and 4 prompts: the last zero-variance groups fill up
    assert change.any()
    entry = get_logs(trainer)[0]
    assert entry["forking/sampling_rounds"] == 3 and entry["forking/informative_groups"] == pytest.approx(1 / 12)


def test_nothing_is_trained_where_no_group_is_informative(tmp_path, monkeypatch):
    warnings = []
    monkeypatch.setattr("trl_forking.rollout.dynamic_sampling_mixin.logger.warning_once", warnings.append)
    trainer = build(tmp_path, reward_funcs=lambda completions, **kwargs: [0.3] * len(completions), max_steps=2)
    assert not compute_weight_change(trainer).any()
    assert all(entry["loss"] == 0.0 and entry["forking/sampling_rounds"] == 10 for entry in get_logs(trainer))
    assert "ran out of rounds or prompts: groups with equal rewards are left" in warnings[0]
    assert len(warnings) == 2 and len(set(warnings)) == 1  # the same words each time: said once


def test_rounding_is_not_trained(tmp_path):
    """Rewards of 0.3 and 0.3 + 3e-8: TRL divides the difference by almost nothing and trains on it."""

    def noisy(completions, **kwargs):
        return [0.3 + 3e-8 * (index % 2) for index in range(len(completions))]

    for dynamic_sampling in (False, True):
        trainer = build(tmp_path, reward_funcs=noisy, max_steps=1, dynamic_sampling=dynamic_sampling)
        batches = record_batches(trainer)
        assert not compute_weight_change(trainer).any()
        assert not batches[0]["advantages"].any()


def test_several_rewards_of_which_some_are_none(tmp_path):
    def every_other(completion_ids, number, **kwargs):
        return [None if n % 2 else float(len(ids) > 6) for ids, n in zip(completion_ids, number, strict=True)]

    def never(completions, **kwargs):
        return [None] * len(completions)

    trainer = build(tmp_path, reward_funcs=[reward_fixed, every_other, never], reward_weights=[1.0, 0.5, 3.0])
    batches = record_batches(trainer)
    trainer.train()
    for batch, entry in zip(batches, get_logs(trainer), strict=True):
        assert (batch["advantages"].view(-1, NUM_GENERATIONS) != 0).any(1).all()
        assert math.isfinite(entry["loss"]) and entry["rewards/never/mean"] is None
        assert math.isfinite(entry["forking/sampled_reward"])


@pytest.mark.slow
@pytest.mark.parametrize("aggregation", ["sum_then_normalize", "normalize_then_sum"])
@pytest.mark.parametrize("scale_rewards", ["group", "batch", "none"])
def test_advantages_are_those_of_the_trained_batch(tmp_path, aggregation, scale_rewards):
    """Normalized over the batch that is trained, by TRL: the same batch without dynamic sampling has the same ones."""
    settings = {"multi_objective_aggregation": aggregation, "scale_rewards": scale_rewards, "max_steps": 1}
    trainer = build(tmp_path, **settings)
    batches = record_batches(trainer)
    trainer.train()
    numbers = batches[0]["numbers"][::NUM_GENERATIONS]
    plain = build(tmp_path, **settings, dynamic_sampling=False)
    plain.train_dataset = build_dataset().select(numbers)
    plain_batches = record_batches(plain)
    plain.train()
    assert plain_batches[0]["numbers"] == batches[0]["numbers"]
    torch.testing.assert_close(plain_batches[0]["advantages"], batches[0]["advantages"], rtol=0, atol=0)


def test_several_steps_train_one_rollout(tmp_path):
    rewards = Recorder()
    settings = {"num_iterations": 2, "steps_per_generation": 4, "gradient_accumulation_steps": 1, "max_steps": 16}
    trainer = build(tmp_path, reward_funcs=rewards, **settings)
    batches = record_batches(trainer)
    trainer.train()
    assert len(batches) == 2  # 16 steps = 2 rollouts x 2 iterations x 4 steps
    assert not any(has_zero_variance(number) for batch in batches for number in batch["numbers"])


def test_only_the_trained_batch_is_scored(tmp_path):
    """Rounds are judged by their rewards: log-probabilities and entropies are computed once a rollout."""
    trainer = build(tmp_path, num_iterations=2, max_steps=4)
    passes, forward = [], trainer.model.base_model.forward

    def count(*args, **kwargs):
        passes.append(torch.is_grad_enabled())
        return forward(*args, **kwargs)

    trainer.model.base_model.forward = count
    trainer.train()
    assert passes.count(False) == 2 * 2  # two rollouts in two micro-batches each
    assert (
        sum(entry["forking/sampling_rounds"] for entry in get_logs(trainer) if "forking/sampling_rounds" in entry) > 2
    )


def test_evaluation_is_left_alone(tmp_path):
    rewards = Recorder()
    trainer = build(tmp_path, reward_funcs=rewards, trainer_kwargs={"eval_dataset": build_dataset()})
    metrics = trainer.evaluate()
    assert sorted(number for numbers in rewards.rounds for number in numbers) == list(range(NUM_PROMPTS))
    assert metrics["eval_frac_reward_zero_std"] == sum(map(has_zero_variance, range(NUM_PROMPTS))) / NUM_PROMPTS
    assert not any("sampl" in name for name in metrics if "forking" in name)


def test_columns_that_rewards_log_belong_to_the_trained_answers(tmp_path):
    import pandas

    def logging_reward(completion_ids, number, log_extra, log_metric, **kwargs):
        log_extra("number", number)
        log_metric("mean_number", sum(number) / len(number))
        return reward_fixed(completion_ids, number)

    settings = {"log_completions": True, "log_entropy": True, "num_completions_to_print": 0, "max_steps": 1}
    trainer = build(tmp_path, reward_funcs=logging_reward, **settings)
    batches = record_batches(trainer)
    trainer.train()
    table = pandas.read_parquet(tmp_path / "completions" / "completions_00001.parquet")
    prompts = dict(enumerate(build_dataset()["prompt"]))
    assert list(table["number"]) == batches[0]["numbers"]
    assert [prompts[number] for number in table["number"]] == list(table["prompt"])
    assert [len(kept) for kept in table["kept"]] == batches[0]["completion_mask"].sum(1).tolist()
    assert "mean_number" in get_logs(trainer)[0]


def test_metrics_of_generation_are_those_of_the_first_round(tmp_path):
    entries = [
        get_logs(trainer)[0]
        for dynamic_sampling in (False, True)
        if (trainer := build(tmp_path, dynamic_sampling=dynamic_sampling, max_steps=1)).train()
    ]
    for name in ("completions/mean_length", "completions/min_length", "completions/max_length"):
        assert entries[0][name] == entries[1][name]
    assert entries[1]["num_tokens"] > entries[0]["num_tokens"]  # but every token is counted


def test_rows_with_fields_of_the_rollout_function(tmp_path):
    """`env_mask` and further fields of a `rollout_func` stay with their answers."""

    def rollout(prompts, trainer):
        output = replay_fixed_answers(prompts, trainer)
        output["env_mask"] = [[int(token % 3 > 0) for token in ids] for ids in output["completion_ids"]]
        return output | {"first_token": [ids[0] for ids in output["completion_ids"]]}

    def check_first_token(completion_ids, first_token, number, **kwargs):
        assert [ids[0] for ids in completion_ids] == first_token
        return reward_fixed(completion_ids, number)

    trainer = build(tmp_path, rollout_func=rollout, reward_funcs=check_first_token)
    batches = record_batches(trainer)
    trainer.train()
    for batch in batches:
        own = (batch["completion_ids"] % 3 > 0) | (batch["completion_mask"] == 0)
        assert torch.equal(batch["tool_mask"].bool(), own)
        assert not (batch["kept"] & ~batch["tool_mask"].bool()).any()


@pytest.mark.slow
def test_training_ends_with_the_prompts_of_all_passes(tmp_path):
    rewards = Recorder()
    settings = {
        "max_steps": -1,
        "num_train_epochs": 3,
        "reward_funcs": rewards,
        "save_strategy": "steps",
        "save_steps": 1,
    }
    trainer = build(tmp_path, **settings)
    batches = record_batches(trainer)
    trainer.train()
    trained = Counter(number for batch in batches for number in batch["numbers"][::NUM_GENERATIONS])
    assert max(trained.values()) <= 3
    assert 3 * NUM_PROMPTS - 4 < get_logs(trainer)[-1]["forking/prompts_consumed"] <= 3 * NUM_PROMPTS
    assert trainer.state.global_step < 12  # what it would be without
    assert (tmp_path / f"checkpoint-{trainer.state.global_step}").is_dir()


def test_a_rollout_is_trained_to_its_end_before_training_ends(tmp_path):
    settings = {"steps_per_generation": 8, "gradient_accumulation_steps": 2, "max_steps": -1, "num_train_epochs": 1}
    trainer = build(tmp_path, **settings)  # one rollout takes all 16 prompts and four steps
    trainer.train()
    assert trainer.state.global_step == 4


@pytest.mark.parametrize("settings", [{}, {"gradient_accumulation_steps": 4, "steps_per_generation": 2}], ids=str)
def test_the_last_step_is_a_whole_one_and_is_saved(tmp_path, settings):
    """Also where a step takes several rollouts, and where no checkpoint is due."""
    defaults = {"max_steps": -1, "num_train_epochs": 2, "save_strategy": "steps", "save_steps": 500}
    trainer = build(tmp_path, **(defaults | settings))
    batches = record_batches(trainer)
    trainer.train()
    steps = trainer.state.global_step
    rollouts_per_step = settings.get("gradient_accumulation_steps", 2) // settings.get("steps_per_generation", 2)
    assert 1 < steps < 8 / rollouts_per_step and len(batches) == steps * rollouts_per_step
    checkpoint = tmp_path / f"checkpoint-{steps}"
    assert is_complete(str(checkpoint))
    resumed = build(tmp_path, **(defaults | settings))
    more = record_batches(resumed)
    resumed.train(resume_from_checkpoint=True)
    assert not more and resumed.state.global_step == steps  # what is finished stays finished


def test_training_again_begins_anew(tmp_path):
    trainer = build(tmp_path, max_steps=2)
    batches = record_batches(trainer)
    trainer.train()
    trainer.train()
    numbers = [batch["numbers"] for batch in batches]
    assert len(numbers) == 4 and numbers[:2] == numbers[2:]


def test_fewer_prompts_than_a_rollout_takes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="train_dataset has 2 rows, and a rollout takes 4 prompts"):
        build(tmp_path, trainer_kwargs={}, train_dataset=Dataset.from_dict({"prompt": ["w3", "w4"]}))


def test_a_stream_is_refused(tmp_path):
    def stream():
        yield from build_dataset()

    with pytest.raises(ValueError, match="train_dataset is an IterableDataset: pass a Dataset"):
        build(tmp_path, train_dataset=IterableDataset.from_generator(stream))


@pytest.mark.parametrize("rounds", [0, -1, 2.5, True, "10"])
def test_wrong_number_of_rounds_is_refused(tmp_path, rounds):
    with pytest.raises(ValueError, match="dynamic_sampling_max_rounds must be a whole number of at least 1"):
        ForkingGRPOConfig(tmp_path, dynamic_sampling_max_rounds=rounds, use_cpu=True)
