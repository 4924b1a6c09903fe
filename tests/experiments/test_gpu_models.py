"""The runs side by side on a GPU, with scripts that do nothing in place of those that train."""

import sys
import threading
from pathlib import Path

import pytest


sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "gpu"))

import models  # noqa: E402


SCRIPT = """
import sys, time
from pathlib import Path
arm, seed, results = sys.argv[1], sys.argv[3], Path(sys.argv[7])
if arm == "slow":
    time.sleep(60)
if arm == "wrong":
    sys.exit("no such arm")
assert arm == "before" or (results / "before.json").exists()
path = results / "before.json" if arm == "before" else results / arm / f"seed_{seed}.json"
path.parent.mkdir(parents=True, exist_ok=True)
path.write_text("{}")
"""


@pytest.fixture(autouse=True)
def scripts(tmp_path, monkeypatch):
    for task in models.TASKS:
        (tmp_path / f"run_{task}.py").write_text(SCRIPT)
    monkeypatch.setattr(models, "EXPERIMENTS", tmp_path)


def test_the_model_before_comes_first_and_the_other_runs_are_side_by_side(tmp_path):
    runs = models.SideBySide(tmp_path, seconds=50, tiny=False)
    models.run_all(
        [threading.Thread(target=runs.run_task, args=(task, ["top_20:0", "top_20:1"])) for task in models.TASKS]
    )
    names = ["before.json", "top_20/seed_0.json", "top_20/seed_1.json"]
    assert sorted(models.pack(tmp_path / "results")) == sorted(
        f"{task}/{name}" for task in models.TASKS for name in names
    )
    assert runs.failed == []


def test_a_run_that_fails_or_is_late_is_named_and_the_others_have_records(tmp_path):
    runs = models.SideBySide(tmp_path, seconds=5, tiny=False)
    runs.run_task("smollm2", ["slow:0", "wrong:0", "top_20:0"])
    assert sorted(runs.failed) == ["smollm2 slow 0", "smollm2 wrong 0"]
    assert list(models.pack(tmp_path / "results")) == ["smollm2/before.json", "smollm2/top_20/seed_0.json"]
