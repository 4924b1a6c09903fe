"""Ctrl-C and SIGTERM in long commands: no stack, what is kept, the command that goes on, exit code 130 or 143."""

import json
import subprocess
import sys

import pytest

from helpers.processes import build_environment, run_forks
from trl_forking.commands.launch import LAUNCHER_MODULE


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("interrupted")
    done = run_forks("interrupted_worker.py", str(folder), timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "results.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "code", "sentence"),
    [
        ("grpo", 130, "Interrupted. The last complete checkpoint is grpo/checkpoint-"),
        ("grpo again", 143, "Interrupted. The last complete checkpoint is grpo/checkpoint-"),
        (
            "grpo early",
            143,
            "tarts again:\ntrl-forking grpo --config ",
        ),
        (
            "analyze",
            130,
            "Interrupted. Finished answers are kept, and this command goes on from them:\ntrl-forking analyze ",
        ),
        ("demo", 143, " demo --resume --output_dir demo"),
    ],
)
def test_an_interrupted_command_says_how_to_go_on(results, name, code, sentence):
    result = results[name]
    assert result["code"] == code, result["text"][-2000:]
    assert sentence in result["text"] and "Traceback" not in result["text"]
    last = result["text"].strip().splitlines()[-1]
    if name.startswith("grpo"):
        assert last.endswith("--resume_from_checkpoint true") == (name != "grpo early")
    assert "--overwrite" not in last


@pytest.mark.slow
def test_the_command_goes_on_and_a_closed_pipe_is_quiet(results):
    assert results["analyze again"]["code"] == 0, results["analyze again"]["text"][-2000:]
    assert results["closed pipe"] == {"code": 141, "text": ""}


@pytest.mark.slow
def test_a_launcher_adds_no_traceback_to_that_of_a_process():
    arguments = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "no_such_module_at_all"]
    command = [sys.executable, "-m", LAUNCHER_MODULE, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=build_environment())
    assert done.returncode == 1 and "error: process" in done.stderr and "No module named no_such_module" in done.stderr
    assert "ChildFailedError" not in done.stderr and "Traceback" not in done.stderr
