"""Differences of runs paired by seed and problem: slow references, coverage, power and cases made by hand."""

import math
import random
from itertools import product
from statistics import mean, stdev, variance

import numpy as np
import pytest

from helpers.compared import write_run
from trl_forking.card.setting_differences import find_setting_differences
from trl_forking.evaluation.bootstrap import estimate_difference
from trl_forking.evaluation.comparison import (
    SeedDifference,
    Spread,
    estimate_seed_difference,
    find_reach,
)
from trl_forking.evaluation.comparison_text import NOISE, build_report, describe_comparison
from trl_forking.evaluation.evaluated_runs import read_groups
from trl_forking.evaluation.intervals import compute_share_interval
from trl_forking.evaluation.power import find_needed_problems, find_needed_seeds
from trl_forking.evaluation.run_comparison import compare_figure, compare_groups
from trl_forking.evaluation.student import find_t_quantile


NAN = math.nan


def draw(generator, seeds, problems, of_seeds, of_problems, rest, effect=0.0):
    return (
        effect
        + of_seeds * generator.normal(size=(seeds, 1))
        + of_problems * generator.normal(size=(1, problems))
        + rest * generator.normal(size=(seeds, problems))
    )


# Intervals


@pytest.mark.parametrize(
    ("probability", "freedom", "value"),
    [(0.975, 1, 12.7062), (0.975, 2, 4.3027), (0.975, 29, 2.0452), (0.8, 5, 0.9195), (0.025, 10, -2.2281), (0.975, 1e7, 1.96)],
)  # fmt: skip
def test_quantiles_of_the_table_of_student(probability, freedom, value):
    assert find_t_quantile(probability, freedom) == pytest.approx(value, abs=1e-4)


@pytest.mark.parametrize(("probability", "freedom"), [(0.0, 3), (1.0, 3), (0.975, 0.5)])
def test_a_quantile_out_of_range_is_refused(probability, freedom):
    with pytest.raises(ValueError, match="must be in"):
        find_t_quantile(probability, freedom)


def test_one_seed_is_the_paired_bootstrap_over_problems():
    generator = random.Random(0)
    before, after = ([generator.random() for _ in range(25)] for _ in range(2))
    found = estimate_seed_difference([[b - a for a, b in zip(before, after, strict=True)]])
    assert found[:3] == estimate_difference(before, after)[:3]
    assert math.isnan(found.spread.seeds) and found.num_seeds == 1


@pytest.mark.slow
def test_the_variances_are_those_of_slow_bootstraps():
    """A bootstrap over seeds and one over problems, drawn one by one; the rest, which both contain, counts with the seeds."""
    table = draw(np.random.default_rng(3), 4, 12, 0.2, 0.2, 0.3).tolist()
    found = estimate_seed_difference(table)
    source = random.Random(1)
    over_seeds, over_problems = [], []
    for _ in range(20_000):
        rows = source.choices(table, k=4)
        over_seeds.append(mean(value for row in rows for value in row))
        columns = source.choices(range(12), k=12)
        over_problems.append(mean(row[column] for row in table for column in columns))
    # A bootstrap divides by n where a variance divides by n - 1.
    of_seeds, of_problems = variance(over_seeds) * 4 / 3, variance(over_problems) * 12 / 11
    center = mean(value for row in table for value in row)
    squares = [
        (table[s][p] - mean(table[s]) - mean(row[p] for row in table) + center) ** 2
        for s, p in product(range(4), range(12))
    ]
    rest = sum(squares) / (3 * 11) / 48
    assert of_problems > rest
    reach = math.sqrt(3.1824**2 * of_seeds + 2.2010**2 * (of_problems - rest))  # Student's t with 3 and 11
    assert (found.high - found.low) / 2 == pytest.approx(reach, rel=0.02)
    assert found.mean == pytest.approx(center) and found.spread.rest == pytest.approx(rest * 48)


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "highest"), [(2, 0.99), (3, 0.985), (5, 0.98), (10, 0.97)])
@pytest.mark.parametrize(("of_seeds", "of_problems"), [(0.0, 0.1), (0.02, 0.1), (0.05, 0.02), (0.1, 0.1), (0.3, 0.1)])
def test_coverage(seeds, highest, of_seeds, of_problems):
    """However much seeds differ, the interval contains the truth in 95 % of all cases or a little more."""
    generator = np.random.default_rng(seeds)
    tables = [draw(generator, seeds, 30, of_seeds, of_problems, 0.15) for _ in range(1000)]
    found = [estimate_seed_difference(table) for table in tables]
    assert 0.93 <= sum(each.low <= 0 <= each.high for each in found) / 1000 <= highest


