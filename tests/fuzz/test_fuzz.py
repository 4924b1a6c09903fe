"""The fuzzer runs, repeats a seed, and finds what is wrong."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # `make fuzz` runs it from there; nothing else of the checkout is imported so

from fuzz import damages, runs  # noqa: E402
from fuzz.settings import draw_settings, draw_sizes  # noqa: E402
from trl_forking import ForkingGRPOConfig  # noqa: E402


def fuzz(*arguments: str) -> subprocess.CompletedProcess:
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), str(ROOT)]),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "fuzz", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_a_few_trials_pass_and_are_counted():
    result = fuzz("--first", "1", "--trials", "1")
    assert result.returncode == 0, result.stdout[-3000:]
    last = result.stdout.splitlines()[-1]
    assert (
        last.startswith("From seed 1: ")
        and "1 configurations" in last
        and "6 damages" in last
        and " interruptions, " in last
        and "0 failed" in last
    )


def test_a_failure_is_printed_with_the_command_that_repeats_it(tmp_path, capsys):
    from collections import Counter

    from fuzz.__main__ import report, try_once

    def fail(seed, folder):
        raise AssertionError("other weights")

    failed = try_once("run", fail, 7, tmp_path, Counter())
    assert failed == ['make fuzz ARGS="--kind run --seed 7"']
    assert report(Counter({"configurations": 1}), failed, 7) == 1 and report(Counter(), [], 7) == 0
    output = capsys.readouterr().out
    assert "other weights" in output and "From seed 7: 1 configurations; 1 failed." in output


def test_a_seed_gives_the_same_settings_and_the_config_takes_them(tmp_path):
    for seed in range(60):
        settings = draw_settings(random.Random(seed))
        assert settings == draw_settings(random.Random(seed))
        ForkingGRPOConfig(str(tmp_path), use_cpu=True, **settings)
    assert len({str(draw_sizes(random.Random(seed))) for seed in range(60)}) > 20


def test_every_damage_changes_a_file_or_takes_it_away():
    content = json.dumps({"a": [1, {"b": "c"}], "d": None}).encode()
    for kind in damages.KINDS:
        results = [kind(random.Random(seed), content) for seed in range(20)]
        assert all(result is None or isinstance(result, bytes) for result in results)
        assert any(result != content for result in results)


@pytest.mark.parametrize(
    ("error", "is_fine"),
    [
        (None, True),
        (ValueError("{folder}/a.json is damaged: restore it."), True),
        (ValueError("no file is named: restore it."), False),
        (ValueError("{folder}/a.json\nis damaged"), False),
        (KeyError("kept"), False),
    ],
    ids=str,
)
def test_only_one_sentence_that_names_the_file_is_taken(tmp_path, error, is_fine):
    def use(folder, path, result):
        if error is not None:
            raise type(error)(error.args[0].format(folder=folder))

    if is_fine:
        assert damages.is_told(use, tmp_path, Path("a.json"), tmp_path, "label") == (error is not None)
    else:
        with pytest.raises(AssertionError):
            damages.is_told(use, tmp_path, Path("a.json"), tmp_path, "label")


def test_runs_that_differ_are_told():
    import torch

    run = {"steps": 2, "logs": [{"loss": 0.5}], "weights": torch.ones(2)}
    runs.compare(run, dict(run), "label")
    for change in ({"steps": 1}, {"logs": [{"loss": 0.25}]}, {"weights": torch.tensor([1.0, 2.0])}):
        with pytest.raises(AssertionError, match="label"):
            runs.compare(run | change, run, "label")
