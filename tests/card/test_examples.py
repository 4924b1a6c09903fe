"""The example cards in the docs."""

import re
from pathlib import Path

import pytest
from huggingface_hub import ModelCard, ModelCardData


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
    assert re.search(r"reinforcement learning on [\d,]+ prompts of `[^`]+`, with the rewards? `", card.text)


def test_example_cards_are_all_tested():
    assert {path.parent.name for path in CARDS.glob("*/README.md")} == {"countdown", "resumed", "smollm2-lora"}
