import logging

import pytest
import torch
from datasets import Dataset, IterableDataset
from transformers import Qwen3Config, Qwen3Model, Qwen3PreTrainedModel
from trl import GRPOConfig

from helpers.tiny import build_dataset, build_model, build_tokenizer, build_trainer, reward_fixed
from trl_forking import ForkingGRPOConfig, ForkingGRPOTrainer
from trl_forking.run.checks import check_fused_head, check_prompt_column, check_rewards


DATASET = Dataset.from_dict({"prompt": ["a", "b", "c"], "solution": ["1", "2", "3"]})


@pytest.mark.parametrize(("columns", "likely"), [(["question", "answer"], "question"), (["prompts", "x"], "prompts")])
def test_dataset_without_prompt(columns, likely):
    dataset = Dataset.from_dict({column: ["x"] for column in columns})
    with pytest.raises(
        ValueError, match=f"^train_dataset has no column 'prompt'.*rename_column\\('{likely}', 'prompt'"
    ):
        check_prompt_column(dataset, "train_dataset")
    with pytest.raises(ValueError, match="^eval_dataset\\['hard'\\] has no column 'prompt'"):
        check_prompt_column({"easy": DATASET, "hard": dataset}, "eval_dataset")


@pytest.mark.parametrize(
    ("returned", "sentence"),
    [
        ([1.0], "returned 1 values for 2 answers"),
        ([1.0, 1.0, 1.0], "returned 3 values for 2 answers"),
        ([1.0, "good"], "returned 'good' for the answer to row 1 of train_dataset"),
        ([[1.0], [2.0]], r"returned \[1.0\] for the answer to row 0"),
        (0.5, "returned 0.5 for 2 answers"),
        (None, "returned None for 2 answers"),
    ],
)
def test_reward_of_wrong_shape_is_refused_by_name(returned, sentence):
    def my_reward(completions, **kwargs):
        return returned

    with pytest.raises(ValueError, match=f"^Reward function 'my_reward' {sentence}"):
        check_rewards([reward_fixed_like, my_reward], DATASET)


def reward_fixed_like(prompts, completions, completion_ids, solution, trainer_state, log_extra, log_metric, **kwargs):
    log_metric("length", 1.0)
    log_extra("solution", solution)
    return [None, True]


def test_rewards_that_cannot_be_tried_pass(caplog):
    def fragile(completions, **kwargs):
        return [completion.split()[0] for completion in completions]

    async def remote(completions, **kwargs):
        raise AssertionError("must not be called")

    with caplog.at_level(logging.WARNING):
        check_rewards([fragile, remote, "org/reward-model", torch.nn.Linear(1, 1)], DATASET)
    assert "'fragile' failed on an empty answer: IndexError" in caplog.text
    check_rewards(fragile, DATASET.to_iterable_dataset())


def test_missing_dependency_of_a_reward_names_the_extra(monkeypatch):
    from trl.rewards import accuracy_reward

    monkeypatch.setattr("trl.rewards.accuracy_rewards.is_math_verify_available", lambda: False)
    dataset = Dataset.from_dict({"prompt": [[{"role": "user", "content": "1 + 1"}]], "solution": ["2"]})
    with pytest.raises(
        ImportError, match=r"^Reward function 'accuracy_reward' cannot run.*pip install 'trl-forking\[math\]'"
    ):
        check_rewards(accuracy_reward, dataset)


def test_streamed_dataset_without_prompt():
    stream = IterableDataset.from_generator(lambda: iter([{"question": "a"}]))
    with pytest.raises(ValueError, match="^train_dataset has no column 'prompt'"):
        check_prompt_column(stream, "train_dataset")


def test_rewards_that_read_what_a_rollout_func_adds(tmp_path):
    build_trainer(tmp_path, reward_funcs=lambda completions, **kwargs: kwargs.get("env_reward", []))


def test_conversational_prompts_get_conversational_answers():
    seen = []

    def reward(completions, **kwargs):
        seen.extend(completions)
        return [0.0] * len(completions)

    check_rewards(reward, Dataset.from_dict({"prompt": [[{"role": "user", "content": "1 + 1"}]]}))
    assert seen == [[{"role": "assistant", "content": ""}]]


def test_model_without_a_fused_head_path():
    config = Qwen3Config(vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    with pytest.raises(ValueError, match="^Qwen3Model has no backbone of its own"):
        check_fused_head(Qwen3Model(config))

    class Headless(Qwen3PreTrainedModel):
        def __init__(self, config):
            super().__init__(config)
            self.model = Qwen3Model(config)

    with pytest.raises(ValueError, match="^Headless has no output embedding"):
        check_fused_head(Headless(config))
    check_fused_head(build_model())


def test_trl_1_15_without_triton(monkeypatch):
    monkeypatch.setattr("trl.__version__", "1.15.0")
    monkeypatch.setattr("trl_forking.run.checks.is_triton_available", lambda: False)
    with pytest.raises(
        ValueError, match="^The fused LM head of TRL 1.15.0 runs on Triton only.*pip install 'trl>=1.16'"
    ):
        check_fused_head(build_model())


def test_trainer_refuses_before_the_model_is_loaded(tmp_path):
    """The model does not exist: the message is about the dataset and the reward, so it came first."""
    args = ForkingGRPOConfig(str(tmp_path), use_cpu=True, report_to="none")
    with pytest.raises(ValueError, match="has no column 'prompt'"):
        ForkingGRPOTrainer("no/such-model", reward_fixed, args, DATASET.rename_column("prompt", "question"))
    with pytest.raises(ValueError, match="^Reward function '<lambda>' returned"):
        ForkingGRPOTrainer("no/such-model", lambda completions, **kwargs: [1], args, DATASET)
    with pytest.raises(TypeError, match="^args must be a ForkingGRPOConfig, but it is a GRPOConfig"):
        ForkingGRPOTrainer("no/such-model", reward_fixed, GRPOConfig(str(tmp_path), use_cpu=True), DATASET)


def test_arguments_after_the_dataset_may_be_positional_as_in_trl(tmp_path):
    args = build_trainer(tmp_path).args
    trainer = ForkingGRPOTrainer(build_model(), reward_fixed, args, build_dataset(), None, build_tokenizer())
    assert trainer.processing_class.vocab_size == 32
