"""`trl-forking compare` as a user runs it, in one process."""

import csv
import json
import math

import numpy as np
import pytest
import torch

from trl_forking.analysis import compute_token_scores, read_records
from trl_forking.commands.main import main
from trl_forking.countdown import load_countdown_model, load_countdown_tokenizer


FEW = ["--num_prompts", "3", "--num_generations", "2", "--max_completion_length", "24"]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Two models that moved away from the built-in one, the second one further."""
    paths = []
    for step, scale in ((10, 0.02), (20, 0.1)):
        path = tmp_path_factory.mktemp("run") / f"checkpoint-{step}"
        model = load_countdown_model()
        torch.manual_seed(0)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += scale * parameter.std() * torch.randn_like(parameter)
        model.save_pretrained(path)
        load_countdown_tokenizer().save_pretrained(path)
        paths.append(str(path))
    return paths


def test_comparison_follows_the_papers_protocol(checkpoints, tmp_path, capsys):
    flags = ["--prompts", "countdown", "--output_dir", str(tmp_path), *FEW]
    main(["compare", "--base", "countdown", "--checkpoints", *checkpoints, *flags])
    records = read_records(tmp_path)
    last, base = ([record.entropies for record in records], [])
    for record in records:
        (score,) = compute_token_scores(
            load_countdown_model(), [record.prompt_ids.tolist()], [record.token_ids.tolist()]
        )
        base.append(score.entropies)

    def find_forks(entropies):
        joined = np.concatenate(entropies)
        return set(np.argsort(-joined, kind="stable")[: math.ceil(0.2 * len(joined))].tolist())

    shared = len(find_forks(base) & find_forks(last)) / len(find_forks(base))
    comparison = json.loads((tmp_path / "comparison.json").read_text())
    assert [row["checkpoint"] for row in comparison["overlap"]] == ["countdown", "checkpoint-10", "checkpoint-20"]
    to_first = [row["to_first"] for row in comparison["overlap"]]
    assert to_first[0] == 1.0 and to_first[-1] == pytest.approx(shared, abs=0.05)
    assert to_first[1] > to_first[2]
    assert comparison["overlap"][-1]["to_last"] == 1.0
    means = [row["mean_entropy"] for row in comparison["overlap"]]
    assert means[0] == pytest.approx(np.concatenate(base).mean(), abs=1e-5)
    with (tmp_path / "change_by_bin.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 20
    for name in ("overlap", "percentiles", "change_by_bin"):
        assert (tmp_path / f"{name}.png").is_file() and (tmp_path / f"{name}.csv").is_file()
    assert "| checkpoint-20 |" in (tmp_path / "comparison.md").read_text()
    assert "Forks of checkpoint-20, compared with countdown" in (tmp_path / "report.html").read_text()
    assert "are forks of checkpoint-20 too" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--checkpoints", "a"], "base is missing"),
        (["--base", "countdown"], "checkpoints is missing"),
        (["--base", "countdown", "--checkpoints", "a", "b", "./a"], "a is given twice"),
        (["--base", "a", "--checkpoints", "b", "a/"], "a/ is given twice"),
        (["--base", "countdown", "--checkpoints", "run/to"], "cannot be called 'to'"),
        (["--base", "./none", "--checkpoints", "countdown"], "There is no model at ./none"),
    ],
)
def test_mistakes_in_a_comparison(flags, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["compare", "--prompts", "countdown", *FEW, *flags])
    assert message in capsys.readouterr().err
