"""The card of a run: its content, that it loads, that it keeps the user's text, and that its code runs."""

import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import ModelCard, ModelCardData
from markdown_it import MarkdownIt
from transformers import TrainerCallback
from trl.rewards import get_soft_overlong_punishment

from helpers.processes import run_processes
from helpers.tiny import build_model, build_trainer, reward_fixed
from trl_forking import ForkingGRPOConfig
from trl_forking.card.changed_settings import clean_settings, find_changed_settings
from trl_forking.card.model_card import build_model_card, rebuild_card
from trl_forking.card.run_files import read_record, write_config, write_record
from trl_forking.commands.card import run_card
from workers.card_worker import train_and_save


CHAT_TEMPLATE = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
SAMPLED = {"rollout_func": None, "max_steps": 4, "save_strategy": "steps", "save_steps": 2, "learning_rate": 0.1}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run of four steps."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    trainer = build_trainer(str(folder), **SAMPLED, hub_token="hf_secret")
    trainer.train()
    trainer.save_model()
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    """A copy of it."""
    return shutil.copytree(finished, tmp_path / "tiny", ignore=shutil.ignore_patterns("checkpoint-*"))


def read_text(folder) -> str:
    return (folder / "README.md").read_text(encoding="utf-8")


def change_record(folder, **parts) -> dict:
    """Change parts of the record, and make the card again."""
    run = read_record(folder)
    for name, value in parts.items():
        run[name] = run[name] | value if isinstance(value, dict) else value
    write_record(folder, run)
    rebuild_card(folder)
    return run


def render(text: str) -> str:
    return MarkdownIt("commonmark", {"html": True}).enable("table").render(text)


def find_code(text: str, heading: str) -> str:
    return re.search(rf"{heading}.*?\n```python\n(.*?)\n```", text, flags=re.DOTALL)[1]


# What it says ----------------------------------------------------------------------------------------------------------


def test_saved_run_has_a_card_that_loads_and_misses_no_file(finished):
    card = ModelCard.load(finished / "README.md")
    data = card.data.to_dict()
    assert yaml.safe_load(card.data.to_yaml()) == data
    assert ModelCardData(**data).to_dict() == data
    assert data["library_name"] == "transformers" and data["model_name"] == "tiny"
    assert {"trl", "grpo", "trl-forking", "forking-grpo", "generated_from_trainer"} <= set(data["tags"])
    assert "base_model" not in data and "datasets" not in data and "model-index" not in data
    links = re.findall(r"\]\(<?(?!https?://)([^)>]+)", card.text)
    assert links == ["training.png"]
    assert all((finished / link).is_file() for link in links)
    assert 5_000 < (finished / "training.png").stat().st_size < 60_000
    assert not list(finished.glob("_*"))


def test_card_has_the_figures_of_the_run(finished):
    run, text = read_record(finished), read_text(finished)
    history = run["history"]
    assert history["step"] == [1, 2, 3, 4]
    dead = sum(history["frac_reward_zero_std"]) / 4
    assert f"{dead:.0%}".replace("%", " %") + " of the groups had equal rewards" in text
    assert f"from {history['reward'][0]:.2f} at the first step to {history['reward'][-1]:.2f} at the last" in text
    assert "4 steps; each rollout had 16 prompts with 4 answers of up to 12 tokens" in text
    assert "on 16 prompts, with the reward `reward_fixed`" in text
    assert "No evaluation was recorded" in text
    assert "20 % of the counted tokens of a rollout batch" in text
    assert "None" not in text and "nan" not in text


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"token_selection": "low_entropy"}, "80 % of the counted tokens of a rollout batch with the lowest entropy"),
        (
            {"token_selection": "random", "selection_scope": "sequence"},
            "20 % of the counted tokens of an answer, drawn",
        ),
        ({"top_entropy_quantile": 1.0}, "All tokens were trained"),
        ({"selection_scope": "micro_batch"}, "of a forward pass where the model was least certain"),
    ],
)
def test_card_names_what_was_trained(tmp_path, settings, expected):
    trainer = build_trainer(str(tmp_path), **settings)
    trainer.create_model_card("tiny")  # before the first step
    text = read_text(tmp_path)
    assert expected in text
    has_forking_tokens = settings.keys() == {"selection_scope"}
    assert (read_record(tmp_path)["kept_tokens"] is not None) == has_forking_tokens
    assert "kept most often" not in text and "training.png" not in text


