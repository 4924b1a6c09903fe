"""Data files from public reports, each with its right outcome, in the loader, in training and in analysis."""

from pathlib import Path

import pytest

from trl_forking.analysis import read_records
from trl_forking.commands.analyze import AnalyzeArguments
from trl_forking.commands.answer_arguments import read_prompts
from trl_forking.commands.main import main
from trl_forking.commands.train_math import build_trainer, read_run
from trl_forking.data.problems import load_problems
from trl_forking.run.user_errors import UserError


CASES = Path(__file__).parent / "cases"
# The right answers that are used, and what is said about each row that is left out.
OUTCOMES = {
    "prose_solution.jsonl": (["80", "56"], []),
    "empty_solution.jsonl": (["5", "8"], []),
    "line_separator.jsonl": (["2", "3"], []),
    "mixed_types.jsonl": (["2", "$5$;$10$", "0.5", "1000000000000000000000001"], []),
    "mixed_types_reversed.jsonl": (["x+1", "2"], []),
    "null_answer.jsonl": (["2"], ["row 2 (answer is null)", "row 3 (no column answer"]),
    "first_row_without_answer.jsonl": (["2"], ["row 1 (no column answer"]),
    "bom_and_blank_lines.jsonl": (["2", "4"], []),
    "reward_model.jsonl": (["2"], ["row 2 (reward_model has no ground_truth)"]),
    "null_question.jsonl": (["4"], ["row 1 (question is null)"]),
    "from_value_chat.jsonl": (["4"], []),
    "problems.csv": (["1,001", "4"], []),
}
BROKEN = r"broken_line\.jsonl:2: not a JSON object: write one per line\. The file has 2 other rows\."
each_case = pytest.mark.parametrize("name", OUTCOMES)


def check_report(text, name):
    golds, left_out = OUTCOMES[name]
    assert f"{len(golds)} of {len(golds) + len(left_out)} problems have an answer" in text
    assert [part for part in left_out if part not in text] == []
    assert ("left out" in text) == bool(left_out)


def test_every_case_has_an_outcome():
    assert {path.name for path in CASES.iterdir()} == {*OUTCOMES, "broken_line.jsonl"}


@each_case
def test_the_loader(name, capsys):
    assert load_problems(str(CASES / name))["solution"] == OUTCOMES[name][0]
    check_report(capsys.readouterr().out, name)


def build_flags(model, data, output_dir):
    settings = {"model_name_or_path": model, "dataset_name": data, "output_dir": output_dir, "report_to": "none"}
    sizes = {
        "per_device_train_batch_size": 4,
        "num_generations": 4,
        "max_completion_length": 8,
        "steps_per_generation": 1,
    }
    sizes |= {"gradient_accumulation_steps": 1, "use_cpu": True, "bf16": False}
    return [str(part) for flag, value in (settings | sizes).items() for part in (f"--{flag}", value)]


@each_case
def test_training(name, tiny_model_folder, tmp_path, capsys):
    run = read_run(build_flags(tiny_model_folder, CASES / name, tmp_path / "out"))
    assert build_trainer(run).train_dataset["solution"] == OUTCOMES[name][0]
    check_report(capsys.readouterr().out, name)


@each_case
def test_analysis(name, tiny_model_folder, capsys):
    rows, verifier = read_prompts(AnalyzeArguments(prompts=str(CASES / name), model_name_or_path="tiny"))
    assert [row["solution"] for row in rows] == OUTCOMES[name][0]
    assert [verifier(row, rf"\boxed{{{row['solution']}}}") for row in rows] == [1.0] * len(rows)
    check_report(capsys.readouterr().out, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mixed_types.jsonl", "null_answer.jsonl", "from_value_chat.jsonl"])
def test_a_whole_analysis(name, tiny_model_folder, tmp_path, capsys):
    flags = ["--model_name_or_path", tiny_model_folder, "--prompts", CASES / name, "--output_dir", tmp_path / "out"]
    flags += ["--num_generations", 1, "--max_completion_length", 4]
    main(["analyze", *map(str, flags)])
    records = read_records(tmp_path / "out")
    assert [record.reward for record in records] == [0.0] * len(OUTCOMES[name][0])
    check_report(capsys.readouterr().out, name)


def test_a_broken_line_is_refused(tiny_model_folder, tmp_path, capsys):
    data = CASES / "broken_line.jsonl"
    with pytest.raises(UserError, match=BROKEN):
        load_problems(str(data))
    with pytest.raises(UserError, match=BROKEN):
        read_prompts(AnalyzeArguments(prompts=str(data), model_name_or_path="tiny"))
    run = read_run(build_flags(tiny_model_folder, data, tmp_path / "out"))
    with pytest.raises(SystemExit) as stopped:
        build_trainer(run)
    error = capsys.readouterr().err
    assert (
        stopped.value.code == 2 and "broken_line.jsonl:2: not a JSON object" in error and len(error.splitlines()) == 2
    )


def test_texts_and_prompts_are_whole():
    """Line separators of Unicode stay in a text, and a chat loses the answer that it ends with."""
    separated = load_problems(str(CASES / "line_separator.jsonl"), template="paper")["prompt"]
    assert "1+1?\u2028Answer with a number." in separated[0] and "1+2?\u0085Answer with a number." in separated[1]
    chat = [{"role": "user", "content": "What is 2+2?"}]
    assert load_problems(str(CASES / "from_value_chat.jsonl"))["prompt"] == [chat]
    assert "\nWhat is 2+2?\n" in load_problems(str(CASES / "from_value_chat.jsonl"), template="paper")["prompt"][0]
    bom = load_problems(str(CASES / "bom_and_blank_lines.jsonl"), template="paper")["prompt"]
    assert bom[0].startswith("User:\nWhat is 1+1?\n")


def test_a_number_with_a_comma_is_one_number():
    (_, verifier), row = (
        read_prompts(AnalyzeArguments(prompts=str(CASES / "problems.csv"), model_name_or_path="tiny")),
        {},
    )
    row["solution"] = "1,001"
    assert [verifier(row, rf"\boxed{{{answer}}}") for answer in ("1001", "1,001", "1", "1.001")] == [
        1.0,
        1.0,
        0.0,
        0.0,
    ]
