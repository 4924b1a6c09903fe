"""`trl-forking analyze` as a user runs it, in one process."""

import base64
import csv
import json
import math

import numpy as np
import pytest

from trl_forking.analysis import read_records
from trl_forking.analysis.page import choose_min_count
from trl_forking.commands.main import main


FEW = ["--num_prompts", "3", "--num_generations", "2", "--max_completion_length", "24"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An analysis of the built-in model."""
    path = tmp_path_factory.mktemp("analysis")
    main(["analyze", "--model_name_or_path", "countdown", "--prompts", "countdown", "--output_dir", str(path), *FEW])
    return path


def test_analysis_has_page_plots_and_tables(folder):
    records, summary = read_records(folder), json.loads((folder / "summary.json").read_text())
    assert len(records) == 6 and summary["num_answers"] == 6
    assert all(record.reward in (0.0, 1.0) for record in records)
    assert summary["num_forks"] == math.ceil(0.2 * sum(len(record.tokens) for record in records))
    for name in ("entropy_histogram", "cumulative_share", "fork_words"):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    with (folder / "by_correctness.csv").open() as file:
        assert sum(int(row["num_tokens"]) for row in csv.DictReader(file)) == summary["num_tokens"]
    page = (folder / "report.html").read_text()
    assert "Forks of countdown" in page and page.count("data:image/svg+xml") == 3


def test_finished_analysis_is_read_again(folder, capsys):
    before = [path.stat().st_mtime_ns for path in sorted((folder / "answers").iterdir())]
    main(["analyze", "--model_name_or_path", "countdown", "--prompts", "countdown", "--output_dir", str(folder), *FEW])
    assert [path.stat().st_mtime_ns for path in sorted((folder / "answers").iterdir())] == before
    assert "nats" in capsys.readouterr().out


def test_the_page_marks_what_a_rule_would_train(folder, capsys):
    """The same answers, not collected again; `gradient_norm` has them scored once more."""
    flags = ["--output_dir", str(folder), *FEW, "--token_selection", "gradient_norm, high_entropy"]
    main(["analyze", "--model_name_or_path", "countdown", "--prompts", "countdown", *flags])
    output, page = capsys.readouterr().out, (folder / "report.html").read_text()
    assert "gradient_norm would train " in output and "gradient_norm and high_entropy have " in output
    data = json.loads(page.split('type="application/json" id="data">')[1].split("</script>")[0])
    num_tokens = sum(answer["length"] for answer in data["answers"])
    scores = np.frombuffer(base64.b64decode(data["tokens"]["scores"]), "<f4")
    marked = np.frombuffer(base64.b64decode(data["tokens"]["trained"]), "u1").astype(bool)
    assert len(scores) == len(marked) == num_tokens and data["marked_by"] == "the rule gradient_norm"
    assert 0 < marked.sum() <= math.ceil(0.2 * num_tokens) and scores[marked].min() >= np.sort(scores)[-marked.sum()]
    assert data["tables"][0]["caption"] == "What the rules have in common"


def test_an_unknown_rule_is_refused_before_the_model_is_loaded(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["analyze", "--model_name_or_path", "none", "--prompts", "none", "--token_selection", "gradient"])
    assert stopped.value.code == 2
    assert "'gradient' is not a rule: did you mean 'gradient_norm'?" in capsys.readouterr().err


def test_scores_of_quality_are_added_on_request(tmp_path):
    flags = ["--output_dir", str(tmp_path), "--hes", "--num_prompts", "1", "--max_completion_length", "8"]
    main(["analyze", "--model_name_or_path", "countdown", "--prompts", "countdown", *flags])
    for record in read_records(tmp_path):
        assert record.hes == pytest.approx(float(np.max(record.entropies)))


def test_prompts_of_a_file_are_checked_by_math_verify(tmp_path, monkeypatch):
    pytest.importorskip("math_verify")
    file = tmp_path / "problems.jsonl"
    file.write_text(json.dumps({"prompt": "nums 3 5 2 goal 16 :", "answer": "16"}) + "\n")
    flags = ["--output_dir", str(tmp_path / "out"), "--max_completion_length", "8"]
    main(["analyze", "--model_name_or_path", "countdown", "--prompts", str(file), *flags])
    assert {record.reward for record in read_records(tmp_path / "out")} == {0.0}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--prompts", "countdown"], "model_name_or_path is missing"),
        (["--model_name_or_path", "countdown"], "prompts is missing"),
        (["--model_name_or_path", "countdown", "--prompts", "none.jsonl"], "There is no file none.jsonl"),
        (["--model_name_or_path", "./none", "--prompts", "countdown"], "There is no model at ./none"),
        (["--model_name_or_path", "countdown", "--prompts", "countdown", "--num_prompt", "3"], "did you mean --num_prompts"),
        (["--model_name_or_path", "countdown", "--prompts", "countdown", "--verifier", "math"], "does not fit --prompts"),
        (["--model_name_or_path", "countdown", "--prompts", "countdown", "--temperature", "0"], "temperature"),
        (["--model_name_or_path", "countdown", "--prompts", "countdown", "--top_entropy_quantile", "2"], "top_entropy_quantile"),
        (["--model_name_or_path", "countdown", "--prompts", "countdown", "--max_answers", "0"], "max_answers must be at least 1"),
        (["--model_name_or_path", "countdown", "--prompts", "countdown", "--min_count", "0"], "min_count must be at least 1"),
        (["--model_name_or_path", "countdown", "--prompts", "countdown", "--batch_size", "0"], "batch_size must be at least 1"),
        (["--model_name_or_path", "countdown", "--prompts", "countdown", "--num_generations", "0"], "num_generations must be"),
        (["--model_name_or_path", "countdown", "--prompts", "countdown", "--top_alternatives", "-1"], "top_alternatives must"),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_one_sentence_before_the_first_answer(flags, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["analyze", *flags])
    errors = capsys.readouterr().err
    assert stop.value.code == 2 and message in errors and len(errors.splitlines()) <= 3
    assert not (tmp_path / "runs").exists()


def test_a_missing_package_is_named_before_the_first_answer(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("trl_forking.run.user_errors.find_spec", lambda name: None if name == "matplotlib" else name)
    with pytest.raises(SystemExit):
        main(["analyze", "--model_name_or_path", "countdown", "--prompts", "countdown"])
    assert "matplotlib is not installed: pip install 'trl-forking[analysis]'" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_other_answers_in_the_folder_are_refused(folder, capsys):
    flags = ["--model_name_or_path", "countdown", "--prompts", "countdown", "--output_dir", str(folder), *FEW]
    with pytest.raises(SystemExit):
        main(["analyze", *flags, "--seed", "1"])
    assert "seed 42, not 1" in capsys.readouterr().err
    assert len(read_records(folder)) == 6


def test_rare_tokens_are_listed_in_small_collections_only():
    class Answer:
        tokens = [""] * 30_000

    assert choose_min_count([Answer()], None) == 30
    assert choose_min_count([Answer()] * 10, None) == 101