@pytest.mark.slow
def test_coverage_with_answers_that_are_right_or_wrong():
    """Three seeds, 30 problems of all kinds of difficulty, 16 answers each; a seed moves all of its problems a little."""
    generator, hits = np.random.default_rng(8), 0
    for _ in range(800):
        base = generator.beta(0.7, 1.0, 30) * 0.8
        gain = 0.05 + 0.03 * generator.normal(size=(3, 1)) + 0.02 * generator.normal(size=(1, 30))
        before, after = (
            generator.binomial(16, np.clip(share, 0, 1)) / 16
            for share in (np.tile(base, (3, 1)), base + np.clip(gain, 0, 0.2))
        )
        truth = 0.05 + (np.clip(gain, 0, 0.2) - gain).mean()  # the clipping moves it by less than 0.001
        found = estimate_seed_difference((after - before).tolist())
        hits += found.low <= truth <= found.high
    assert 0.93 <= hits / 800 <= 0.985


def test_pairing_makes_the_interval_shorter():
    generator = np.random.default_rng(0)
    difficulty = generator.random(40)
    before = (difficulty + 0.02 * generator.normal(size=40)).tolist()
    after = (difficulty + 0.05 + 0.02 * generator.normal(size=40)).tolist()
    paired = estimate_seed_difference([[b - a for a, b in zip(before, after, strict=True)]])
    unpaired = math.hypot(stdev(before), stdev(after)) / math.sqrt(40)
    assert not paired.is_noise and paired.high - paired.low < 0.2 * 2 * 1.96 * unpaired


def test_hand_made_cases():
    nothing = estimate_seed_difference([[0.0] * 10])
    assert nothing.mean == 0 and nothing.is_noise
    share = compute_share_interval(0, 10)[1]
    assert (nothing.low, nothing.high) == (-share, share), "ten problems without a difference are no certainty"
    few = estimate_seed_difference([[1.0] * 5])
    assert 0 < few.low < few.high == 1.0 and few.is_noise, "five of a kind come by chance in 6 % of all cases"
    assert not estimate_seed_difference([[1.0] * 6]).is_noise
    assert estimate_seed_difference([[1.0] * 5 + [0.0] * 3]).num_differing == 5
    rounding = estimate_seed_difference([[0.1 + 0.2 - 0.3] * 10])
    assert rounding.num_differing == 0 and rounding.is_noise
    one = estimate_seed_difference([[0.5]])
    assert one.mean == 0.5 and math.isnan(one.low) and one.is_noise
    assert math.isnan(estimate_seed_difference([[0.5], [0.7]]).low)
    gaps = estimate_seed_difference([[0.5, NAN, 0.1], [0.5, 1.0, 0.3]])
    assert gaps.num_problems == 2 and gaps.mean == pytest.approx(0.35)
    empty = estimate_seed_difference([[NAN], [1.0]])
    assert math.isnan(empty.mean) and empty.is_noise and empty.num_problems == 0
    equal = estimate_seed_difference([[0.2] * 8, [0.2] * 8])
    assert equal.mean == pytest.approx(0.2) and equal.low < 0.1 and equal.high > 0.3
    lengths = estimate_seed_difference([[5.0] * 8, [5.0] * 8], bounds=None)
    assert lengths.mean == 5 and math.isnan(lengths.low) and lengths.is_noise
    for wrong in ([], [[0.1], [0.1, 0.2]]):
        with pytest.raises(ValueError, match="all over the same problems"):
            estimate_seed_difference(wrong)


def test_seeds_that_disagree_make_it_noise():
    problems = [0.2] * 20
    apart = estimate_seed_difference([problems, [-0.1] * 20, [0.1] * 20])
    assert apart.is_noise and apart.spread.seeds > 0
    # Each seed alone would have claimed a difference.
    assert not estimate_seed_difference([problems]).is_noise


def test_seeds_and_problems_have_quantiles_of_their_own():
    assert find_reach(0.01, 0.0, 3, 30) == pytest.approx(4.3027 * 0.1, rel=1e-4)
    assert find_reach(0.0, 0.01, 3, 30) == pytest.approx(2.0452 * 0.1, rel=1e-4)
    assert find_reach(0.01, 0.01, 3, 30) == pytest.approx(0.1 * math.hypot(4.3027, 2.0452), rel=1e-4)
    assert find_reach(0.0, 0.0, 3, 30) == 0


# Power


