"""The settings on a card make the same run again, and no secret is in any file."""

import pytest
import torch
from huggingface_hub import ModelCard

from helpers.cards import find_code, read_text
from helpers.tiny import build_trainer
from trl_forking import ForkingGRPOConfig
from trl_forking.card.changed_settings import clean_settings, find_changed_settings
from trl_forking.card.model_card import rebuild_card
from trl_forking.card.run_files import read_record, write_config


def test_default_config_has_no_changed_settings():
    assert find_changed_settings(ForkingGRPOConfig("runs/example")) == {}


def test_settings_on_the_card_make_the_same_config(tmp_path):
    given = {
        "adam_beta2": 0.99,
        "lr_scheduler_kwargs": {"num_cycles": 2},
        "lr_scheduler_type": "cosine_with_restarts",
        "generation_kwargs": {"stop_strings": ['a"b', "c\n|`d"]},
        "reward_weights": [0.5],
        "steps_per_generation": 4,
        "gradient_checkpointing": True,
        "top_entropy_quantile": 0.1,
        "seed": 7,
    }
    trainer = build_trainer(str(tmp_path), **given)
    trainer.create_model_card("tiny")
    scope = {}
    exec(find_code(read_text(tmp_path), "How to train it again"), scope)
    again, args = scope["args"].to_dict(), trainer.args.to_dict()
    assert {name for name in args if again[name] != args[name]} <= {"output_dir", "disable_tqdm", "run_name"}
    assert again["lr_scheduler_kwargs"] == {"num_cycles": 2} and again["seed"] == 7


def test_no_file_has_a_token_or_an_absolute_path(tmp_path):
    secrets = {"hub_token": "hf_secret", "model_init_kwargs": {"token": "hf_secret", "dtype": torch.float32}}
    trainer = build_trainer(str(tmp_path / "run"))
    for name, value in (secrets | {"deepspeed": str(tmp_path / "zero.json")}).items():
        setattr(trainer.args, name, value)
    write_config(tmp_path / "run", "max_steps: 3\nhub_token: hf_secret\nmodel_name_or_path: /home/someone/model\n")
    trainer.create_model_card("tiny", example_prompt="w3 w4")
    assert clean_settings({"judge_api_key": "x", "a": [{"secret": "x"}]}) == {"a": [{}]}
    text = read_text(tmp_path / "run")
    for name in ("README.md", "forking_run.json", "forking_config.yaml"):
        assert "hf_secret" not in (tmp_path / "run" / name).read_text()
    assert str(tmp_path) not in (tmp_path / "run" / "forking_run.json").read_text()
    assert "/home/someone" not in text and "max_steps: 3" in text and "zero.json" in str(read_record(tmp_path / "run"))


@pytest.mark.slow
def test_config_of_the_command_line_is_what_repeats_the_run(folder):
    write_config(folder, "dataset_name: openai/gsm8k\nmodel_name_or_path: some/model\nmax_steps: 4")
    rebuild_card(folder)
    text = read_text(folder)
    assert "trl-forking grpo --config forking_config.yaml" in text and "ForkingGRPOConfig(\n" not in text
    assert ModelCard(text).data.datasets == ["openai/gsm8k"]
    assert "16 prompts of [openai/gsm8k](https://huggingface.co/datasets/openai/gsm8k)" in text


def test_secrets_at_any_depth_stay_out_of_the_configuration(tmp_path):
    write_config(
        tmp_path,
        "max_steps: 3\nmodel_init_kwargs:\n  token: hf_secret\nvllm_server_base_url: http://me:pw@node:8000\n",
    )
    text = (tmp_path / "forking_config.yaml").read_text()
    assert "hf_secret" not in text and "pw@" not in text and "http://node:8000" in text
