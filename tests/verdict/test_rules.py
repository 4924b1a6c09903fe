"""Each rule on made-up logs: what it must see, and what it must not see."""

import itertools
import math
import random

import pytest

from trl_forking.verdict.history import RunHistory, collect_columns, collect_history, split_thirds
from trl_forking.verdict.rules import (
    compute_rank_score,
    judge_clipping,
    judge_entropy,
    judge_gradient,
    judge_groups,
    judge_repetition,
    judge_reward,
    judge_truncation,
)
from trl_forking.verdict.verdict import judge_run


def make(num_steps=30, **columns):
    names = {"clipped": "completions/clipped_ratio", "zero": "frac_reward_zero_std", "clip": "forking/clip_fraction"}
    columns = {"reward": 0.5} | columns
    return RunHistory(
        {
            names.get(name, name): [value] * num_steps if isinstance(value, int | float) else list(value)
            for name, value in columns.items()
        }
    )


def noisy(start, end, num_steps=60, spread=0.05, seed=0):
    source = random.Random(seed)
    return [start + (end - start) * step / num_steps + source.gauss(0, spread) for step in range(num_steps)]


def find_exact_tail(first, last):
    """Share of all orders of the values whose last values win at least as often: slow and obvious."""
    values = [*first, *last]
    wins = sum((b > a) + (a == b) / 2 for a in first for b in last)
    found = []
    for places in itertools.combinations(range(len(values)), len(last)):
        chosen = [values[place] for place in places]
        rest = [value for place, value in enumerate(values) if place not in places]
        found.append(sum((b > a) + (a == b) / 2 for a in rest for b in chosen) >= wins)
    return sum(found) / len(found)


@pytest.mark.parametrize("seed", range(6))
def test_rank_score_agrees_with_all_orders(seed):
    source = random.Random(seed)
    first, last = ([round(source.gauss(shift, 1), 1) for _ in range(6)] for shift in (0, 0.5 * seed))
    score = compute_rank_score(first, last)
    tail = 0.5 * math.erfc(score / math.sqrt(2))
    if score > 0:
        assert tail == pytest.approx(find_exact_tail(first, last), abs=0.02)
    assert compute_rank_score(last, first) == pytest.approx(-score)


def test_rank_score_of_equal_values_is_zero():
    assert compute_rank_score([0.0] * 10, [0.0] * 10) == 0.0
    assert compute_rank_score([1.0, 2.0], [2.0, 1.0]) == 0.0


def test_rewards_that_only_vary_are_called_moved_in_five_percent_of_the_runs():
    moved = sum(judge_reward(make(reward=noisy(0.4, 0.4, seed=seed))).verdict != "did not move" for seed in range(400))
    assert 0.02 <= moved / 400 <= 0.08


@pytest.mark.parametrize(
    ("rewards", "verdict"),
    [
        (noisy(0.2, 0.5), "rose"),
        (noisy(0.5, 0.2), "fell"),
        (noisy(0.4, 0.4), "did not move"),
        ([0.0] * 40, "did not move"),
        ([0.3] * 11, "too short"),
        ([0.3], "too short"),
        ([1e9, *noisy(0.2, 0.5)], "rose"),  # one step out of line decides nothing
        ([0.1, 0.2, 0.3, 0.4] + [0.5] * 4 + [0.6, 0.7, 0.8, 0.9], "rose"),
    ],
)
def test_reward(rewards, verdict):
    finding = judge_reward(make(reward=rewards))
    assert finding.verdict == verdict
    assert (finding.remedy == "") == (verdict == "rose")


@pytest.mark.parametrize(
    ("steps", "rewards", "told", "advice"),
    [
        ([1, 2, 3, 4], [0.1] * 4, "4 steps are too few", "Train at least 12 steps to get a verdict."),
        ([10, 20, 30], [0.1] * 3, "3 logged rewards are too few", "at least 120 steps"),  # logging_steps=10
        ([1, 2, 3, 4], [math.nan, 0.1] * 2, "2 logged rewards are too few", "at least 24 steps"),  # 2 steps a rollout
        ([10], [0.1], "one logged reward is too few", "at least 120 steps"),
    ],
)
def test_a_run_is_too_short_by_its_logged_rewards(steps, rewards, told, advice):
    finding = judge_reward(RunHistory({"step": steps, "reward": rewards}))
    assert finding.verdict == "too short" and told in finding.sentence and advice in finding.remedy


def test_the_learning_curve_of_dynamic_sampling_is_that_of_all_answers():
    history = make(60, reward=0.5, **{"forking/sampled_reward": noisy(0.1, 0.4)})
    assert judge_reward(history).verdict == "rose"


