"""Records, figures and page agree."""

import json
import shutil

import arms
import numpy as np
import pytest
from figures import average_changes, compare, read_scores, smooth_rewards
from make_results import PAGE, build_page
from records import RESULTS, check_different, locate, read_all, write
from run_grid import list_jobs


def make_record(scores="ff00", rewards=(0.1, 0.2), settings=None):
    return {"scores": scores, "num_answers": 8, "settings": settings or {}, "log": {"reward": list(rewards)}}


def test_scores_are_shares():
    assert read_scores(make_record("ff0301")) == [1.0, 0.25, 0.125]


def test_difference_is_paired_by_seed_and_problem():
    ours = {0: make_record("ff0f"), 1: make_record("f0ff"), 7: make_record("0000")}
    others = {0: make_record("0f0f"), 1: make_record("f000"), 8: make_record("ffff")}
    difference = compare(ours, others)
    assert difference.num_seeds == 2
    assert difference.mean == pytest.approx(np.mean([0.5, 0.0, 0.0, 1.0]))
    assert compare(ours, {5: make_record()}) is None


def test_two_arms_that_are_the_same_run_are_an_error():
    runs = {"top_20": {0: make_record()}, "lowest_80": {0: make_record()}}
    with pytest.raises(ValueError, match="top_20 and lowest_80 are the same run with seed 0"):
        check_different(runs)
    runs["lowest_80"] = {0: make_record(rewards=(0.1, 0.3)), 1: make_record()}
    check_different(runs)


def test_a_record_with_other_settings_is_an_error(tmp_path):
    write(locate(tmp_path, "top_10", 0), make_record(settings={"top_entropy_quantile": 0.3}))
    with pytest.raises(ValueError, match="delete the file and run the grid again"):
        read_all(tmp_path)


def test_records_are_written_with_a_line_for_each_column(tmp_path):
    record = make_record() | {"empty": {}, "third": 1 / 3}
    path = locate(tmp_path, "top_20", 3)
    write(path, record)
    assert json.loads(path.read_text()) == record | {"third": 0.333333}
    assert '"reward": [0.1, 0.2]\n' in path.read_text()


def test_finished_runs_are_not_repeated(tmp_path):
    jobs = list_jobs(list(arms.ARMS), None, tmp_path)
    assert len(jobs) == sum(arm.num_seeds for arm in arms.ARMS.values())
    assert jobs[:4] == [(name, 0) for name in list(arms.ARMS)[:4]]
    write(locate(tmp_path, "top_20", 0), make_record())
    assert ("top_20", 0) not in list_jobs(list(arms.ARMS), None, tmp_path)
    assert list_jobs(["top_20"], [0, 1], tmp_path) == [("top_20", 1)]


def test_rewards_are_smoothed_over_past_steps_alone():
    mean, error = smooth_rewards({0: make_record(rewards=(0.0, 1.0)), 1: make_record(rewards=(0.2, 0.2))}, window=10)
    assert mean.tolist() == pytest.approx([0.1, 0.35])
    assert error.tolist() == pytest.approx([0.1, 0.15])


def test_changes_are_those_of_the_last_copy():
    row = {"from": 0.0, "to": 0.05, "num_tokens": 3, "base_entropy": 0.5, "step 1": 9.0, "step 2": 0.25}
    runs = {0: {"forks": {"change_by_bin": [row]}}, 1: {"forks": {"change_by_bin": [row | {"step 2": 0.75}]}}}
    assert average_changes(runs) == [(0.05, 0.5, 0.5)]


def test_the_page_is_the_one_of_the_records():
    assert PAGE.read_text(encoding="utf-8") == build_page(RESULTS), "run make results"


def test_a_changed_record_changes_the_page(tmp_path):
    shutil.copytree(RESULTS, tmp_path / "results")
    path = locate(tmp_path / "results", "top_20", 0)
    record = json.loads(path.read_text())
    write(path, record | {"scores": "00" * (len(record["scores"]) // 2)})
    assert build_page(tmp_path / "results") != build_page(RESULTS)
