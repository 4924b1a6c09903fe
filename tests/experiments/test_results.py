"""Records, figures and page agree."""

import json
import random
import re

import arms
import numpy as np
import pytest
from clock import CLOCK
from figures import average_changes, average_percentiles, compare, read_scores, smooth_rewards
from make_results import CHINESE, END, PAGE, README, README_ZH, START, build_page, build_readme
from records import BEFORE, RESULTS, check_different, locate, read_all, write
from run_grid import list_jobs

from trl_forking.selection.rules.built_in import RULES


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


def test_rules_that_had_nothing_to_do_may_be_the_same_run():
    def make(rule, kept=1.0, clipped=0.0):
        record = make_record(settings={"token_selection": rule})
        record["log"] |= {"kept_fraction": [1.0, kept], "clip_fraction": [0.0, clipped]}
        return {0: record}

    check_different({"rare_token_veto": make("rare_token_veto"), "entropy_clip": make("entropy_clip")})
    for others in (
        {"rare_token_veto": make("rare_token_veto", kept=0.9), "entropy_clip": make("entropy_clip")},
        {"rare_token_veto": make("rare_token_veto"), "entropy_clip": make("entropy_clip", clipped=0.1)},
        {"gradient_norm": make("gradient_norm"), "entropy_clip": make("entropy_clip")},
        {"all_tokens": {0: make_record()}, "entropy_clip": make("entropy_clip")},
    ):
        with pytest.raises(ValueError, match="are the same run with seed 0"):
            check_different(others)


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


def test_percentiles_are_means_over_the_seeds():
    runs = {seed: {"forks": {"percentiles": [{"checkpoint": "base", "p80": 0.5 + seed}]}} for seed in range(2)}
    assert average_percentiles(runs) == [{"checkpoint": "base", "p80": 1.0}]


def test_rules_are_compared_with_forks_and_with_random_tokens(tmp_path):
    write_grid(tmp_path, {"top_20": 0.6, "random_20": 0.4, "gradient_norm": 0.2})
    page = build_page(tmp_path)
    (row,) = [line for line in page.splitlines() if line.startswith(f"| {arms.ARMS['gradient_norm'].title} | 4 | 0.")][
        :1
    ]
    assert row.count(": lower |") == 2


def test_every_arm_has_a_place_on_the_page(tmp_path):
    write_grid(tmp_path, {name: 0.2 + 0.01 * place for place, name in enumerate(arms.ARMS)}, num_seeds=2)
    tables = build_page(tmp_path).split("## Where the kept tokens are")[0].split("## The learning rate")
    rates = tables.pop(1).split("## The token rules")
    assert all(
        f"| {arm.title} |" in "".join((*tables, rates[1])) for name, arm in arms.ARMS.items() if "e-4" not in name
    )
    assert all(f"| {rate} |" in rates[0] for rate in ("1e-4", "3e-4", "6e-4"))
    plain = "runs of *without rare tokens at certain places* and *clip ranges by entropy* the rule therefore had nothing to do"
    assert plain in rates[1]


def test_a_rule_that_learns_worse_than_random_says_so():
    """And no other rule does."""
    runs = read_all(RESULTS)
    worse, saying = (
        set(),
        {name for name, rule in RULES.items() if "worse than `random`" in (rule.function.__doc__ or "")},
    )
    for name, arm in arms.ARMS.items():
        difference = compare(runs.get(name, {}), runs.get("random_20", {}))
        if "token_selection" in arm.settings and difference and not difference.is_noise and difference.mean < 0:
            worse.add(arm.settings["token_selection"])
    assert saying == worse


def test_the_page_is_the_one_of_the_records():
    """There is a page as soon as there are records, and it has their numbers."""
    assert PAGE.exists() == (RESULTS / BEFORE).exists(), "run make results"
    if PAGE.exists():
        assert PAGE.read_text(encoding="utf-8") == build_page(RESULTS), "run make results"
        for page, phrases in ((README, None), (README_ZH, CHINESE)):
            readme = page.read_text(encoding="utf-8")
            assert readme == build_readme(readme, RESULTS, phrases), "run make results"


