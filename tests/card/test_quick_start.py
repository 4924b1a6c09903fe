"""The code of the quick start runs."""

import re

import pytest
from huggingface_hub import ModelCard

from helpers.cards import CHAT_TEMPLATE, change_record, find_code, read_text
from helpers.tiny import build_model, build_trainer


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
