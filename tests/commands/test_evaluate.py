"""`trl-forking evaluate` from flags to files: the built-in task, files, a chat model, resume after a kill, mistakes, vLLM."""

import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from helpers.tiny import build_model, build_tokenizer
from trl_forking.commands import model_evaluation as command
from trl_forking.commands.evaluate import EvaluateArguments, run_evaluate
from trl_forking.commands.problem_sources import (
    CountdownVerifier,
    apply_template,
    choose_template,
    load_problem_sources,
)
from trl_forking.evaluation.engines import VllmEngine
from trl_forking.evaluation.records import read_answers


COUNTDOWN = ["--model_name_or_path", "countdown", "--data", "countdown"]


def evaluate(*flags):
    run_evaluate([*COUNTDOWN, "--num_problems", "6", "--num_generations", "3", *flags])


def fail(capsys, *flags):
    with pytest.raises(SystemExit) as exit_:
        run_evaluate(list(flags))
    assert exit_.value.code == 2
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return " ".join(message.split())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs" / "evaluation"


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    build_model().save_pretrained(path)
    build_tokenizer().save_pretrained(path)
    return str(path)


def write_problems(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_the_built_in_task(folder, capsys):
    evaluate("--shard_size", "4")
    output = capsys.readouterr().out
    assert "avg@3" in output and "maj@3" in output and "Page: runs/evaluation/report.html" in output
    answers = read_answers(folder / "countdown")
    assert len(answers) == 18 and {answer.is_truncated for answer in answers} == {False}
    (content,) = json.loads((folder / "evaluation.json").read_text())["sets"]
    assert content["num_problems"] == 6
    right = sum(answer.is_right for answer in answers) / 18
    assert content["figures"]["avg@3"]["mean"] == pytest.approx(right) and 0 < right < 1
    assert not (folder / ".eval_results").exists()


def test_two_models_are_compared_problem_by_problem(folder, capsys):
    evaluate("--output_dir", "first")
    evaluate("--output_dir", "second", "--temperature", "0.5", "--baseline", "first")
    assert "on 6 common problems" in capsys.readouterr().out
    content = json.loads((folder.parents[1] / "second" / "evaluation.json").read_text())["sets"][0]
    assert content["difference"]["num_paired"] == 6
    assert json.loads((folder.parents[1] / "second" / "eval_results.json").read_text())[0]["baseline"] is not None


def test_the_defaults_are_those_of_the_paper():
    args = EvaluateArguments("countdown", ["countdown"])
    assert (args.num_generations, args.temperature, args.top_p, args.top_k) == (16, 1.0, 1.0, 0)
    assert command.MAX_COMPLETION_LENGTH == 20_480


def test_a_base_model_gets_the_template_of_the_paper_and_a_file_its_own_problems(
    folder, saved_model, tmp_path, capsys
):
    rows = [{"question": f"What is 1 + {i}?", "answer": str(1 + i)} for i in range(3)]
    file = write_problems(tmp_path / "easy.jsonl", [*rows, rows[0], {"question": "Why?"}])
    run_evaluate(
        ["--model_name_or_path", saved_model, "--data", file, "--num_generations", "2", "--max_completion_length", "4"]
    )
    output = " ".join(capsys.readouterr().out.split())
    assert "easy: the paper's prompt template, because the tokenizer has no chat template." in output
    assert "occurs more than once and is answered once: row 4" in output
    answers = read_answers(folder / "easy")
    assert len(answers) == 6
    settings = json.loads((folder / "easy" / "run.json").read_text())
    assert settings["prompt_template"] == "paper" and settings["model"] == saved_model


def test_which_template():
    chat, base = SimpleNamespace(chat_template="{{ x }}"), SimpleNamespace(chat_template=None)
    assert choose_template(None, "a", chat)[0] == "chat" and choose_template(None, "a", base)[0] == "paper"
    assert choose_template("paper", "a", chat)[0] == "paper" and choose_template("none", "a", base)[0] == "none"
    assert choose_template("chat", "countdown", base)[0] == "none"
    with pytest.raises(ValueError, match="the tokenizer has no chat template; use paper"):
        choose_template("chat", "a", base)
    (row,) = apply_template([{"question": "1 + 1?"}], "paper")
    assert row["prompt"].startswith(
        "User:\n1 + 1?\nPlease reason step by step, and put your final answer within \\boxed{}."
    )
    assert apply_template([{"question": "1 + 1?"}], "chat")[0]["prompt"][0]["role"] == "user"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--data", "countdown"], "model_name_or_path is missing"),
        (["--model_name_or_path", "countdown"], "data is missing: give --data aime24"),
        (["--model_name_or_path", "some/model", "--data", "aime2024"], "There is no problem set aime2024; did you mean aime24?"),
        (["--model_name_or_path", "some/model", "--data", "no.jsonl"], "no.jsonl"),
        ([*COUNTDOWN, "countdown"], "--data names countdown twice"),
        ([*COUNTDOWN, "--baseline", "nowhere"], "--baseline: there is no folder nowhere"),
        ([*COUNTDOWN, "--num_generations", "0"], "num_generations must be at least 1"),
        ([*COUNTDOWN, "--top_p", "1.5"], "top_p must be in (0, 1]"),
        ([*COUNTDOWN, "--num_problem", "3"], "unknown flag --num_problem"),
        ([*COUNTDOWN, "--use_vllm"], "the built-in model is too small for vLLM"),
        ([*COUNTDOWN, "--num_problems", "2", "--max_completion_length", "500"], "does not fit into the 128 tokens"),
        (["--model_name_or_path", "./nowhere", "--data", "countdown"], "There is no model at ./nowhere"),
        ([*COUNTDOWN, "aime24"], "The built-in model knows the built-in task only: give --data countdown, or another model for aime24"),
    ],
)  # fmt: skip
def test_mistakes_are_one_sentence(folder, capsys, flags, message):
    assert message in fail(capsys, *flags)
    assert not (folder / "countdown").exists()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"question": "Why?"}, {"question": "How?"}], "no row has an answer"),
        ([{"question": 5, "answer": "1"}], "row 1"),
        ([{"question": ["a", 3], "answer": "1"}], "row 1"),
        ([{"text": "1 + 1?", "answer": "2"}], "row 1"),
        ([], "no"),
    ],
)
def test_hostile_files_are_one_sentence(folder, tmp_path, capsys, rows, message):
    file = write_problems(tmp_path / "bad.jsonl", rows)
    assert message in fail(capsys, "--model_name_or_path", "some/model", "--data", file)


