import pytest
from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict
from transformers import Qwen3Config, Qwen3Model, Qwen3PreTrainedModel
from trl import GRPOConfig

from helpers.tiny import build_dataset, build_model, build_tokenizer, build_trainer, reward_fixed
from trl_forking import ForkingGRPOConfig, ForkingGRPOTrainer
from trl_forking.run.checks import check_fused_head, check_num_prompts, check_prompt_column


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
    ("dataset", "message"),
    [
        (
            DatasetDict(train=DATASET, test=DATASET),
            r"DatasetDict with the splits 'train', 'test', .*pass dataset\['train'\]",
        ),
        (DatasetDict(validation=DATASET), r"DatasetDict with the splits 'validation', .*pass dataset\['validation'\]"),
        (
            IterableDatasetDict(train=DATASET.to_iterable_dataset()),
            r"IterableDatasetDict with .*pass dataset\['train'\]",
        ),
        ({"train": DATASET}, r"is a dict with the splits 'train', .*pass dataset\['train'\]"),
        ({}, r"is a dict with the splits \(none\)"),
        (
            "openai/gsm8k",
            r"is the text 'openai/gsm8k', not a dataset: pass load_dataset\('openai/gsm8k', split='train'\)",
        ),
    ],
    ids=["splits", "other name", "streams", "dict", "empty", "name"],
)
def test_several_splits_are_no_dataset(tmp_path, dataset, message):
    """A dictionary of one split would have "1 rows"."""
    args = ForkingGRPOConfig(str(tmp_path), use_cpu=True, report_to="none")
    with pytest.raises(ValueError, match=f"^train_dataset .*{message}") as error:
        ForkingGRPOTrainer("no/such-model", reward_fixed, args, dataset)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="^train_dataset "):
        check_num_prompts(dataset, args)


@pytest.mark.parametrize(
    ("settings", "least"), [({}, 1.0), ({"gradient_accumulation_steps": 4}, 0.5), ({"num_iterations": 2}, 1)]
)
def test_too_few_prompts_for_one_step_of_dynamic_sampling(tmp_path, settings, least):
    """16 prompts, of which a step takes 16 or 8."""
    settings = {"max_steps": -1, "dynamic_sampling": True} | settings
    with pytest.raises(ValueError) as error:
        build_trainer(str(tmp_path), num_train_epochs=least / 2, **settings)
    assert f"num_train_epochs={least / 2:g} of 16 rows are {int(8 * least)} prompts, and one step" in str(error.value)
    assert f"set num_train_epochs to at least {least:g}, or set max_steps." in str(error.value)
    build_trainer(str(tmp_path), num_train_epochs=least / 2, **(settings | {"max_steps": 1}))
    trainer = build_trainer(str(tmp_path), num_train_epochs=least, **settings)
    trainer.train()
    assert trainer.state.global_step == 1 if settings.get("num_iterations", 1) == 1 else trainer.state.global_step > 0


def test_streamed_dataset_without_prompt():
    stream = IterableDataset.from_generator(lambda: iter([{"question": "a"}]))
    with pytest.raises(ValueError, match="^train_dataset has no column 'prompt'"):
        check_prompt_column(stream, "train_dataset")


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
    with pytest.raises(ValueError, match="^Reward function '<lambda>' does not take completion_ids"):
        ForkingGRPOTrainer("no/such-model", lambda completions: [1], args, DATASET)
    with pytest.raises(TypeError, match="^args must be a ForkingGRPOConfig, but it is a GRPOConfig"):
        ForkingGRPOTrainer("no/such-model", reward_fixed, GRPOConfig(str(tmp_path), use_cpu=True), DATASET)


def test_arguments_after_the_dataset_may_be_positional_as_in_trl(tmp_path):
    args = build_trainer(tmp_path).args
    trainer = ForkingGRPOTrainer(build_model(), reward_fixed, args, build_dataset(), None, build_tokenizer())
    assert trainer.processing_class.vocab_size == 32
