"""`trl-forking rules` lists every rule, and the example of a user's own rule runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trl_forking.commands.main import main
from trl_forking.selection.rules import RULES


ROOT = Path(__file__).parents[2]


def test_the_table_has_a_line_for_every_rule(capsys):
    main(["rules"])
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["name", "selects", "paper", "cost"]
    assert [line.split()[0] for line in lines] == list(RULES)
    for line, rule in zip(lines, RULES.values(), strict=True):
        assert rule.facts.selects in line and rule.facts.cost in line and len(line) < 180
        assert rule.facts.paper is None or rule.facts.paper.link.rpartition("/")[2] in line


def test_json_has_the_same_facts(capsys):
    main(["rules", "--json"])
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["name"] for row in rows] == list(RULES) and all(row["equation"] for row in rows)


def test_one_rule_in_full(capsys):
    main(["rules", "rare_token_veto"])
    text = capsys.readouterr().out
    assert "https://huggingface.co/papers/2602.15620" in text and "Deviations:" in text


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["gradient-norm"], "'gradient-norm' is not a rule: did you mean 'gradient_norm'?"),
        (["--josn"], "unknown argument '--josn': trl-forking rules takes one NAME and --json."),
        (["random", "covariance"], "unknown argument 'covariance'"),
    ],
)
def test_a_mistake_is_one_sentence(flags, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["rules", *flags])
    assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_the_page_has_every_rule():
    page = (ROOT / "docs" / "rules.md").read_text()
    assert [name for name in RULES if f"\n| `{name}` |" not in page] == []


@pytest.mark.slow
def test_a_rule_of_ones_own_in_25_lines(tmp_path):
    script = ROOT / "examples" / "own_token_rule.py"
    assert len(script.read_text().splitlines()) <= 25
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, script, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    assert "forking/kept_fraction" in done.stdout and "'train_runtime'" in done.stdout
    card = (tmp_path / "README.md").read_text()
    assert "GRPO and the token rule `__main__.surprising`" in card
