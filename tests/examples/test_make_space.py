"""The folder of the Space is what the script makes from the committed example, and the Hub can read it."""

import inspect
import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from huggingface_hub import SpaceCard
from huggingface_hub.cli.upload import upload
from huggingface_hub.constants import SPACES_SDK_TYPES


ROOT = Path(__file__).parents[2]
SCRIPT, SPACE, EXAMPLE = (
    ROOT / "examples" / "make_space.py",
    ROOT / "examples" / "space",
    ROOT / "docs/analysis/smollm2",
)
MAKE = runpy.run_path(str(SCRIPT))
# What https://huggingface.co/docs/hub/spaces-config-reference takes.
COLORS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
MAX_SHORT_DESCRIPTION = 60


def test_committed_space_is_that_of_the_committed_example(tmp_path):
    MAKE["make_space"](EXAMPLE, tmp_path)
    assert sorted(path.name for path in SPACE.iterdir()) == ["README.md", "index.html"]
    for made in tmp_path.iterdir():
        assert made.read_bytes() == (SPACE / made.name).read_bytes(), f"run examples/make_space.py: {made.name} is old"
    assert (SPACE / "index.html").read_bytes() == (EXAMPLE / "report.html").read_bytes()


def test_space_is_static_small_and_needs_no_network():
    card = SpaceCard.load(SPACE / "README.md")
    assert card.data.sdk == "static" and card.data.sdk in SPACES_SDK_TYPES
    assert (SPACE / card.data.app_file).is_file()
    assert {card.data.colorFrom, card.data.colorTo} <= COLORS
    assert len(card.data.short_description) <= MAX_SHORT_DESCRIPTION
    assert sum(path.stat().st_size for path in SPACE.iterdir()) < 1_000_000
    page = (SPACE / "index.html").read_text()
    assert "default-src 'none'" in page
    assert not re.findall(r'(?:src|href)="(?:https?:)?//[^"]*"', page)


def test_card_has_the_figures_of_the_summary():
    settings, summary = (json.loads((EXAMPLE / name).read_text()) for name in ("run.json", "summary.json"))
    card = (SPACE / "README.md").read_text()
    assert f"{settings['num_generations']} answers to each of {settings['num_prompts']} prompts" in card
    assert f"{summary['num_tokens']:,} tokens" in card


@pytest.mark.parametrize("model", ["countdown", 'a: "b" #c', "my/folder/模型.gguf"])
def test_header_is_yaml_whatever_the_model_is_called(model):
    settings, summary = (json.loads((EXAMPLE / name).read_text()) for name in ("run.json", "summary.json"))
    card = MAKE["write_card"](settings | {"model": model}, summary)
    header = yaml.safe_load(card.split("---\n")[1])
    assert header["title"] == f"Forks of {Path(model).name}"


def test_commands_on_the_card_have_flags_of_the_programs():
    """The upload is the one command that a test cannot run."""
    card = (SPACE / "README.md").read_text() + SCRIPT.read_text()
    uploads = set(re.findall(r"hf upload (.*)", card))
    parameters = list(inspect.signature(upload).parameters)
    assert parameters[:3] == ["repo_id", "local_path", "path_in_repo"] and "repo_type" in parameters
    assert len(uploads) >= 2 and all(re.search(r" \. --repo-type space\W*$", upload) for upload in uploads), uploads


def test_folder_without_an_analysis_is_told_in_one_sentence(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    command = [sys.executable, str(SCRIPT), str(tmp_path), str(tmp_path / "space")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "has no report.html and no summary.json" in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "space").exists()
