"""Reward functions are checked without a call more than TRL makes, and a wrong value is named."""

import functools
import random
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas
import pytest
import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from helpers.tiny import build_dataset, build_trainer, compute_weight_change, reward_fixed
from trl_forking.run.reward_checks import check_rewards, read_rewards


TRL = {"trainer_class": GRPOTrainer, "config_class": GRPOConfig, "epsilon_high": 0.28, "loss_type": "dapo"}
PLAIN = {"top_entropy_quantile": 1.0, "sparse_update": False}
DATASET = Dataset.from_dict({"prompt": ["a", "b", "c"], "solution": ["1", "2", "3"]})


# Without a call


def refuse_calls(*args, **kwargs):
    raise AssertionError("the function was called")


def all_arguments(prompts, completions, completion_ids, solution, trainer_state, log_extra, log_metric):
    refuse_calls()


class Judge:
    def __call__(self, completions, **kwargs):
        refuse_calls()


class AsyncJudge:
    async def __call__(self, completions, **kwargs):
        refuse_calls()


def test_no_function_of_a_user_is_called():
    functions = [refuse_calls, all_arguments, Judge(), AsyncJudge(), functools.partial(refuse_calls, scale=2.0), max]
    check_rewards([*functions, "org/reward-model", torch.nn.Linear(1, 1)], DATASET)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            lambda completions: [0.0],
            "does not take completion_ids, log_extra, log_metric, prompts, solution, trainer_",
        ),
        (lambda prompts, completions, /, **kwargs: [0.0], "cannot be called with the columns of train_dataset"),
        (
            lambda completions, answer, **kwargs: [0.0],
            r"cannot be called .*missing a required argument: 'answer'.*solu",
        ),
    ],
)
def test_a_function_that_trl_could_not_call_is_refused(function, message):
    with pytest.raises(ValueError, match=f"^Reward function '<lambda>' {message}"):
        check_rewards([all_arguments, function], DATASET)


def test_a_stream_and_rows_of_a_rollout_func_have_columns_that_are_not_known(tmp_path):
    check_rewards(lambda completions, answer, **kwargs: [0.0], DATASET.to_iterable_dataset())
    build_trainer(tmp_path, reward_funcs=lambda completions, env_reward, **kwargs: env_reward)


def test_missing_dependency_of_a_reward_names_the_extra(monkeypatch):
    from trl.rewards import accuracy_reward

    monkeypatch.setattr("trl.rewards.accuracy_rewards.is_math_verify_available", lambda: False)
    dataset = Dataset.from_dict({"prompt": [[{"role": "user", "content": "1 + 1"}]], "solution": ["2"]})
    with pytest.raises(
        ImportError, match=r"^Reward function 'accuracy_reward' cannot run.*pip install 'trl-forking\[math\]'"
    ):
        check_rewards(accuracy_reward, dataset)


# The same training as TRL's


class CountingReward:
    """Its reward depends on how often it was called."""

    def __init__(self):
        self.num_calls = 0

    def __call__(self, completion_ids, **kwargs):
        self.num_calls += 1
        return [float((sum(ids) + self.num_calls) % 3 == 0) for ids in completion_ids]


class AsyncReward(CountingReward):
    async def __call__(self, completion_ids, **kwargs):
        self.num_calls += 1
        return tuple(float((sum(ids) + self.num_calls) % 3 == 0) for ids in completion_ids)


def build_seeded():
    source = random.Random(0)
    return lambda completions, **kwargs: [source.random() for _ in completions]


def yield_rewards(completion_ids, **kwargs):
    yield from (float(len(ids) % 2) for ids in completion_ids)


def map_rewards(completion_ids, **kwargs):
    return map(float, [len(ids) % 2 for ids in completion_ids])


REWARDS = {
    "counting": CountingReward,
    "async_object": AsyncReward,
    "seeded": build_seeded,
    "generator": lambda: yield_rewards,
    "map": lambda: map_rewards,
    "array": lambda: lambda completion_ids, **kwargs: np.array([len(ids) % 2 for ids in completion_ids]),
    "series": lambda: lambda completion_ids, **kwargs: pandas.Series([len(ids) % 2 for ids in completion_ids]),
    "tensor": lambda: lambda completion_ids, **kwargs: torch.tensor([len(ids) % 2 for ids in completion_ids]),
    "several": lambda: [reward_fixed, CountingReward(), yield_rewards, AsyncReward()],
}


