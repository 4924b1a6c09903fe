"""The code of the quick start runs."""

import re

import pytest
from huggingface_hub import ModelCard

from helpers.cards import CHAT_TEMPLATE, change_record, find_code, read_text
from helpers.tiny import build_model, build_trainer
from trl_forking.run.lengths import check_lengths
from trl_forking.run.user_errors import UserError


@pytest.mark.parametrize("chat_template", [None, CHAT_TEMPLATE])
def test_quick_start_of_a_full_model_runs(tmp_path, monkeypatch, capsys, chat_template):
    monkeypatch.chdir(tmp_path)
    trainer = build_trainer("runs/tiny")
    trainer.processing_class.chat_template = chat_template
    trainer.save_model()
    code = find_code(read_text(tmp_path / "runs" / "tiny"), "## Quick start")
    assert ("messages = " in code) == (chat_template is not None)
    capsys.readouterr()
    exec(code, {})
    assert re.search(r"w\d+|<unk>", capsys.readouterr().out)


@pytest.mark.parametrize("is_local", [False, True])
@pytest.mark.parametrize("chat_template", [None, CHAT_TEMPLATE])
def test_quick_start_of_an_adapter_runs(tmp_path, monkeypatch, capsys, is_local, chat_template):
    from peft import LoraConfig

    monkeypatch.chdir(tmp_path)
    build_model().save_pretrained("org/base")
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    trainer = build_trainer("run", model="org/base", trainer_kwargs={"peft_config": config})
    trainer.processing_class.chat_template = chat_template
    trainer.save_model()
    run = change_record(tmp_path / "run", model={"is_local": is_local, "base_model": "org/base"})
    assert run["model"]["adapter"] == {
        "type": "LORA",
        "settings": {"r": 2, "lora_alpha": 8, "lora_dropout": 0.0, "target_modules": ["q_proj", "v_proj"]},
    }
    card = ModelCard.load("run/README.md")
    assert card.data.to_dict()["library_name"] == "peft"
    assert card.data.base_model == (None if is_local else "org/base")
    code = find_code(card.text, "## Quick start")
    assert ("AutoPeftModelForCausalLM" in code) == (not is_local)
    capsys.readouterr()
    exec(code.replace("path/to/org/base", "org/base"), {})
    assert re.search(r"w\d+|<unk>", capsys.readouterr().out)


@pytest.mark.slow
def test_quick_start_of_the_built_in_task_shows_a_prompt_that_its_tokenizer_can_read(tmp_path, monkeypatch, capsys):
    """It knows 151 words, and has no token for unknown ones: the usual question ended in an error."""
    from trl_forking import ForkingGRPOConfig, ForkingGRPOTrainer, countdown

    monkeypatch.chdir(tmp_path)
    problems = countdown.make_countdown_dataset("train", num_problems=4, seed=0)
    sizes = {"max_steps": 1, "per_device_train_batch_size": 4, "num_generations": 4, "max_completion_length": 52}
    trainer = ForkingGRPOTrainer(
        model=countdown.load_countdown_model(),
        reward_funcs=countdown.countdown_reward,
        args=ForkingGRPOConfig("runs/task", **sizes, use_cpu=True, bf16=False, report_to="none", save_strategy="no"),
        train_dataset=problems,
        processing_class=countdown.load_countdown_tokenizer(),
    )
    trainer.train()
    trainer.save_model()
    text = read_text(tmp_path / "runs" / "task")
    code = find_code(text, "## Quick start")
    assert problems[0]["prompt"] in code
    capsys.readouterr()
    exec(code, {})
    assert " = " in capsys.readouterr().out
    again: dict = {}
    exec(find_code(text, "How to train it again"), again)
    assert again["args"].max_completion_length == 52 and again["args"].num_generations == 4
    with pytest.raises(UserError, match="cannot read the prompt 'What is 1 \\+ 1\\?'"):
        check_lengths([("row 1", "What is 1 + 1?")], trainer.processing_class, 8, context=128)
