"""Evaluations while training from flags and YAML: which problems, mistakes before anything is loaded, and a run."""

import json

import pytest

from helpers.tiny import build_model, build_tokenizer
from trl_forking import ForkingGRPOConfig
from trl_forking.commands import problem_sources
from trl_forking.commands.eval_data import choose_eval_data, load_eval_dataset
from trl_forking.commands.math_arguments import MathArguments, make_parser
from trl_forking.commands.train_math import main
from trl_forking.evaluation.problem_sets import LoadedProblems
from trl_forking.run.user_errors import UserError


STEPS = ["--eval_strategy", "steps", "--eval_steps", "1"]


def make_args(**settings):
    return ForkingGRPOConfig("runs/x", use_cpu=True, bf16=False, **({"eval_strategy": "epoch"} | settings))


def parse(*flags):
    return make_parser().parse_args_and_config(
        ["--model_name_or_path", "countdown", "--use_cpu", "--bf16", "false", *flags]
    )


def write_problems(path, number):
    rows = [{"question": f"What is 1 + {i}?", "answer": str(1 + i)} for i in range(number)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_without_eval_strategy_there_is_no_evaluation(tmp_path, capsys):
    file = write_problems(tmp_path / "easy.jsonl", 2)
    arguments = parse("--dataset_name", file, "--eval_data", file)
    assert load_eval_dataset(*arguments, tokenizer=None) is None
    assert "eval_data is not used, because eval_strategy is no." in capsys.readouterr().out


def test_the_default_is_the_other_split_of_the_training_data(tmp_path):
    assert choose_eval_data(MathArguments(dataset_name="owner/problems"), make_args()) == ["owner/problems"]
    assert choose_eval_data(MathArguments(dataset_name="countdown"), make_args()) == ["countdown"]
    file = write_problems(tmp_path / "easy.jsonl", 2)
    with pytest.raises(
        UserError, match=r"eval_strategy is epoch, but .*easy.jsonl has no other split .* give problems with"
    ):
        choose_eval_data(MathArguments(dataset_name=file), make_args())


def test_the_test_split_of_a_data_set_is_read(monkeypatch):
    asked = []

    def read(source, config, split):
        asked.append((source, config, split))
        return iter(())

    monkeypatch.setattr(problem_sources, "read_rows", read)
    flags = ["--dataset_name", "owner/problems", "--dataset_config", "main", "--dataset_test_split", "validation"]
    with pytest.raises(UserError):
        load_eval_dataset(*parse(*flags, *STEPS), tokenizer=None)
    with pytest.raises(UserError):
        load_eval_dataset(*parse(*flags, *STEPS, "--eval_data", "other/problems"), tokenizer=None)
    assert asked == [("owner/problems", "main", "validation"), ("other/problems", None, "test")]


@pytest.mark.parametrize(
    ("dataset", "eval_data", "message"),
    [
        ("owner/problems", ["aime2024"], "There is no problem set aime2024; did you mean aime24?"),
        ("owner/problems", ["gone.jsonl"], "There is no file gone.jsonl"),
        (
            "owner/problems",
            ["countdown"],
            "eval_data countdown and dataset_name owner/problems have different verifiers",
        ),
        ("countdown", ["aime24"], "eval_data aime24 and dataset_name countdown have different verifiers"),
    ],
)
def test_wrong_names_are_refused_before_anything_is_loaded(dataset, eval_data, message):
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        choose_eval_data(MathArguments(dataset_name=dataset, eval_data=eval_data), make_args())


def test_files_and_presets_get_the_template_of_the_training(tmp_path, monkeypatch, capsys):
    rows = [{"key": "k", "question": "What is 2 + 2?", "solution": "4"}]
    preset = LoadedProblems("aime24", "AIME 2024", rows, ["owner/aime at commit 0a1b2c3."])
    monkeypatch.setattr(problem_sources, "load_problem_set", lambda problem_set: preset)
    file = write_problems(tmp_path / "easy.jsonl", 5)
    flags = [
        "--dataset_name",
        file,
        "--prompt_template",
        "paper",
        "--eval_num_problems",
        "3",
        "--max_completion_length",
        "9",
    ]
    sets = load_eval_dataset(*parse(*flags, *STEPS, "--eval_data", "aime24", file), tokenizer=build_tokenizer())
    assert list(sets) == ["aime24", "easy"] and [len(each) for each in sets.values()] == [1, 3]
    assert sets["aime24"][0]["prompt"].startswith("User:\nWhat is 2 + 2?\nPlease reason step by step")
    assert sets["easy"].column_names == ["prompt", "solution"] and sets["easy"]["solution"][2] == "3"
    output = capsys.readouterr().out
    assert "Evaluation while training: 1 problem of aime24. owner/aime at commit 0a1b2c3." in output
    one = load_eval_dataset(*parse(*flags, *STEPS, "--eval_data", file), tokenizer=build_tokenizer())
    assert len(one) == 3, "a single set has no name in the metrics"


def test_a_problem_that_does_not_fit_is_named(tmp_path):
    file = write_problems(tmp_path / "easy.jsonl", 2)
    flags = [
        "--dataset_name",
        file,
        "--eval_data",
        file,
        "--prompt_template",
        "paper",
        "--max_completion_length",
        "120",
    ]
    with pytest.raises(UserError, match="eval_data easy, problem 1: the prompt has .* tokens"):
        load_eval_dataset(*parse(*flags, *STEPS), tokenizer=build_tokenizer())


def fail(capsys, *flags):
    with pytest.raises(SystemExit) as exit_:
        main(["--model_name_or_path", "countdown", "--dataset_name", "countdown", *flags])
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error


def test_mistakes_on_the_command_line_are_one_sentence(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "have different verifiers" in fail(capsys, *STEPS, "--eval_data", "aime24")
    assert "eval_num_problems must be at least 1" in fail(capsys, *STEPS, "--eval_num_problems", "0")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_run_from_yaml_logs_the_evaluations(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text(
        "model_name_or_path: countdown\ndataset_name: countdown\noutput_dir: runs/x\nmax_steps: 1\nmax_completion_length: 52\n"
        "num_generations: 2\nper_device_train_batch_size: 2\nuse_cpu: true\nbf16: false\nreport_to: none\nsave_strategy: 'no'\n"
        "eval_strategy: steps\neval_steps: 1\neval_on_start: true\neval_data: [countdown]\neval_num_problems: 9\n"
        "num_generations_eval: 4\nper_device_eval_batch_size: 16\n"
    )
    trainer = main(["--config", "run.yaml", "--eval_num_problems", "6"])
    rows = [row for row in trainer.state.log_history if "eval_forking/avg@4" in row]
    assert [row["step"] for row in rows] == [0, 1] and {row["eval_forking/problems"] for row in rows} == {6}
    assert all(
        row["eval_forking/avg@4_low"] <= row["eval_forking/avg@4"] <= row["eval_forking/avg@4_high"] for row in rows
    )
    record = json.loads((tmp_path / "runs" / "x" / "forking_run.json").read_text())
    assert [row["step"] for row in record["evaluations"]] == [0, 1]


@pytest.mark.slow
def test_a_run_on_a_file_is_judged_by_the_verifier_of_mathematics(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    build_model(max_position_embeddings=256).save_pretrained("model")
    build_tokenizer().save_pretrained("model")
    training, other = write_problems(tmp_path / "a.jsonl", 2), write_problems(tmp_path / "b.jsonl", 3)
    flags = {
        "model_name_or_path": "model", "dataset_name": training, "output_dir": "runs/y", "prompt_template": "paper", "max_steps": 1,
        "num_generations": 2, "per_device_train_batch_size": 2, "max_completion_length": 4, "use_cpu": True, "bf16": False,
        "report_to": "none", "save_strategy": "no", "eval_strategy": "steps", "eval_steps": 1, "num_generations_eval": 1,
    }  # fmt: skip
    arguments = [str(part) for name, value in flags.items() for part in (f"--{name}", value)]
    trainer = main([*arguments, "--eval_data", training, other])
    names = {name for row in trainer.state.log_history for name in row}
    assert {"eval_a_forking/avg@1", "eval_b_forking/avg@1_high", "eval_rewards/math_reward/mean"} <= names
