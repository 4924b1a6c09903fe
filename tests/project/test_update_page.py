"""The tables of update times are those of the committed results."""

import json
import re
import sys
from dataclasses import asdict
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
sys.path.insert(0, str(ROOT / "benchmarks" / "gpu"))

import write_page as gpu  # noqa: E402
import write_update_page as script  # noqa: E402
from update_step import measure  # noqa: E402


def read_between(page, start, end):
    return page.read_text(encoding="utf-8").partition(start)[2].partition(end)[0].strip()


def test_the_tables_are_those_of_the_results():
    table = read_between(script.PAGE, script.START, script.END)
    assert table == script.build_page(script.RESULTS), "run python benchmarks/write_update_page.py"
    steps = read_between(script.PAGE, script.STEPS_START, script.STEPS_END)
    assert steps == script.build_steps(script.STEPS), "run python benchmarks/write_update_page.py"


@pytest.mark.parametrize(
    ("page", "content"),
    [
        (gpu.PAGE, gpu.build_section(gpu.RESULTS)),
        (gpu.README, gpu.build_readme(gpu.RESULTS)),
        (gpu.README_ZH, gpu.build_readme(gpu.RESULTS, gpu.CHINESE)),
    ],
    ids=["page", "readme", "chinese"],
)
def test_the_figures_of_the_gpu_are_those_of_the_results(page, content):
    assert read_between(page, gpu.START, gpu.END) == content, "run python benchmarks/gpu/write_page.py"


def test_every_word_of_the_table_has_a_chinese_one():
    """Names of models, of LoRA and of the proportions of a shape stay."""
    rows = gpu.build_readme(gpu.RESULTS, gpu.CHINESE).splitlines()
    others = ["|".join(row.split("|")[2:]) for row in rows]
    assert "|".join(rows[0].split("|")[1:2]) == " 模型 " and not re.search("[A-Za-z]", "".join(others))


TIMES = {"scoring": 0.0, "update": 6.0, "peak_bytes": 400.0}
OURS = {"scoring": 1.0, "update": 2.0, "peak_bytes": 100.0, "floor": 1.0, "share_of_matrix_rate": 0.5}


def test_a_row_is_the_time_of_trls_mask_over_ours(tmp_path):
    cases = [{"case": asdict(script.Case(lora=True)), "result": {"TRL's mask": TIMES, "forking": OURS}}]
    (tmp_path / "update.json").write_text(json.dumps({"results": cases}))
    row = "| Qwen3-0.6B, equal shares, LoRA | 256 | no | 20 % | 3.0 x | 2.0 x | 0.25 |"
    assert row in gpu.build_readme(tmp_path)


def test_targets_that_are_missed_are_named():
    slow = {"TRL's mask": TIMES, "forking": OURS | {"update": 2.5, "peak_bytes": 300.0}}
    text = gpu.describe_targets([(script.Case(), {"TRL's mask": TIMES, "forking": OURS}), (script.Case(), slow)])
    assert "256 tokens: meets all three." in text
    assert "256 tokens: misses time without scoring and time with scoring and memory." in text


def test_checks_and_cases_that_failed_are_named(tmp_path):
    assert "These do not: resumed (0.5)." in gpu.describe_correctness({"resumed": {"holds": False, "error": 0.5}})
    failed = {"case": "a case", "traceback": "Traceback\nOutOfMemoryError: too large"}
    good = {"case": asdict(script.Case()), "result": {"TRL's mask": TIMES, "forking": OURS}}
    assert "- Not measured: a case: OutOfMemoryError: too large" in gpu.build_updates({"results": [good, failed]})


@pytest.mark.slow
def test_an_update_is_timed_with_every_trainer():
    case = script.Case(completion_length=16, num_answers=4, micro_batch=4)
    result = measure(case, repeats=1, scale_down=True)
    assert set(result) == {"TRL, no mask", "TRL's mask", "forking"}
    assert all(times["update"] > 0 for times in result.values())