def test_a_tokenizer_that_cannot_encode_a_problem_is_one_sentence(folder, tmp_path, capsys):
    """As that of a model which was trained on the built-in task: it knows 40 words."""
    from trl_forking.countdown import load_countdown_model, load_countdown_tokenizer

    load_countdown_model().save_pretrained(tmp_path / "trained")
    load_countdown_tokenizer().save_pretrained(tmp_path / "trained")
    file = write_problems(tmp_path / "easy.jsonl", [{"question": "What is 1 + 1?", "answer": "2"}])
    for length in ([], ["--max_completion_length", "8"]):
        message = fail(capsys, "--model_name_or_path", str(tmp_path / "trained"), "--data", file, *length)
        assert "Problem 1 cannot be encoded by the tokenizer of the model" in message


def test_rows_are_named_by_their_number_in_the_file(folder, tmp_path):
    first, second = {"question": "1 + 1?", "answer": "2"}, {"question": "2 + 2?", "answer": "4"}
    file = write_problems(tmp_path / "easy.jsonl", [{"question": "Why?"}, first, second, first])
    ((problems, _),) = load_problem_sources([file])
    assert "1 problem occurs more than once and is answered once: row 4." in problems.notes


def test_a_preset_without_network_is_one_sentence(folder, capsys, monkeypatch):
    def refuse(*args, **kwargs):
        raise ConnectionError("no network")

    monkeypatch.setattr("trl_forking.evaluation.problem_sets._load_from_hub", refuse)
    message = fail(capsys, "--model_name_or_path", "some/model", "--data", "aime24")
    assert "aime24: HuggingFaceH4/aime_2024 could not be loaded (ConnectionError: no network)" in message