@pytest.mark.parametrize(
    ("columns", "verdict", "advice"),
    [
        ({"zero": 0.3}, None, ""),
        ({"zero": 0.49}, None, ""),
        ({"zero": 0.6}, "many", "dynamic_sampling=True"),
        ({"zero": 1.0, "reward": 0.0}, "all fail", "cannot help where every group fails"),
        ({"zero": 0.97, "reward": 0.01}, "all fail", "easier prompts"),
        ({"zero": 0.97, "reward": 0.99}, "all succeed", "harder prompts"),
        ({"zero": 1.0, "reward": 0.5}, "many", "dynamic_sampling=True"),
        ({"forking/zero_variance_groups": 0.7, "zero": 0.0}, "many", "medium difficulty: each replaced group costs"),
    ],
)
def test_groups(columns, verdict, advice):
    finding = judge_groups(make(**columns))
    assert (finding and finding.verdict) == verdict
    assert finding is None or advice in finding.remedy


@pytest.mark.parametrize(("share", "verdict"), [(0.05, None), (0.3, "many"), (0.99, "all"), (1.0, "all")])
def test_truncation(share, verdict):
    finding = judge_truncation(make(clipped=share))
    assert (finding and finding.verdict) == verdict


@pytest.mark.parametrize(
    ("columns", "verdict"),
    [
        ({"entropy": noisy(0.3, 0.15, spread=0.001)}, None),
        ({"entropy": [0.5] * 10 + [0.3] * 10 + [0.05] * 10}, "collapsed"),
        ({"entropy": 0.2, "forking/threshold": 0.001}, "low threshold"),
        ({"entropy": 0.2, "forking/threshold": 0.4}, None),
        ({"entropy": 0.0}, None),
    ],
)
def test_entropy(columns, verdict):
    finding = judge_entropy(make(**columns))
    assert (finding and finding.verdict) == verdict


def test_clipping_and_repetition():
    assert judge_clipping(make(clip=0.05)) is None
    assert judge_clipping(make(clip=0.4)).evidence == {
        "first_third": pytest.approx(0.4),
        "last_third": pytest.approx(0.4),
    }
    assert judge_clipping(make(**{"clip_ratio/region_mean": 0.4})).verdict == "many"
    assert judge_repetition(make(**{"forking/repeated_answers": 0.2})) is None
    assert judge_repetition(make(**{"forking/repeated_answers": 0.9})).verdict == "many"


@pytest.mark.parametrize(
    ("norms", "verdict"),
    [
        ([0.1] * 30, None),
        ([0.1] * 29 + [0.9], None),
        ([0.1] * 29 + [2.0], "spikes"),
        ([0.0] * 30, None),
        ([0.1] * 29 + [math.nan], "not finite"),
        ([0.1] * 29 + [math.inf], "not finite"),
    ],
)
def test_gradient(norms, verdict):
    finding = judge_gradient(make(grad_norm=norms))
    assert (finding and finding.verdict) == verdict


def test_a_healthy_run_that_learned_has_two_sentences():
    verdict = judge_run(
        make(60, reward=noisy(0.2, 0.5), zero=0.3, entropy=0.3, grad_norm=0.1, clip=0.01, clipped=0.01)
    )
    assert verdict.sentences == [verdict.findings[0].sentence, "Nothing in its log stands out."]


def test_a_verdict_has_at_most_four_sentences_and_the_most_harmful_first():
    everything = make(
        reward=0.0, zero=1.0, clipped=0.99, clip=0.5, grad_norm=[0.1] * 29 + [9.0], entropy=[1.0] * 15 + [0.01] * 15
    )
    verdict = judge_run(everything)
    assert len(verdict.sentences) == 4
    assert [finding.rule for finding in verdict.findings] == [
        *("reward", "groups", "truncated", "entropy", "gradient", "clipping"),
    ]
    assert verdict.findings[0].remedy == ""  # the findings below say why nothing moved


def test_a_log_without_rewards_is_said_to_be_one():
    assert judge_run(collect_history([{"loss": 0.1}])).sentences == [
        "The run logged no reward, so nothing can be said about it. Train longer, or lower logging_steps."
    ]


@pytest.mark.parametrize("value", [None, "0.5", True, [0.5]])
def test_values_that_are_no_numbers_are_left_out(value):
    history = collect_history([{"reward": 0.5, "entropy": value}, {"reward": value, "entropy": 0.3}])
    assert history.num_steps == 1 and history.get("entropy") == []


def test_columns_of_a_record_and_entries_of_a_log_are_the_same_history():
    entries = [{"reward": 0.1 * step, "entropy": None if step == 2 else 0.2} for step in range(5)]
    columns = {name: [entry[name] for entry in entries] for name in ("reward", "entropy")}
    first, second = collect_history(entries), collect_columns(columns)
    assert first.get("reward") == second.get("reward") and first.get("entropy") == second.get("entropy")


def test_thirds_of_short_columns_have_a_value():
    assert split_thirds([1.0]) == ([1.0], [1.0])
    assert split_thirds([1.0, 2.0]) == ([1.0], [2.0])