@pytest.mark.parametrize("effect", [0.05, 0.1, 0.25])
def test_the_needed_problems_of_one_pair_give_the_power(effect):
    size = find_needed_problems(SeedDifference(effect, -1, 1, 1, 30, 30, Spread(NAN, 0.09, 0.0)))
    generator = np.random.default_rng(0)
    samples = draw(generator, 1500, size, 0, 0, 0.3, effect)
    reach = find_t_quantile(0.975, size - 1) * samples.std(1, ddof=1) / math.sqrt(size)
    assert 0.76 < (np.abs(samples.mean(1)) > reach).mean() < 0.84


@pytest.mark.parametrize(("effect", "of_seeds", "problems"), [(0.05, 0.03, 60), (0.1, 0.1, 60), (0.05, 0.05, 100)])
def test_the_needed_seeds_give_the_power(effect, of_seeds, problems):
    spread = Spread(of_seeds**2, 0.01 if of_seeds > 0.03 else 0.005, 0.15**2)
    size = find_needed_seeds(SeedDifference(effect, -1, 1, 3, problems, 30, spread))
    generator = np.random.default_rng(1)
    args = (size, problems, of_seeds, math.sqrt(spread.problems), 0.15, effect)
    found = [estimate_seed_difference(draw(generator, *args)) for _ in range(800)]
    assert 0.74 < sum(each.low > 0 or each.high < 0 for each in found) / 800 < 0.87


def test_the_needed_problems_of_three_seeds_give_the_power():
    size = find_needed_problems(SeedDifference(0.05, -1, 1, 3, 30, 30, Spread(0.0, 0.04, 0.0225)))
    generator = np.random.default_rng(2)
    found = [estimate_seed_difference(draw(generator, 3, size, 0, 0.2, 0.15, 0.05)) for _ in range(800)]
    assert 0.74 < sum(each.low > 0 or each.high < 0 for each in found) / 800 < 0.87


def test_what_no_number_can_show():
    seeds_differ = SeedDifference(0.01, -0.2, 0.2, 3, 30, 20, Spread(0.04, 0.01, 0.01))
    assert find_needed_problems(seeds_differ) is None and find_needed_seeds(seeds_differ) is None
    no_difference = SeedDifference(0.0, -0.1, 0.1, 3, 30, 20, Spread(0.0, 0.01, 0.01))
    assert find_needed_problems(no_difference) is None
    assert find_needed_seeds(SeedDifference(0.1, 0, 0.2, 1, 30, 20, Spread(NAN, 0.01, 0.0))) is None
    undefined = estimate_seed_difference([[NAN], [1.0]])
    assert find_needed_problems(undefined) is None and find_needed_seeds(undefined) is None
    assert find_needed_problems(SeedDifference(0.9, 0.8, 1, 1, 30, 30, Spread(NAN, 1e-6, 0.0))) == 6


# Groups


def compare(*texts):
    return compare_groups(read_groups(list(texts)))


def fail(*texts):
    with pytest.raises(ValueError) as caught:
        compare(*texts)
    message = str(caught.value)
    assert "\n" not in message and message.endswith((".", "first."))
    return message


def test_means_and_differences_of_two_groups(tmp_path):
    for seed, shift in ((1, 0.1), (2, 0.2), (3, 0.15)):
        base = [(i % 4) / 4 for i in range(12)]
        write_run(tmp_path / f"a-{seed}", base, seed)
        write_run(tmp_path / f"b-{seed}", [value + shift for value in base], seed, {"top_entropy_quantile": 1.0})
    found = compare(f"{tmp_path}/a-*", f"b={tmp_path}/b-3,{tmp_path}/b-1,{tmp_path}/b-2")
    (each,) = found.comparisons
    assert (each.first, each.second) == ("a-*", "b") and [pair.label for pair in each.pairs] == [
        "seed 1",
        "seed 2",
        "seed 3",
    ]
    figure = each.sets[0].figures["avg@4"]
    assert figure.first == pytest.approx(0.375) and figure.second == pytest.approx(0.525)
    assert figure.difference.mean == pytest.approx(0.15) and not figure.difference.is_noise
    # The problems are all alike, so that the seeds alone decide: t with two degrees of freedom.
    assert figure.difference.high - 0.15 == pytest.approx(4.3027 * 0.05 / math.sqrt(3), abs=1e-4)
    assert each.sets[0].figures["length"].difference.mean == 0
    (row,) = found.settings
    assert row.name == "top_entropy_quantile" and row.values == {"a-*": [0.2], "b": [1.0]}
    report = build_report(found, None)
    assert "more than noise" in report and "Equal steps are not equal compute" in report and "150 tokens" in report


