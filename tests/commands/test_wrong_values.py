"""Wrong values and files at every command: exit code 2, a few lines, no traceback, the field or the file named."""

import dataclasses
import gzip
import random
from enum import Enum
from pathlib import Path

import pytest

from trl_forking import ForkingGRPOConfig
from trl_forking.commands.analyze import AnalyzeArguments
from trl_forking.commands.card import CardArguments
from trl_forking.commands.compare import CompareArguments
from trl_forking.commands.compare_runs import CompareRunsArguments
from trl_forking.commands.demo import DemoArguments
from trl_forking.commands.evaluate import EvaluateArguments
from trl_forking.commands.main import COMMANDS, main
from trl_forking.commands.math_arguments import MathArguments
from trl_forking.commands.verdict import VerdictArguments
from trl_forking.commands.verify import VerifyArguments
from trl_forking.settings.limits import _RANGES, CHOICES
from trl_forking.settings.plain import find_field_types


MOST_LINES = 5
GOOD = {
    "demo": [],
    "grpo": ["--model_name_or_path", "countdown", "--dataset_name", "countdown", "--use_cpu", "--bf16", "false"],
    "analyze": ["--model_name_or_path", "countdown", "--prompts", "countdown"],
    "compare": ["--base", "countdown", "--checkpoints", "./good", "--prompts", "countdown"],
    "evaluate": ["--model_name_or_path", "countdown", "--data", "countdown"],
    "compare-runs": [],
    "card": [],
    "verdict": [],
    "verify": [],
    "doctor": ["--model_name_or_path", "countdown", "--dataset_name", "countdown", "--use_cpu", "--bf16", "false"],
}
FIELDS = {
    "demo": [DemoArguments],
    "grpo": [ForkingGRPOConfig, MathArguments],
    "analyze": [AnalyzeArguments],
    "compare": [CompareArguments],
    "evaluate": [EvaluateArguments],
    "compare-runs": [CompareRunsArguments],
    "card": [CardArguments],
    "verdict": [VerdictArguments],
    "verify": [VerifyArguments],
    "doctor": [],
}
# Each names a file or folder that the command reads.
READS = {
    "grpo": ["--dataset_name", "--config", "--model_name_or_path", "--accelerate_config", "--resume_from_checkpoint"],
    "analyze": ["--prompts", "--config", "--model_name_or_path"],
    "compare": ["--prompts", "--config", "--base", "--checkpoints"],
    "evaluate": ["--data", "--config", "--model_name_or_path", "--baseline"],
    "compare-runs": ["--runs", "--config"],
    "card": ["--folder", "--config"],
    "verdict": ["--folder", "--config"],
    "verify": ["--file", "--config"],
    "demo": ["--config"],
    "doctor": ["--config"],
}
WRITES = ("grpo", "analyze", "compare", "evaluate", "demo")


def find_wrong_numbers(name: str, types: frozenset) -> list[str]:
    """Return texts that a field cannot take: no numbers, and numbers that are too low or too high."""
    wrong = ["many", "1,5", "nan"]
    limits = _RANGES.get(name)
    if limits is None:
        return wrong
    if limits.least > float("-inf"):
        wrong.append(f"{limits.least - 1:g}")
        if limits.without_least:
            wrong.append(f"{limits.least:g}")
    if limits.most < float("inf"):
        wrong.append(f"{limits.most + 1:.0f}")
        if limits.without_most:
            wrong.append(f"{limits.most:g}")
    return wrong if float in types else [*wrong, "1.5"]


def find_wrong_values(kind: type) -> list[tuple[str, str]]:
    cases = []
    for name, types in find_field_types(kind).items():
        choices = next(field for field in dataclasses.fields(kind) if field.name == name).metadata.get("choices")
        if types & {int, float} and not types - {int, float, type(None)}:
            cases += [(name, value) for value in find_wrong_numbers(name, types)]
        elif types == {bool}:
            cases.append((name, "maybe"))
        elif choices or name in CHOICES or any(issubclass(each, Enum) for each in types):
            cases.append((name, "nonsense"))
    return cases


def make_cases(command: str) -> list[tuple[list[str], str]]:
    """Return command lines with one wrong value, and what the message has to name."""
    pairs = [pair for kind in FIELDS[command] for pair in find_wrong_values(kind)]
    return [([*GOOD[command], f"--{name}={value}"], name) for name, value in pairs]


CASES = {command: make_cases(command) for command in FIELDS}
# The many fields of TRL and Transformers are tried in a different third of all cases at each field.
CASES["grpo"] = random.Random(0).sample(CASES["grpo"], 150)


@pytest.fixture
def answer(capfd, monkeypatch, tmp_path):
    """Run a command line, and return what is wrong with its answer; nothing if it is as it should be."""
    monkeypatch.chdir(tmp_path)

    def start(*args, **kwargs):
        raise AssertionError("a wrong value was taken, and the work began")

    for place in (
        "train_math.ForkingGRPOTrainer",
        "demo.run.train_and_evaluate",
        "model_analysis.answer_prompts",
        "model_comparison.answer_prompts",
    ):
        monkeypatch.setattr(f"trl_forking.commands.{place}", start)
    for place in ("model_evaluation.answer_problems", "examination.examine"):
        monkeypatch.setattr(f"trl_forking.commands.{place}", start)

    def run(command: str, flags: list[str], named: str) -> str | None:
        capfd.readouterr()
        code: object = 0
        try:
            main([command, *flags])
        except SystemExit as stopped:
            code = stopped.code
        except BaseException as error:
            code = repr(error)
        lines = capfd.readouterr().err.strip().splitlines()
        lines = [line for line in lines if line.startswith("error") or "gemm" not in line]
        is_good = code == 2 and 0 < len(lines) <= MOST_LINES and "Traceback" not in "".join(lines)
        text = " ".join(lines)
        return None if is_good and named in text else f"{command} {' '.join(flags)}: {code} {text[:300]}"

    return run


