"""Every committed pair gets its right verdict, and the page shows the same counts."""

import importlib.metadata
import importlib.util
import json
import sys
from pathlib import Path

import pytest

from trl_forking.rewards.extract import find_gold
from trl_forking.rewards.math_reward import explain_verdict


ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("verdicts", ROOT / "benchmarks" / "verdicts.py")
verdicts = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = verdicts
spec.loader.exec_module(verdicts)
CASES = verdicts.read_cases()


def test_there_are_enough_pairs():
    families = [case for case in CASES if case.kind != verdicts.HELD_OUT]
    assert len(families) >= 610 and len({case.kind for case in families}) == 50
    assert sum(not case.right for case in families) * 3 >= len(families)
    assert len({(case.gold, case.answer) for case in CASES}) == len(CASES)


@pytest.mark.parametrize("kind", dict.fromkeys(case.kind for case in CASES))
def test_every_pair_has_its_right_verdict(kind):
    wrong = [case for case in CASES if case.kind == kind and verdicts.verify(case) != float(case.right)]
    assert [(case, explain_verdict(case.answer, case.gold, is_bare=True)) for case in wrong] == []


def test_every_gold_answer_is_right():
    """A verifier that refuses everything would pass no pair that is right; nor this."""
    golds = dict.fromkeys(case.gold for case in CASES)
    assert [gold for gold in golds if verdicts.verify(verdicts.Case("", gold, find_gold(gold), 1)) != 1.0] == []


def read_shown() -> list[str]:
    page = verdicts.PAGE.read_text(encoding="utf-8")
    return page.partition(verdicts.START)[2].partition(verdicts.END)[0].strip().splitlines()


def test_the_page_shows_the_counts_of_both():
    record = json.loads(verdicts.RECORD.read_text())
    table = verdicts.build_table(CASES, [float(verdict) for verdict in record["verdicts"]]).strip().splitlines()
    name = f"math-verify {importlib.metadata.version('math-verify')} alone"
    assert [line.replace(name, f"math-verify {record['version']} alone") for line in table] == read_shown()


@pytest.mark.slow
def test_math_verify_says_what_is_recorded(monkeypatch):
    """Of every eighth pair: all of them take two minutes."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")  # its process imports the script
    record = json.loads(verdicts.RECORD.read_text())
    if record["version"] != importlib.metadata.version("math-verify"):
        pytest.skip("the record is of another version of math-verify")
    assert verdicts.ask_math_verify(CASES[::8]) == [float(verdict) for verdict in record["verdicts"][::8]]


def test_counts():
    cases = [verdicts.Case("a", "1", "1", right) for right in (1, 1, 1, 0, 0)]
    assert verdicts.count_errors(cases, [1.0, 0.0, None, 1.0, 0.0]) == (1, 2)