@pytest.mark.parametrize("name", REWARDS)
def test_rewards_train_as_in_trl(tmp_path, name):
    settings = {"max_steps": 2, "learning_rate": 0.1, "gradient_accumulation_steps": 1, "rollout_func": None}
    settings |= {"train_dataset": build_dataset(2)}
    theirs = compute_weight_change(build_trainer(tmp_path, **TRL, **settings, reward_funcs=REWARDS[name]()))
    trainer = build_trainer(tmp_path, **PLAIN, **settings, reward_funcs=REWARDS[name]())
    functions = list(trainer.reward_funcs)
    assert theirs.any() and torch.equal(compute_weight_change(trainer), theirs)
    assert trainer.reward_funcs == functions


@pytest.mark.parametrize("value", [1, True, None, 0.5, np.float32(1), np.int64(1), np.bool_(True), Fraction(1, 2)])
def test_values_that_trl_trains_with_are_left_as_they_are(value):
    assert read_rewards([value, 0.0], "f", ["a", "b"])[0] is value
    tensor = torch.tensor([0.5])
    assert read_rewards([tensor, tensor[0]], "f", ["a", "b"]) == [tensor, tensor[0]]
    assert read_rewards([Decimal("0.5")], "f", ["a"]) == [Decimal("0.5")]


# What is wrong in a batch


@pytest.mark.parametrize(
    ("returned", "sentence"),
    [
        ([1.0], "returned 1 values for 64 answers"),
        ([1.0] * 65, "returned 65 values for 64 answers"),
        (range(65), "returned 65 values for 64 answers"),
        ([1.0, "good"] + [0.0] * 62, "returned 'good' for answer 1, to the prompt 'w3 w3': return a number"),
        ([1.0] + [[2.0, 3.0]] * 63, r"returned \[2.0, 3.0\] for answer 1, to the prompt 'w"),
        ([1.0, [2.0]] + [0.0] * 62, r"returned \[2.0\] for answer 1"),
        ([1.0, {}] + [0.0] * 62, "returned {} for answer 1"),
        (0.5, "returned 0.5 for 64 answers: return a list"),
        (None, "returned None for 64 answers"),
        ("1" * 64, "returned '1111"),
        (dict.fromkeys(range(64), 1.0), r"returned \{0: 1.0"),
        (torch.tensor(1.0), r"returned tensor\(1.\) for 64 answers"),
        (object(), "returned <object object"),
    ],
)
@pytest.mark.parametrize("is_async", [False, True])
def test_a_wrong_value_is_named_at_the_first_batch(tmp_path, returned, sentence, is_async):
    def my_reward(completions, **kwargs):
        return iter(returned) if isinstance(returned, range) else returned

    async def my_async_reward(completions, **kwargs):
        return returned

    name = "my_async_reward" if is_async else "my_reward"
    trainer = build_trainer(tmp_path, reward_funcs=[reward_fixed, my_async_reward if is_async else my_reward])
    functions = list(trainer.reward_funcs)
    with pytest.raises(ValueError, match=f"^Reward function '{name}' {sentence}"):
        trainer.train()
    assert trainer.reward_funcs == functions and trainer.state.global_step == 0


@pytest.mark.parametrize("is_lazy", [False, True])
def test_an_error_of_a_reward_keeps_its_type_and_says_which_answer_is_empty(tmp_path, is_lazy):
    def fragile(completions, **kwargs):
        first_words = (completion.split()[0] for completion in completions)
        rewards = (float(word == "w5") for word in first_words)
        return rewards if is_lazy else list(rewards)

    def replay(prompts, trainer):
        ids = [trainer.processing_class(prompt)["input_ids"] for prompt in prompts]
        return {"prompt_ids": ids, "completion_ids": [[5, 1]] * 3 + [[1]] + [[6, 1]] * 60, "logprobs": None}

    with pytest.raises(IndexError) as error:
        build_trainer(tmp_path, reward_funcs=fragile, rollout_func=replay).train()
    assert error.value.__notes__ == [
        "Reward function 'fragile' raised this error for a batch of 64 answers. Answer 3 is empty: a model can write an "
        "empty answer."
    ]


def test_conversational_prompts_get_conversational_answers(monkeypatch):
    seen = []

    def reward(completions, **kwargs):
        seen.extend(completions)
        return [0.0] * len(completions)

    reward.__module__ = "trl.rewards.made_up"  # only such a function is called
    check_rewards(reward, Dataset.from_dict({"prompt": [[{"role": "user", "content": "1 + 1"}]]}))
    assert seen == [[{"role": "assistant", "content": ""}]]