@pytest.mark.slow
@pytest.mark.parametrize("command", [command for command in CASES if CASES[command]])
def test_a_wrong_value_is_answered_in_a_sentence_that_names_the_field(command, answer):
    failures = [failure for flags, name in CASES[command] if (failure := answer(command, flags, name))]
    assert not failures, "\n".join(failures)


def test_there_are_at_least_300_cases_and_every_command_has_some():
    assert sum(map(len, CASES.values())) >= 300
    assert set(FIELDS) == set(GOOD) == set(READS) == set(COMMANDS) - {"env", "rules"}


def write_wrong_files(folder: Path) -> list[str]:
    """Write files that no command can read, and return their names and those of files that do not exist."""
    (folder / "empty.jsonl").write_text("")
    (folder / "empty.yaml").write_text("")
    (folder / "noise.jsonl").write_bytes(random.Random(1).randbytes(300))
    (folder / "noise.yaml").write_bytes(b"\xff\xfe\x00" + random.Random(2).randbytes(300))
    (folder / "list.yaml").write_text("- 1\n- 2\n")
    (folder / "open.yaml").write_text("a: [1, 2\n")
    (folder / "cut.jsonl").write_text('{"question": "1 + 1", "answer": ')
    (folder / "cut.json.gz").write_bytes(gzip.compress(b"[1, 2]")[:-6])
    (folder / "page.html").write_text("<html>")
    (folder / "hollow").mkdir()
    (folder / "problems.jsonl").write_text('{"question": "1 + 1?", "answer": "2"}\n')
    missing = ["./problem.jsonl", "./hollo", "nowhere/at/all", "./none.yaml"]
    return [f"./{path.name}" for path in sorted(folder.iterdir()) if path.name != "problems.jsonl"] + missing


@pytest.mark.slow
@pytest.mark.parametrize("command", READS)
def test_a_wrong_file_is_named(command, answer, tmp_path):
    from trl_forking.countdown import load_countdown_model, load_countdown_tokenizer

    names = write_wrong_files(tmp_path)
    load_countdown_model().save_pretrained(tmp_path / "good")
    load_countdown_tokenizer().save_pretrained(tmp_path / "good")
    failures = []
    for flag in READS[command]:
        good = GOOD[command]
        if flag in good:
            place = good.index(flag)
            good = good[:place] + good[place + 2 :]
        if flag == "--dataset_name":  # the built-in model would not take another task
            good = ["--model_name_or_path", "./good", "--prompt_template", "paper", "--use_cpu", "--bf16", "false"]
        if flag == "--model_name_or_path" and command == "grpo":
            good = ["--dataset_name", "./problems.jsonl", "--use_cpu", "--bf16", "false"]
        failures += [
            answer(command, [*good, flag, name, *(["good"] if flag == "--runs" else [])], Path(name).name)
            for name in names
        ]
    assert not list(filter(None, failures)), "\n".join(filter(None, failures))


@pytest.mark.slow
@pytest.mark.parametrize("command", WRITES)
def test_an_output_folder_that_cannot_be_written_is_named(command, answer, tmp_path):
    (tmp_path / "file").write_text("")
    good = [flag if flag != "./good" else "countdown-copy" for flag in GOOD[command]]
    failures = [
        answer(command, [*good, "--output_dir", name], name) for name in ("file", "file/run", "/proc/run", "x" * 300)
    ]
    assert not list(filter(None, failures)), "\n".join(filter(None, failures))


@pytest.mark.parametrize("command", [command for command in COMMANDS if command not in ("env", "rules")])
def test_a_mistyped_flag_names_the_nearest(command, answer):
    name = {"verify": "answer", "card": "folder", "verdict": "folder"}.get(command, "output_dir")
    assert answer(command, [f"--{name[:-1]}=1"], f"did you mean --{name}") is None


def test_a_wrong_value_in_the_file_names_its_line(answer, tmp_path):
    cases = [("learning_rate: -1", "learning_rate"), ("temperature: 0", "temperature"), ("top_p: 2", "top_p")]
    cases += [("lr_scheduler_type: cosin", "cosine"), ("max_prompt_length: 0", "max_prompt_length")]
    for number, (line, name) in enumerate(cases):
        path = tmp_path / f"{number}.yaml"
        path.write_text(f"model_name_or_path: countdown\ndataset_name: countdown\n{line}\n")
        flags = ["--config", str(path)]
        assert answer("grpo", flags, f"{number}.yaml:3") is None, line
        assert answer("grpo", flags, name) is None, line
        if name != "learning_rate":
            continue
        # The command line wins, and so it is blamed.
        wrong = ["--learning_rate=-2"]
        assert answer("grpo", [*flags, *wrong], "command line") is None
