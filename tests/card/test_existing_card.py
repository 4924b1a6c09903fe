"""What a user wrote into a card is kept, and a card that cannot be written leaves the old one."""

import os
import re
import sys

import pytest
from huggingface_hub import ModelCard

from helpers.cards import change_record, read_text
from helpers.tiny import build_model, build_trainer
from trl_forking.card.existing_card import BEGIN
from trl_forking.card.model_card import build_model_card, rebuild_card
from trl_forking.card.run_files import read_record, write_record


@pytest.mark.slow
def test_making_it_again_changes_nothing(folder):
    first = read_text(rebuild_card(folder).parent)
    picture = (folder / "training.png").read_bytes()
    assert read_text(rebuild_card(folder).parent) == first
    assert (folder / "training.png").read_bytes() == picture


def test_own_text_sections_and_metadata_are_kept(folder):
    text = read_text(folder)
    text = text.replace("\n<!-- trl-forking: begin", "\nMy words above.\n\n<!-- trl-forking: begin", 1)
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


def test_a_card_of_version_0_1_is_taken_over(folder):
    """Its first mark has other words."""
    old = (
        "<!-- trl-forking: from here to the end mark the card is made anew; your own text before and after is kept -->"
    )
    text, begin = read_text(folder), BEGIN
    assert text.count(begin) == 1
    (folder / "README.md").write_text(text.replace(begin, f"My words above.\n\n{old}\n\n") + "\nMy words below.\n")
    for _ in range(2):
        rebuild_card(folder)
        made = read_text(folder)
        assert made.count(begin) == made.count("## Quick start") == 1 and old not in made
        assert made.index("My words above.") < made.index(begin) < made.index("end mark -->") < made.index("below.")


def test_a_card_that_cannot_be_written_leaves_the_old_one(folder, monkeypatch):
    before, run = read_text(folder), read_record(folder)
    write_record(folder, run | {"names": {"model_name": "another"}})
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        rebuild_card(folder)
    assert read_text(folder) == before and not list(folder.glob("_*"))


def test_every_heading_is_known_as_generated(folder):
    (folder / "eval_results.json").write_text('{"dataset": "d", "metric": "accuracy", "value": 1}')
    rebuild_card(folder)
    block = read_text(folder)
    card = build_model_card(read_record(folder), folder, existing=ModelCard(block))
    assert card.text.rstrip().endswith("end mark -->"), "a section of the template is taken for one of the user's"


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