def test_dapo_is_cited_only_where_all_of_it_was_in_use(tmp_path):
    def describe(name, rewards, **settings):
        build_trainer(str(tmp_path / name), reward_funcs=rewards, **settings).create_model_card()
        return read_text(tmp_path / name)

    shaped = [reward_fixed, get_soft_overlong_punishment(12, 4)]
    whole = describe("whole", shaped, dynamic_sampling=True)
    assert "Dynamic sampling, clip-higher and overlong shaping are those of [DAPO]" in whole and "yu2025dapo" in whole
    part = describe("part", [reward_fixed, get_soft_overlong_punishment(12, 0)], dynamic_sampling=True)
    assert "it used dynamic sampling and clip-higher, but not overlong shaping" in part and "yu2025dapo" not in part
    none = describe("none", [reward_fixed], epsilon_high=0.2)
    assert "None of the techniques of [DAPO]" in none and "yu2025dapo" not in none


# Settings --------------------------------------------------------------------------------------------------------------


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


def test_config_of_the_command_line_is_what_repeats_the_run(folder):
    write_config(folder, "dataset_name: openai/gsm8k\nmodel_name_or_path: some/model\nmax_steps: 4")
    rebuild_card(folder)
    text = read_text(folder)
    assert "trl-forking grpo --config forking_config.yaml" in text and "ForkingGRPOConfig(\n" not in text
    assert ModelCard(text).data.datasets == ["openai/gsm8k"]
    assert "16 prompts of [openai/gsm8k](https://huggingface.co/datasets/openai/gsm8k)" in text


# Names -----------------------------------------------------------------------------------------------------------------

ODD = [
    "yes",
    "1e5",
    "a: b",
    "# x",
    "a|b",
    "`x` <b>y</b>",
    "quo\"te's",
    "größe 模型 🙂",
    "a\nb",
    "*_[x](y)_*",
    "{{ x }}",
    "---",
]


@pytest.mark.parametrize("name", ODD)
def test_odd_names_arrive_unchanged(folder, name):
    parts = {"model_name": name, "dataset_name": name, "tags": [name], "example_prompt": name}
    run = change_record(
        folder,
        names=parts,
        model={"base_model": name, "is_local": True},
        rewards=[{"name": name, "weight": 0.5}],
        kept_tokens={"tokens": [{"token_id": 1, "text": name, "kept": 1, "counted": 2}]},
        settings={"generation_kwargs": {"stop_strings": [name]}},
    )
    card = ModelCard.load(folder / "README.md")
    assert card.data.model_name == name and name in card.data.tags
    assert ModelCard(str(card)).data.to_dict() == card.data.to_dict()
    html = render(card.text)
    shown = " ".join(name.split())
    title = re.search(r"<h1>(.*?)</h1>", html)[1]
    escaped = shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    assert title == escaped
    assert "<b>" not in html and "<em>_" not in html
    rows = [row for row in re.findall(r"<tr>(.*?)</tr>", html, flags=re.DOTALL) if "generation_kwargs" in row]
    assert len(rows) == 1 and rows[0].count("<td>") == 2
    scope = {}
    exec(find_code(card.text, "How to train it again"), scope)
    assert scope["args"].generation_kwargs == run["settings"]["generation_kwargs"]


def test_names_of_the_hub_are_links_and_metadata(folder):
    change_record(folder, model={"base_model": "Qwen/Qwen3-8B-Base", "is_local": False}, names={"dataset_name": "a/b"})
    card = ModelCard.load(folder / "README.md")
    assert card.data.base_model == "Qwen/Qwen3-8B-Base" and card.data.datasets == ["a/b"]
    assert "This is [Qwen/Qwen3-8B-Base](https://huggingface.co/Qwen/Qwen3-8B-Base), fine-tuned" in card.text
    change_record(folder, names={"hub_model_id": "me/my-model", "model_name": None})
    text = read_text(folder)
    assert 'model="me/my-model"' in text and "\n# my-model\n" in text


# The user's own text ---------------------------------------------------------------------------------------------------


