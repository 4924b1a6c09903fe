"""A resumed run has all weights of its checkpoint, also those that Transformers saves under other names."""

import copy

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPTNeoXConfig, Trainer, TrainerCallback

from helpers.architectures import CONFIGS, SIZES
from helpers.tiny import build_dataset, build_trainer
from trl_forking.run.restored_weights import read_weight_names, restore_renamed_weights


SETTINGS = {"per_device_train_batch_size": 16, "gradient_accumulation_steps": 1, "steps_per_generation": 2}
SETTINGS |= {"save_strategy": "steps", "save_steps": 1, "learning_rate": 0.1}
NEOX = GPTNeoXConfig(**{key: value for key, value in SIZES.items() if key != "num_key_value_heads"})
ARCHITECTURES = CONFIGS | {"gpt_neox": NEOX}
RENAMED = ("mixture_of_experts", "gpt_neox")


def build(folder, name, seed=0, **settings):
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(copy.deepcopy(ARCHITECTURES[name])).float()
    return build_trainer(str(folder), model=model, **(SETTINGS | settings))


def get_weights(trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def is_same(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_all_weights_of_a_checkpoint_are_restored(tmp_path, caplog, name, sharded):
    saved, other = build(tmp_path / "a", name), build(tmp_path / "b", name, seed=1)
    saved.model.save_pretrained(tmp_path / "saved", **({"max_shard_size": "5KB"} if sharded else {}))
    assert not is_same(get_weights(saved), get_weights(other))
    other._load_from_checkpoint(str(tmp_path / "saved"))
    assert is_same(get_weights(saved), get_weights(other))
    assert ("They were restored too" in caplog.text) == (name in RENAMED)


@pytest.mark.parametrize("name", RENAMED)
def test_transformers_itself_does_not(tmp_path, name):
    """The comparison can fail. When this test does, a resumed trainer no longer needs `restore_renamed_weights`."""
    saved, other = build(tmp_path / "a", name), build(tmp_path / "b", name, seed=1)
    saved.model.save_pretrained(tmp_path / "saved")
    Trainer._load_from_checkpoint(other, str(tmp_path / "saved"))
    assert not is_same(get_weights(saved), get_weights(other))


@pytest.mark.slow
@pytest.mark.parametrize("name", RENAMED)
def test_a_resumed_run_is_the_whole_one(tmp_path, name):
    whole = build(tmp_path / "whole", name, max_steps=3)
    whole.train()
    resumed = build(tmp_path / "resumed", name, max_steps=3)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    assert is_same(get_weights(whole), get_weights(resumed))


class Judge(TrainerCallback):
    """Makes the first of three models the best one."""

    def on_evaluate(self, args, state, control, metrics, **kwargs):
        metrics["eval_reward"] = -float(state.global_step)


@pytest.mark.slow
@pytest.mark.parametrize("name", RENAMED)
def test_the_best_model_is_loaded_whole(tmp_path, name):
    trainer = build(
        tmp_path, name, max_steps=3, load_best_model_at_end=True, metric_for_best_model="eval_reward",
        eval_strategy="steps", eval_steps=1, per_device_eval_batch_size=4,
        trainer_kwargs={"eval_dataset": build_dataset(1), "callbacks": [Judge()]},
    )  # fmt: skip
    trainer.train()
    assert trainer.state.best_global_step == 1
    expected = build(tmp_path / "other", name, seed=1)
    expected._load_from_checkpoint(str(tmp_path / "checkpoint-1"))
    assert is_same(get_weights(trainer), get_weights(expected))


def test_a_weight_that_is_in_no_file_is_told(tmp_path):
    trainer = build(tmp_path / "a", "gpt_neox")
    trainer.model.save_pretrained(tmp_path / "saved")
    path = tmp_path / "saved" / "model.safetensors"
    save_file(
        {name: value for name, value in load_file(path).items() if name != "embed_out.weight"}, path, {"format": "pt"}
    )
    assert "embed_out.weight" not in read_weight_names(str(tmp_path / "saved"))
    with pytest.raises(
        ValueError, match="saved does not have the weights of lm_head.weight: resume from another checkpoint"
    ):
        restore_renamed_weights(trainer.model, str(tmp_path / "saved"))