def test_seeds_that_do_not_pair_are_named(tmp_path):
    for group, seeds in (("a", (1, 2, 3)), ("b", (2, 3, 7, 8))):
        for seed in seeds:
            write_run(tmp_path / f"{group}-{seed}", [seed / 10] * 8, seed)
    (each,) = compare(f"{tmp_path}/a-*", f"{tmp_path}/b-*").comparisons
    assert len(each.pairs) == 2 and each.sets[0].figures["avg@4"].first == pytest.approx(0.25)
    assert each.notes[:2] == [
        "Seed 1 of a-* has no partner in b-* and has no part.",
        "Seeds 7, 8 of b-* have no partner in a-* and have no part.",
    ]
    assert "Two seeds hardly show" in each.notes[-1]


def test_a_base_model_is_compared_with_every_seed(tmp_path):
    base = write_run(tmp_path / "base", [0.2] * 9, record=False)
    for seed in (1, 2):
        write_run(tmp_path / f"b-{seed}", [0.3] * 9, seed)
    for texts, sign in (((base, f"{tmp_path}/b-*"), 1), ((f"{tmp_path}/b-*", base), -1)):
        (each,) = compare(*texts).comparisons
        assert len(each.pairs) == 2 and "base was not trained here" in each.notes[0]
        assert each.sets[0].figures["avg@4"].difference.mean == pytest.approx(sign * 0.1)


def test_single_runs_pair_whatever_their_seeds(tmp_path):
    first, second = write_run(tmp_path / "a", [0.2] * 9, 1), write_run(tmp_path / "b", [0.2] * 9, 2)
    found = compare(first, second)
    assert "different seeds (1 and 2)" in found.comparisons[0].notes[0]
    assert any(NOISE in line for line in describe_comparison(found.comparisons[0]))
    assert "does not say how much another training seed" in found.comparisons[0].method


def test_a_figure_has_the_problems_that_all_runs_have():
    figure = compare_figure([[0.5, NAN], [0.5, 0.1]], [[1.0, 1.0], [0.5, 1.0]])
    assert (figure.first, figure.second) == (0.5, 0.75) and figure.difference.num_problems == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": 0.6}, "temperature differs (1.0 and 0.6)"),
        ({"num_generations": 8}, "num_generations differs (4 and 8)"),
        ({"prompts": "other"}, "the prompts differs; evaluate both with the same settings."),
        ({"revision": "abc"}, "the revision of the data set differs (None and abc)"),
    ],
)
def test_other_settings_are_refused(tmp_path, changes, message):
    first, second = write_run(tmp_path / "a", [0.2] * 9), write_run(tmp_path / "b", [0.2] * 9, **changes)
    assert message in fail(first, second)


def test_other_problems_and_sets_are_refused(tmp_path):
    first = write_run(tmp_path / "a", {"x": 0.1, "y": 0.2})
    second = write_run(tmp_path / "b", {"x": 0.1, "z": 0.2})
    third = write_run(tmp_path / "c", {"x": 0.1, "y": 0.2}, name="hard")
    assert "2 problems are in one of them only" in fail(first, second)
    assert "No problem set was answered by all runs" in fail(first, third)


def test_other_seeds_of_the_answers_are_noted(tmp_path):
    first, second = write_run(tmp_path / "a", [0.2] * 9), write_run(tmp_path / "b", [0.2] * 9, seed=42, engine="vllm")
    assert compare(first, second).comparisons[0].notes == ["easy: the evaluations differ in engine."]


def test_groups_that_do_not_pair_are_refused(tmp_path):
    for name, seed in (("a-1", 1), ("a-2", 2), ("b-3", 3), ("b-4", 4), ("c-1", 1), ("c-2", 1)):
        write_run(tmp_path / name, [0.2] * 9, seed)
    write_run(tmp_path / "d-1", [0.2] * 9, record=False)
    write_run(tmp_path / "d-2", [0.2] * 9, record=False)
    assert "the seeds 1, 2 and b-* has 3, 4: none is in both" in fail(f"{tmp_path}/a-*", f"{tmp_path}/b-*")
    assert "have the same seed 1" in fail(f"{tmp_path}/a-*", f"{tmp_path}/c-*")
    assert "has no record of its training" in fail(f"{tmp_path}/a-*", f"{tmp_path}/d-*")
    assert "is given twice" in fail(f"{tmp_path}/a-1", f"{tmp_path}/a-*")
    assert "needs two runs" in fail(f"{tmp_path}/a-1")
    assert "there is no such folder" in fail(f"{tmp_path}/a-1", f"{tmp_path}/nothing-*")
    assert "names no folder" in fail(f"{tmp_path}/a-1", "b=")
    # A folder whose name has a comma and an equal sign is a folder.
    odd = write_run(tmp_path / "rho=0.2,x", [0.2] * 9, 1)
    assert compare(f"{tmp_path}/a-1", odd).comparisons[0].second == "rho=0.2,x"