def test_making_it_again_changes_nothing(folder):
    first = read_text(rebuild_card(folder).parent)
    picture = (folder / "training.png").read_bytes()
    assert read_text(rebuild_card(folder).parent) == first
    assert (folder / "training.png").read_bytes() == picture


def test_own_text_sections_and_metadata_are_kept(folder):
    text = read_text(folder)
    text = text.replace("\n<!-- trl-forking: from", "\nMy words above.\n\n<!-- trl-forking: from", 1)
    text = text.replace("## Limits", "## Intended use\n\nSums.\n\n```\n## Limits\n```\n\n## Limits", 1)
    text = text.replace("library_name:", "license: mit\nlanguage: de\nlibrary_name:", 1) + "\n## Thanks\n\nTo all.\n"
    (folder / "README.md").write_text(text.replace("- trl\n", "- trl\n- mine\n", 1))
    for _ in range(2):
        change_record(folder, names={"model_name": "another"})
        card = ModelCard.load(folder / "README.md")
        assert card.data.license == "mit" and card.data.language == "de" and card.data.tags.count("mine") == 1
        assert card.data.model_name == "another"
        for part in ("My words above.", "## Intended use\n\nSums.\n\n```\n## Limits\n```", "## Thanks\n\nTo all."):
            assert card.text.count(part) == 1, part
        assert re.findall(r"^## (?:Quick start|Limits|Citations)$", card.text, flags=re.MULTILINE) == [
            *("## Quick start", "## Limits", "## Citations", "## Limits")
        ]  # the last one stands in the code block of a user's section


@pytest.mark.parametrize(
    ("existing", "kept_in"),
    [
        ("My own page, without metadata.", "README.md"),
        ("---\nlicense: mit\n---\nMy own page [More Information Needed]", "README.md"),
        ("---\ntags: [generated_from_trainer]\n---\n# Model Card\nof another trainer", "_README.previous.md"),
        ("---\nlicense: [mit\n---\nMy own page", "_README.broken.md"),
    ],
)
def test_a_page_that_was_there_is_not_lost(folder, existing, kept_in):
    (folder / "README.md").write_text(existing)
    rebuild_card(folder)
    last = existing.splitlines()[-1]
    assert last in (folder / kept_in).read_text() and "## Quick start" in read_text(folder)
    assert (last in read_text(folder)) == (kept_in == "README.md")


def test_a_card_that_cannot_be_written_leaves_the_old_one(folder, monkeypatch):
    before, run = read_text(folder), read_record(folder)
    write_record(folder, run | {"names": {"model_name": "another"}})
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        rebuild_card(folder)
    assert read_text(folder) == before and not list(folder.glob("_*"))


# Quick start -----------------------------------------------------------------------------------------------------------


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


# Adapters and resumed runs ---------------------------------------------------------------------------------------------


def test_saving_an_adapter_leaves_the_card_valid(tmp_path):
    """PEFT writes a form of its own, and later the folder of the base model and its tags, into the metadata."""
    from peft import LoraConfig

    build_model().save_pretrained(tmp_path / "base")
    config = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    trainer = build_trainer(
        str(tmp_path / "run"), model=str(tmp_path / "base"), trainer_kwargs={"peft_config": config}
    )
    (tmp_path / "run").mkdir(exist_ok=True)
    trainer.model.save_pretrained(tmp_path / "run")
    assert "[More Information Needed]" in read_text(tmp_path / "run"), "PEFT writes no card any more"
    trainer.save_model()
    first = read_text(tmp_path / "run")
    trainer.model.save_pretrained(tmp_path / "run")
    assert str(tmp_path / "base") in read_text(tmp_path / "run"), "PEFT leaves the metadata alone: _save can too"
    trainer.save_model()
    card = ModelCard.load(tmp_path / "run" / "README.md")
    assert str(tmp_path) not in str(card.data) and "base_model" not in card.data.to_dict()
    assert "forking-grpo" in card.data.tags and "[More Information Needed]" not in card.text
    assert (
        f"The adapter has {2 * (16 + 16) * 2} of " in card.text
        and "an adapter (LoRA) for `base` (not on the Hub), trained by" in card.text
    )
    assert card.text == ModelCard(first).text