def make_run(seed, chance):
    source = random.Random(f"{seed} {chance}")
    bits = [sum((source.random() < chance) << place for place in range(8)) for _ in range(40)]
    bins = [
        {"from": 0.0, "to": 0.5, "base_entropy": 0.1, "step 9": 0.01},
        {"from": 0.5, "to": 1.0, "base_entropy": 1.0, "step 9": -0.3},
    ]
    return {
        **{"scores": "".join(f"{score:02x}" for score in bits), "num_answers": 8, "mean_length": 44.0, "settings": {}},
        **{"commit": "0123456789", "versions": {"torch": "2"}, "processor": "x86_64"},
        "forks": {
            "overlap": [{"checkpoint": "step 9", "to_first": 0.9}],
            "change_by_bin": bins,
            "percentiles": [{"checkpoint": "step 9", "p50": 0.0, "p80": 0.5, "p95": 1.0, "p99": 1.1}],
        },
        "log": {
            "reward": [chance, chance + 0.01 * seed],
            "entropy": [0.2, 0.1],
            "precision": [0.9, 0.8],
            "recall": [0.7],
            "kept_fraction": [1.0, 1.0],
            "clip_fraction": [0.0, 0.0],
        },
    }


def write_grid(folder, chances, num_seeds=4):
    for name, chance in chances.items():
        for seed in range(num_seeds):
            write(locate(folder, name, seed), make_run(seed, chance) | {"settings": arms.ARMS[name].settings})
    write(folder / BEFORE, make_run(0, 0.3))


def test_page_says_what_the_records_show(tmp_path):
    write_grid(tmp_path, {"all_tokens": 0.6, "top_20": 0.605, "random_20": 0.4, "lowest_80": 0.2})
    page = build_page(tmp_path)
    num_missing = sum(arm.num_seeds for arm in arms.ARMS.values()) - 4 * 4
    assert f"{num_missing} of the runs are not made yet." in page and "{{" not in page
    rows = {line.split("|")[1].strip(): line for line in page.split("## The claims")[0].splitlines() if "|" in line}
    assert "not distinguishable" in rows["top 20 %"] and "lower" not in rows["top 20 %"]
    assert "| lower |" in rows["lowest 80 %"] and "| lower |" in rows["random 20 %"]
    assert "cannot be said here" in page  # top 20 % against all tokens
    assert "The clock was not read yet." in page


def test_chinese_table_has_the_numbers_of_the_english_one_and_no_english_word(tmp_path):
    """With every verdict: not distinguishable, lower, higher."""
    write_grid(tmp_path, {"all_tokens": 0.4, "top_20": 0.405, "random_20": 0.6, "lowest_80": 0.2})
    english, chinese = (build_readme(f"{START}{END}", tmp_path, phrases) for phrases in (None, CHINESE))
    assert "not distinguishable" in english and "| lower |" in english and "| higher |" in english
    assert re.findall(r"[-+]?[\d.]+\d", english) == re.findall(r"[-+]?[\d.]+\d", chinese)
    assert not re.search("[a-z]", chinese.removeprefix(START).removesuffix(END))


def test_a_changed_record_changes_the_page(tmp_path):
    write_grid(tmp_path, {"all_tokens": 0.6, "top_20": 0.605})
    page = build_page(tmp_path)
    write(locate(tmp_path, "top_20", 0), make_run(0, 0.1))
    assert build_page(tmp_path) != page


def test_page_has_the_seconds_of_the_clock(tmp_path):
    write_grid(tmp_path, {"all_tokens": 0.6, "top_20": 0.605})
    parts = {"generation": 0.5, "scoring": 0.125, "update": 0.25}
    write(tmp_path / CLOCK, {"num_steps": 18, "seconds": {"all_tokens": parts, "top_20": parts}})
    page = build_page(tmp_path)
    assert "medians of 18 steps" in page and "| 0.88 | 0.25 |" in page


def test_page_has_the_runs_of_the_other_models(tmp_path):
    write_grid(tmp_path / "countdown", {"all_tokens": 0.6})
    assert build_page(tmp_path / "countdown").count("No run was made yet.") == 2
    write_grid(tmp_path / "smollm2", {"all_tokens": 0.6, "top_20": 0.9}, num_seeds=2)
    page = build_page(tmp_path / "countdown")
    assert page.count("No run was made yet.") == 1
    assert "| top 20 % | 2 |" in page.split("## A real model")[1].split("## A larger model")[0]