BROKEN = [
    ("", "JSONDecodeError"),
    ("[]", "TypeError"),
    ("{}", "KeyError: 'sets'"),
    ('{"sets": []}', "has no problem set"),
    ('{"sets": [{"name": "easy"}]}', "KeyError: 'problems'"),
    ('{"sets": [{"name": "easy", "problems": {}, "settings": {}}]}', "has no figures"),
    ('{"sets": [{"name": "easy", "problems": {"avg@4": {"a": "1"}}, "settings": {}}]}', "'1' is not a finite number"),
    (
        '{"sets": [{"name": "easy", "problems": {"avg@4": {"a": true}}, "settings": {}}]}',
        "True is not a finite number",
    ),
    ('{"sets": [{"name": "easy", "problems": {"avg@4": {"a": NaN}}, "settings": {}}]}', "nan is not a finite number"),
    ('{"sets": [{"name": "easy", "problems": {"avg@4": {"a": 1}, "b": {}}, "settings": {}}]}', "different problems"),
    ('{"sets": [{"name": "easy", "problems": {"avg@4": {"a": 1}}, "settings": 3}]}', "no settings"),
    ('{"sets": 3}', "TypeError"),
]


@pytest.mark.parametrize(("content", "message"), BROKEN)
def test_a_broken_evaluation_is_a_sentence(tmp_path, content, message):
    first = write_run(tmp_path / "a", [0.2] * 9)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "evaluation.json").write_text(content)
    assert message in fail(first, str(tmp_path / "b"))


def test_hostile_folders(tmp_path):
    first = write_run(tmp_path / "a", [0.2] * 9)
    (tmp_path / "none").mkdir()
    assert "has no finished evaluation: run trl-forking evaluate" in fail(first, str(tmp_path / "none"))
    write_run(tmp_path / "two" / "x", [0.2] * 9, record=False)
    write_run(tmp_path / "two" / "y", [0.2] * 9, record=False)
    assert "has 2 evaluations" in fail(first, str(tmp_path / "two"))
    (tmp_path / "file").write_text("")
    assert "there is no such folder" in fail(first, str(tmp_path / "file"))
    (tmp_path / "binary").mkdir()
    (tmp_path / "binary" / "evaluation.json").write_bytes(b"\xff\xfe\x00")
    assert "is not what trl-forking evaluate wrote" in fail(first, str(tmp_path / "binary"))
    (tmp_path / "folder" / "evaluation.json").mkdir(parents=True)
    assert "has no finished evaluation" in fail(first, str(tmp_path / "folder"))
    broken = write_run(tmp_path / "record", [0.2] * 9)
    for content in ("{", '{"format": 7}', '{"format": 1, "settings": {"seed": "x"}}', '{"format": 1, "settings": []}'):
        (tmp_path / "record" / "forking_run.json").write_text(content)
        assert "forking_run.json" in fail(first, broken)


# Settings


def test_what_differs_within_a_group_is_said(tmp_path):
    write_run(tmp_path / "a-1", [0.2] * 9, 1, {"learning_rate": 1e-5})
    write_run(tmp_path / "a-2", [0.2] * 9, 2)
    write_run(tmp_path / "b-1", [0.2] * 9, 1)
    write_run(tmp_path / "b-2", [0.2] * 9, 2)
    found = compare(f"{tmp_path}/a-*", f"{tmp_path}/b-*")
    assert found.settings[0].values == {"a-*": [1e-5, 1e-6], "b-*": [1e-6]}
    assert found.notes == ["The runs of a-* differ in learning_rate too, not only in their seeds."]


def test_equal_settings_and_seeds_are_no_difference():
    record = {"settings": {"beta": 0.0, "seed": 1}, "versions": {"trl": "1.16"}, "model": {"base_model": "x"}}
    other = record | {"settings": {"seed": 2}, "model": {"base_model": "y"}, "progress": None}
    (row,) = find_setting_differences({"a": [record], "b": [other]})
    assert row.name == "base_model", "beta is at its default in both"