class StopAtThird(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step == 3


@pytest.mark.parametrize("settings", [{}, {"gradient_accumulation_steps": 4, "steps_per_generation": 8}])
def test_resumed_run_has_the_whole_history_and_all_tokens(tmp_path, settings):
    """Of the two, the second is stopped amid the steps of a rollout."""
    settings = SAMPLED | settings | {"save_steps": 3}
    torch.manual_seed(0)
    whole = build_trainer(str(tmp_path / "whole"), **settings)
    whole.train()
    torch.manual_seed(0)
    stopped = build_trainer(str(tmp_path / "part"), **settings)
    stopped.add_callback(StopAtThird())
    stopped.train()
    assert "3 steps of 4 so far" in read_text(rebuild_card(tmp_path / "part").parent)
    resumed = build_trainer(str(tmp_path / "part"), **settings)
    resumed.train(resume_from_checkpoint=True)
    first, second = read_record(tmp_path / "whole"), read_record(tmp_path / "part")
    assert second["progress"]["resumed_at"] == [3] and first["progress"]["resumed_at"] == []
    assert second["history"]["step"] == [1, 2, 3, 4] and second["history"] == first["history"]
    assert second["kept_tokens"] == first["kept_tokens"] and first["kept_tokens"]["num_kept"] > 20
    text = read_text(rebuild_card(tmp_path / "part").parent)
    assert "The run was resumed at step 3; all figures here are of the whole run." in text


def test_two_processes_count_the_same_tokens_as_one(tmp_path):
    train_and_save(str(tmp_path / "one"))
    done = run_processes("card_worker.py", 2, str(tmp_path / "two"), "2")
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = read_record(tmp_path / "one"), read_record(tmp_path / "two")
    assert two["kept_tokens"] == one["kept_tokens"] and one["kept_tokens"]["num_kept"] > 40
    assert "on 2 processes (CPU)" in read_text(tmp_path / "two")


def test_only_the_main_process_writes(tmp_path, monkeypatch):
    trainer = build_trainer(str(tmp_path / "run"))
    monkeypatch.setattr(trainer, "is_world_process_zero", lambda: False)
    trainer.create_model_card("tiny")
    assert not list((tmp_path / "run").iterdir())


def test_what_was_given_once_is_remembered(tmp_path):
    trainer = build_trainer(str(tmp_path))
    trainer.create_model_card("a name", dataset_name="some/data", tags="sums", example_prompt="w3 w4")
    trainer.create_model_card(model_name="tiny")  # as TRL calls it at every checkpoint
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.model_name == "tiny" and card.data.datasets == ["some/data"] and "sums" in card.data.tags
    assert 'prompt = "w3 w4"' in card.text


# Plot, command ---------------------------------------------------------------------------------------------------------


def test_without_matplotlib_the_card_is_whole(folder, monkeypatch):
    (folder / "training.png").unlink()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    rebuild_card(folder)
    assert "training.png" not in read_text(folder) and "## Training procedure" in read_text(folder)


def test_command_makes_the_card_with_results(folder, tmp_path, capsys):
    result = {
        "dataset": "openai/gsm8k",
        "dataset_name": "GSM8K",
        "metric": "accuracy",
        "value": 0.412,
        "baseline": 0.4,
        "interval": [0.39, 0.44],
        "settings": {"temperature": 1.0},
        "num_samples": 1319,
    }
    (tmp_path / "scores.json").write_text(json.dumps(result))
    run_card([str(folder), "--eval_results", str(tmp_path / "scores.json")])
    assert capsys.readouterr().out == f"Wrote {folder / 'README.md'}\n"
    run_card([str(folder)])  # the file is in the folder now
    text = read_text(folder)
    assert (
        "| [GSM8K](https://huggingface.co/datasets/openai/gsm8k) | accuracy | 0.4 | 0.412 (0.39 to 0.44) | 1,319 | temperature `1.0` |"
        in text
    )
    assert ModelCard(text).data.eval_results[0].metric_value == 0.412


RESULT = {"dataset": "d", "metric": "accuracy", "value": 0.4}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"interval": 0.02},
            "'interval' must have pairs [low, high] of finite numbers, the lower one first, but one is 0.02.",
        ),
        ({"interval": [0.3]}, "'interval' must have pairs"),
        ({"interval": [0.5, 0.3]}, "'interval' must have pairs"),
        ({"interval": [0.3, "0.5"]}, "'interval' must have pairs"),
        ({"baseline": 0.1, "baseline_interval": [0.3, True]}, "'baseline_interval' must have pairs"),
        ({"baseline": "0.3"}, "'baseline' must have finite numbers, but one is '0.3'."),
        ({"value": True}, "'value' must have finite numbers, but one is True."),
        ({"value": 10**400}, "'value' must have finite numbers, but one is 1000"),
        ({"num_samples": "1319"}, "'num_samples' must have whole numbers above 0, but one is '1319'."),
        ({"num_samples": 0}, "'num_samples' must have whole numbers above 0, but one is 0."),
        ({"num_samples": 1319.5}, "'num_samples' must have whole numbers above 0"),
        ({"settings": "greedy"}, "'settings' must have mappings without num_samples, interval, baseline,"),
        ({"settings": {"interval": 3}}, "'settings' must have mappings without num_samples, interval, baseline,"),
        ({"dataset_name": 3}, "'dataset_name' must have texts, but one is 3."),
        ({"metric": " "}, "'metric' must have texts, but one is ' '."),
        ({"metric": None}, "has a result with no 'metric'"),
    ],
)
def test_a_field_of_another_kind_is_named_in_a_sentence(folder, capsys, fields, message):
    path = folder / "eval_results.json"
    path.write_text(json.dumps([RESULT, RESULT | fields]))
    with pytest.raises(SystemExit) as stopped:
        run_card([str(folder)])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and error.startswith(f"error: {path}") and message in error
    assert len(error.splitlines()) == 2


