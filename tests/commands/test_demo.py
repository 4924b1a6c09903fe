"""The demo as a user runs it, with fewer steps: files, figures, interruption and mistakes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas
import pytest

from trl_forking.commands.demo import compute_fork_agreement


ENVIRONMENT = os.environ | {"OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
COMMAND = [sys.executable, "-m", "trl_forking.commands.main", "demo"]


def run_demo(folder: Path, *flags: str) -> subprocess.CompletedProcess:
    return subprocess.run([*COMMAND, *flags], cwd=folder, capture_output=True, text=True, timeout=180, env=ENVIRONMENT)


@pytest.mark.slow
def test_demo_prints_and_writes_what_came_of_it(tmp_path):
    result = run_demo(tmp_path, "--max-steps", "2", "--json", "figures.json")
    assert result.returncode == 0, result.stderr
    for part in ("Accuracy before", "Accuracy after", "95 % interval", "precision", "recall", "Marked:", "["):
        assert part in result.stdout
    assert "{'loss'" not in result.stdout and "Warning" not in result.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["num_problems"] == 512 and figures["metrics_of_last_step"]["forking/kept_fraction"] > 0.19
    assert figures["fork_precision"] > 0.9 and figures["fork_recall"] > 0.75
    for path in figures["paths"].values():
        assert (tmp_path / path).exists(), path
    assert (tmp_path / figures["paths"]["entropy_plot"]).read_bytes().startswith(b"\x89PNG")
    card = (tmp_path / figures["paths"]["model_card"]).read_text()
    assert "Forking tokens" in card and "No evaluation was recorded" not in card
    assert f"| accuracy | {figures['accuracy_before']:.4f} (" in card
    assert json.loads((tmp_path / "runs/demo/verdict.json").read_text())["sentences"] == figures["verdict"]
    assert max(map(len, (line for line in result.stdout.splitlines() if line.startswith("step "))), default=0) <= 80


@pytest.mark.slow
def test_interrupted_demo_is_taken_up_where_it_stopped(tmp_path):
    # PYTHONUNBUFFERED: the line of step 10 says that training is under way.
    process = subprocess.Popen(
        [*COMMAND, "--max-steps", "14"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=ENVIRONMENT | {"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    output = ""
    deadline = time.monotonic() + 120
    while "step   10" not in output and time.monotonic() < deadline:
        output += process.stdout.readline()
    process.send_signal(signal.SIGINT)
    output += process.communicate(timeout=60)[0]
    assert process.returncode == 130 and " demo --resume --output_dir runs/demo" in output, output
    step = int(output.split("Interrupted at step ")[1].split(".")[0])
    assert (tmp_path / f"runs/demo/checkpoint-{step}").is_dir() and step < 14

    result = run_demo(tmp_path, "--resume", "--json", "figures.json")
    assert result.returncode == 0, result.stderr
    assert f"Resuming from runs/demo/checkpoint-{step}" in result.stdout
    steps = pandas.concat(map(pandas.read_parquet, (tmp_path / "runs/demo/completions").glob("*.parquet")))["step"]
    assert sorted(steps.unique()) == list(range(1, 15))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--token-selection", "lowest"], "token_selection='lowest' is not one of"),
        (["--top-entropy-quantile", "20"], "such as 0.2 for 20 %"),
        (["--top-entropy-quantile", "many"], "invalid float value"),
        (["--tokenselection", "random"], "did you mean --token_selection?"),
        (["--resume"], "holds no run of the demo"),
        (["--max-steps", "0"], "--max_steps must be positive, but it is 0"),
        (["--output-dir", "full"], "--output_dir full is not empty"),
        (["--json", "missing/figures.json"], "does not exist"),
    ],
)
def test_a_mistake_gets_one_sentence_and_exit_code_2(tmp_path, flags, sentence):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    result = run_demo(tmp_path, *flags)
    assert result.returncode == 2 and sentence in result.stderr
    assert len(result.stderr.splitlines()) <= 3 and "Traceback" not in result.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_unknown_command_and_help():
    result = subprocess.run([*COMMAND[:-1], "dmeo"], capture_output=True, text=True, timeout=60)
    assert result.returncode == 2 and "unknown command 'dmeo'" in result.stderr
    result = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0 and "--token_selection" in result.stdout and len(result.stdout.splitlines()) < 80


def test_agreement_counts_only_tokens_that_counted():
    answer = ["3", "*", "5", "=", "15", "left", "15", "2", ",", "15", "-", "2", "=", "13", "vs", "13", "yes"]
    forks = [position in (0, 1, 2, 10) for position in range(17)]
    table = pandas.DataFrame({"advantage": [1.0, 0.0], "tokens": [answer, answer], "kept": [forks, [False] * 17]})
    agreement = compute_fork_agreement(table)
    assert (agreement.precision, agreement.recall, agreement.num_tokens) == (1.0, 1.0, 17)
    assert compute_fork_agreement(pandas.DataFrame({"advantage": [1.0]})) is None


def test_progress_fits_80_columns_with_its_figures():
    from io import StringIO

    from rich.console import Console
    from rich.progress import Progress

    from trl_forking.commands.demo.training import build_columns, format_figures

    screen = StringIO()
    console = Console(file=screen, force_terminal=True, width=80, color_system=None)
    steps = [{"reward": 0.31, "forking/threshold": 0.4, "entropy": 0.15}] * 3
    with Progress(*build_columns(), console=console, auto_refresh=False) as progress:
        task = progress.add_task("training", total=1300, figures=format_figures(steps))
        progress.update(task, completed=1299)
        progress.refresh()
    lines = [line for line in screen.getvalue().replace("\r", "\n").splitlines() if "reward" in line]
    assert "1299/1300 -:--:-- reward" in lines[-1] and lines[-1].endswith("entropy 0.150 nats")


def test_models_are_compared_problem_by_problem():
    from trl_forking.commands.demo.results import compare_evaluations
    from trl_forking.countdown import CountdownEvaluation

    problems = {"nums": [[3, 5, 2]] * 20, "goal": [16] * 20}
    right, wrong = "5 + 3 = 8 left 8 2 , 8 * 2 = 16 vs 16 yes", "no"
    own = CountdownEvaluation(20, 15, 0.75, (0.5, 0.9), [right] * 15 + [wrong] * 5)
    other = CountdownEvaluation(20, 5, 0.25, (0.1, 0.5), [right] * 5 + [wrong] * 15)
    comparison = compare_evaluations(own, other, problems)
    assert comparison["difference"] == pytest.approx(0.5) and not comparison["is_noise"]
    assert comparison["interval"][0] < 0.5 < comparison["interval"][1] and comparison["num_problems"] == 20
    same = compare_evaluations(own, own, problems)
    assert same["difference"] == 0.0 and same["is_noise"]
