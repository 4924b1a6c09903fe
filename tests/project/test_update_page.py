"""The tables of update times are those of the committed results."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import write_update_page as script  # noqa: E402
from update_step import measure  # noqa: E402


@pytest.mark.parametrize(
    ("page", "build"), [(script.PAGE, script.build_page), (script.README, script.build_readme)], ids=["page", "readme"]
)
def test_the_tables_are_those_of_the_results(page, build):
    text = page.read_text(encoding="utf-8")
    table = text.partition(script.START)[2].partition(script.END)[0].strip()
    assert table == build(script.RESULTS), "run python benchmarks/write_update_page.py"


def test_a_row_is_the_time_of_trls_mask_over_ours(tmp_path):
    times = {"scoring": 0.0, "update": 6.0, "peak_bytes": 400.0}
    ours = {"scoring": 1.0, "update": 2.0, "peak_bytes": 100.0, "floor": 1.0}
    result = {"TRL, no mask": times, "TRL's mask": times, "forking": ours}
    cases = [{"case": asdict(case), "result": result} for case in script.SHOWN]
    (tmp_path / "results.json").write_text(json.dumps({"device": "CPU", "versions": "torch", "results": cases}))
    assert "| long-tailed | 20 % | none | 3.0 x | 2.0 x | 0.25 |" in script.build_readme(tmp_path / "results.json")


@pytest.mark.slow
def test_an_update_is_timed_with_every_trainer():
    case = script.Case(completion_length=16, num_answers=4, micro_batch=4)
    result = measure(case, repeats=1, scale_down=True)
    assert set(result) == {"TRL, no mask", "TRL's mask", "forking"}
    assert all(times["update"] > 0 for times in result.values())