def test_an_engine_that_dies_is_one_sentence_and_its_work_is_kept(folder, capsys, monkeypatch):
    sample, calls = command.TransformersEngine.sample, []

    def die(self, *args):
        calls.append(args)
        if len(calls) == 2:
            raise RuntimeError("device-side assert triggered")
        return sample(self, *args)

    flags = [*COUNTDOWN, "--num_problems", "6", "--num_generations", "3", "--shard_size", "2"]
    monkeypatch.setattr(command.TransformersEngine, "sample", die)
    message = fail(capsys, *flags)
    assert "device-side assert triggered" in message and "2 of 6 problems are answered and kept" in message
    monkeypatch.setattr(command.TransformersEngine, "sample", sample)
    run_evaluate(flags)
    run_evaluate([*flags, "--output_dir", "whole"])
    assert read_answers(folder / "countdown") == read_answers(folder.parents[1] / "whole" / "countdown")


@pytest.mark.slow
def test_the_same_figures_after_a_kill(folder):
    """The process is killed in the midst of the answers; the same command goes on to the same files."""
    flags = ["--num_problems", "40", "--num_generations", "4", "--shard_size", "4", "--output_dir"]
    arguments = [sys.executable, "-m", "trl_forking.commands.main", "evaluate", *COUNTDOWN, *flags]
    process = subprocess.Popen([*arguments, "killed"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    shards = folder.parents[1] / "killed" / "countdown" / "answers"
    while len(list(shards.glob("0*.parquet"))) < 2:
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert len(list(shards.glob("0*.parquet"))) < 10
    for name in ("killed", "whole"):
        subprocess.run([*arguments, name], check=True, capture_output=True)
    killed, whole = (folder.parents[1] / name for name in ("killed", "whole"))
    assert (killed / "eval_results.json").read_text() == (whole / "eval_results.json").read_text()
    assert (killed / "evaluation.json").read_text() == (whole / "evaluation.json").read_text()
    assert read_answers(killed / "countdown") == read_answers(whole / "countdown")


def test_the_verifier_of_the_built_in_task():
    problem, verifier = {"nums": [3, 5, 2], "goal": 16}, CountdownVerifier()
    right, wrong = "5 + 3 = 8 left 8 2 , 8 * 2 = 16 vs 16 yes", "5 * 3 = 15 left 15 2 , 15 - 2 = 13 vs 16 no"
    assert verifier.judge(problem, right) == (True, right, True)
    assert verifier.judge(problem, f"{wrong} {right}") == (True, right, True)
    assert verifier.judge(problem, wrong) == (False, wrong, True)
    assert verifier.judge(problem, "5 + 3") == verifier.judge(problem, "") == (False, None, False)


def test_a_set_is_known_by_the_same_keys_whatever_the_template():
    ((first, _),) = load_problem_sources(["countdown"], num_problems=5)
    ((second, _),) = load_problem_sources(["countdown"], num_problems=5)
    assert [row["key"] for row in first.rows] == [row["key"] for row in second.rows]
    assert len({row["key"] for row in first.rows}) == 5


class FakeLLM:
    made: list = []

    def __init__(self, **kwargs):
        self.made.append(kwargs)

    def generate(self, prompts, sampling_params, use_tqdm):
        outputs = [SimpleNamespace(token_ids=[5, 1]) for _ in range(sampling_params[0].n)]
        return [SimpleNamespace(outputs=outputs) for _ in prompts]


def test_vllm_gets_the_settings(folder, saved_model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(LLM=FakeLLM, SamplingParams=SimpleNamespace))
    FakeLLM.made.clear()
    file = write_problems(tmp_path / "easy.jsonl", [{"question": "1 + 1?", "answer": "2"}])
    flags = [
        "--model_name_or_path",
        saved_model,
        "--data",
        file,
        "--num_generations",
        "3",
        "--max_completion_length",
        "4",
    ]
    run_evaluate([*flags, "--use_vllm", "--vllm_tensor_parallel_size", "2"])
    (made,) = FakeLLM.made
    assert (made["model"], made["tensor_parallel_size"], made["gpu_memory_utilization"]) == (saved_model, 2, 0.9)
    assert len(read_answers(folder / "easy")) == 3
    settings = json.loads((folder / "easy" / "run.json").read_text())
    assert settings["engine"] == "vllm" and settings["weights"]


def test_vllm_takes_no_adapter(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match="merge the adapter"):
        VllmEngine(str(tmp_path), None, None)