def test_null_is_as_good_as_no_field(folder):
    optional = ("task", "dataset_name", "num_samples", "interval", "baseline", "baseline_interval", "settings")
    (folder / "eval_results.json").write_text(json.dumps(RESULT))
    without = read_text(rebuild_card(folder).parent)
    (folder / "eval_results.json").write_text(json.dumps(RESULT | dict.fromkeys(optional)))
    assert read_text(rebuild_card(folder).parent) == without and "| d | accuracy |  | 0.4 |  |  |" in without


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"results": {"gsm8k": 0.4}}, "the results of 'gsm8k' must be a mapping of metrics, but they are 0.4."),
        (
            {"results": {"gsm8k": {"acc,none": 0.4}}, "n-samples": {"gsm8k": {"effective": "all"}}},
            "'num_samples' must have",
        ),
    ],
)
def test_a_broken_file_of_lm_evaluation_harness_is_named(folder, content, message):
    (folder / "eval_results.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=re.escape(message)):
        rebuild_card(folder)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: shutil.rmtree(folder), "there is no such folder"),
        (lambda folder: (folder / "forking_run.json").unlink(), "has no forking_run.json, so no run"),
        (lambda folder: (folder / "forking_run.json").write_text('{"format": 1, '), "forking_run.json cannot be read"),
        (lambda folder: (folder / "forking_run.json").write_text('{"format": 99}'), "is not of this version"),
        (lambda folder: (folder / "eval_results.json").write_text("{"), "eval_results.json cannot be read as JSON"),
        (lambda folder: (folder / "forking_config.yaml").write_text("a: [1"), "cannot be read as YAML"),
    ],
)
def test_command_says_in_a_sentence_what_is_wrong(folder, capsys, spoil, message):
    spoil(folder)
    with pytest.raises(SystemExit) as stopped:
        run_card([str(folder)])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and message in error and "Traceback" not in error
    assert len(error.splitlines()) == 2 and error.startswith("error: ")


def test_command_without_a_folder(capsys):
    with pytest.raises(SystemExit):
        run_card([])
    assert "the folder is missing: trl-forking card FOLDER" in capsys.readouterr().err


def test_every_heading_is_known_as_generated(folder):
    (folder / "eval_results.json").write_text('{"dataset": "d", "metric": "accuracy", "value": 1}')
    rebuild_card(folder)
    block = read_text(folder)
    card = build_model_card(read_record(folder), folder, existing=ModelCard(block))
    assert card.text.rstrip().endswith("end mark -->"), "a section of the template is taken for one of the user's"


# The examples ----------------------------------------------------------------------------------------------------------

CARDS = Path(__file__).parents[2] / "docs" / "cards"


