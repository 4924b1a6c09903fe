"""docs/data.md shows what is printed, and has every error with its remedy."""

import ast
import json
from pathlib import Path

import pytest

import trl_forking.data
from trl_forking.data.problems import load_problems
from trl_forking.run import lengths


PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
SOURCES = [*Path(trl_forking.data.__file__).parent.glob("*.py"), Path(lengths.__file__)]


def test_the_page_shows_what_is_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [
        {"question": "What is 1 + 1?", "answer": 2},
        {"question": "What is 7 times 8?", "solution": r"We get $\boxed{56}$, which is $4$ less than 60."},
        {"question": "Prove it.", "answer": None},
        {"question": "What is 1 + 1?", "answer": "2"},
        {"question": None, "answer": "2"},
        {"question": "What is a half?", "answer": r"\frac{1}{"},
    ]
    Path("problems.jsonl").write_text("\n".join(map(json.dumps, rows)))
    load_problems("problems.jsonl")
    assert f"```\n{capsys.readouterr().out}```" in PAGE


def find_messages(source):
    """Find the literal parts of the message of every `UserError` in a source."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "UserError":
            texts = [
                part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)
            ]
            parts = [text for text in texts if len(text) > 8]
            if parts:
                yield parts


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_every_error_is_on_the_page(source):
    for parts in find_messages(source.read_text()):
        assert any(part.strip(" .:(\n") in PAGE for part in parts), parts


def test_an_error_that_is_not_on_the_page_is_found():
    assert list(find_messages('raise UserError(f"{path}: the moon is in the way.")')) == [
        [": the moon is in the way."]
    ]
    assert "the moon is in the way" not in PAGE
