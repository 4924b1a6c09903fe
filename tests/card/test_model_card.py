"""What the card of a run says, and that no name and no fault breaks it."""

import re
import sys

import pytest
import yaml
from huggingface_hub import ModelCard, ModelCardData
from trl.rewards import get_soft_overlong_punishment

from helpers.cards import change_record, find_code, read_text, render
from helpers.tiny import build_dataset, build_trainer, reward_fixed
from trl_forking.card.model_card import rebuild_card
from trl_forking.card.run_files import read_record


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
    share = sum(history["frac_reward_zero_std"]) / 4
    assert f"{100 * share:.2g} % of the groups had equal rewards" in text
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
        ({"token_selection": "gradient_norm"}, "The share was 20 %."),
        (
            {"token_selection": "gradient_norm"},
            r"$|A| \sqrt{1 - 2 p(y_t) + \sum_v p_v^2}$. The rule is from [GMTS: Gradient",
        ),
        ({"token_selection": "surprisal_band"}, "eprint = {arXiv:2606.31575}"),
        ({"top_entropy_quantile_end": 1.0}, "The share went from 20 % to 100 % over the first 80 % of the steps"),
        ({"token_rule": "math.sqrt"}, "GRPO and the token rule `math.sqrt`: a rule of the user's own."),
        ({"selection_scope": "micro_batch"}, "of a forward pass where the model was least certain"),
    ],
)
def test_card_names_what_was_trained(tmp_path, settings, expected):
    trainer = build_trainer(str(tmp_path), **settings)
    trainer.create_model_card("tiny")  # before the first step
    text = read_text(tmp_path)
    assert expected in text
    has_forking_tokens = settings.keys() in ({"selection_scope"}, {"top_entropy_quantile_end"})
    assert (read_record(tmp_path)["kept_tokens"] is not None) == has_forking_tokens
    assert "kept most often" not in text and "training.png" not in text


def test_dapo_is_cited_only_where_all_of_it_was_in_use(tmp_path):
    def describe(name, rewards, **settings):
        build_trainer(str(tmp_path / name), reward_funcs=rewards, **settings).create_model_card()
        return read_text(tmp_path / name)

    shaped = [reward_fixed, get_soft_overlong_punishment(12, 4)]
    whole = describe("whole", shaped, dynamic_sampling=True)
    assert (
        "The run used dynamic sampling, clip-higher and overlong shaping, as in [DAPO]" in whole
        and "yu2025dapo" in whole
    )
    part = describe("part", [reward_fixed, get_soft_overlong_punishment(12, 0)], dynamic_sampling=True)
    assert (
        "the run used dynamic sampling and clip-higher, but not overlong shaping" in part and "yu2025dapo" not in part
    )
    unweighted = describe("unweighted", shaped, reward_weights=[1.0, 0.0])
    assert "the run used clip-higher, but not dynamic sampling or overlong shaping" in unweighted
    none = describe("none", [reward_fixed], epsilon_high=0.2)
    assert "The run used no technique of [DAPO]" in none and "yu2025dapo" not in none


def test_one_of_a_thing_is_singular(tmp_path):
    sizes = {"per_device_train_batch_size": 4, "num_generations": 4, "gradient_accumulation_steps": 1}
    trainer = build_trainer(str(tmp_path), train_dataset=build_dataset(1), max_completion_length=1, **sizes)
    trainer.create_model_card("tiny")
    text = read_text(tmp_path)
    assert "on 1 prompt, with the reward `reward_fixed`" in text
    assert "each rollout had 1 prompt with 4 answers of up to 1 token, sampled" in text
    assert not re.search(r"\b1 (?:prompts|answers|tokens|steps|processes|groups)\b", text)


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


def test_without_matplotlib_the_card_is_whole(folder, monkeypatch):
    (folder / "training.png").unlink()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    rebuild_card(folder)
    assert "training.png" not in read_text(folder) and "## Training procedure" in read_text(folder)


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