@pytest.mark.parametrize("name", ["countdown", "resumed", "smollm2-lora"])
def test_example_cards_are_cards_of_the_hub(name):
    card = ModelCard.load(CARDS / name / "README.md")
    data = card.data.to_dict()
    assert ModelCardData(**data).to_dict() == data and ModelCard(str(card)).data.to_dict() == data
    assert "datasets" not in data and data["library_name"] == ("peft" if name == "smollm2-lora" else "transformers")
    links = [link for link in re.findall(r"\]\(<?([^)>]+)", card.text) if not link.startswith("https://")]
    assert links == ["training.png"] and (CARDS / name / "training.png").is_file()
    words = re.sub(r"https?://\S+", "", str(card))
    assert not re.findall(r"(?<![\w.:~-])(?:~|[A-Za-z]:)?[/\\](?:[\w.-]+[/\\])+[\w.-]*", words)
    assert re.search(r"reinforcement learning on [\d,]+ prompts of `[^`]+`, with the reward `", card.text)


def test_example_cards_are_all_tested():
    assert {path.parent.name for path in CARDS.glob("*/README.md")} == {"countdown", "resumed", "smollm2-lora"}


# Upstream --------------------------------------------------------------------------------------------------------------


def test_upstream_has_what_the_record_reads(tmp_path):
    from trl.trainer import utils

    trainer = build_trainer(str(tmp_path))
    names, weights = getattr(trainer, "reward_func_names", None), getattr(trainer, "reward_weights", torch.zeros(0))
    assert names == ["reward_fixed"], f"TRL's GRPOTrainer.reward_func_names is {names}, and no longer their names."
    assert weights.tolist() == [1.0], f"TRL's GRPOTrainer.reward_weights is {weights}, and no longer one for each."
    cache = getattr(get_soft_overlong_punishment(12, 4), "soft_punish_cache", None)
    assert cache == 4, f"TRL's overlong reward has soft_punish_cache {cache}: the card takes its cache from there."
    for name in ("get_trackio_space_url", "get_comet_experiment_url"):
        url = getattr(utils, name, lambda: "missing")()
        assert url is None, f"TRL's {name} is {url!r} without a run of that tracker, and no longer None."


def test_card_is_a_command(tmp_path, capsys):
    from trl_forking.commands.main import main

    with pytest.raises(SystemExit) as stop:
        main(["card", str(tmp_path / "no-such-run")])
    assert stop.value.code == 2 and "no-such-run" in capsys.readouterr().err


def test_what_breaks_a_card_costs_no_run(tmp_path, caplog):
    """Such as an evaluation that writes into the folder in the middle of training, in a form of its own."""
    (tmp_path / "eval_results.json").write_text('{"accuracy": 0.4}')
    trainer = build_trainer(tmp_path, max_steps=2, save_strategy="steps", save_steps=1)
    trainer.train()
    trainer.save_model()
    assert (tmp_path / "checkpoint-2" / "trainer_state.json").is_file() and (tmp_path / "model.safetensors").is_file()
    assert "The model card was not made" in caplog.text and "eval_results.json" in caplog.text


def test_another_run_in_the_folder_begins_its_own_record(tmp_path):
    first = build_trainer(tmp_path, max_steps=2, logging_steps=1)
    first.train()
    first.create_model_card(dataset_name="some/data", example_prompt="w3 w4")
    assert (tmp_path / "training.png").is_file()
    second = build_trainer(tmp_path)
    second.create_model_card()
    names = read_record(tmp_path)["names"]
    assert "dataset_name" not in names and "example_prompt" not in names
    assert not (tmp_path / "training.png").is_file()
    second.create_model_card(dataset_name="other/data")
    second.create_model_card()
    assert read_record(tmp_path)["names"]["dataset_name"] == "other/data"  # its own it remembers


def test_secrets_at_any_depth_stay_out_of_the_configuration(tmp_path):
    write_config(
        tmp_path,
        "max_steps: 3\nmodel_init_kwargs:\n  token: hf_secret\nvllm_server_base_url: http://me:pw@node:8000\n",
    )
    text = (tmp_path / "forking_config.yaml").read_text()
    assert "hf_secret" not in text and "pw@" not in text and "http://node:8000" in text
