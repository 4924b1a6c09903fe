"""Figures of an evaluation against slow references, hand-made cases, and edge cases; votes by the verifier's equality."""

import math
from itertools import combinations

import numpy as np
import pytest

from helpers.import_graph import read_imports
from trl_forking.evaluation import (
    AnsweredProblem,
    Estimate,
    compare_summaries,
    format_estimate,
    group_answers,
    summarize_answers,
)


def make_problem(key, is_right, votes=None, lengths=None, is_truncated=None):
    number = len(is_right)
    votes = [0 if right else 1 for right in is_right] if votes is None else votes
    return AnsweredProblem(key, is_right, votes, lengths or [10] * number, is_truncated or [False] * number)


def simulate_problems(seed, num_problems=7, number=6):
    generator = np.random.default_rng(seed)
    problems = []
    for index in range(num_problems):
        votes = [None if vote == 4 else int(vote) for vote in generator.integers(0, 5, number)]
        lengths = generator.integers(1, 50, number).tolist()
        is_truncated = (generator.random(number) < 0.3).tolist()
        problems.append(
            AnsweredProblem(str(index), [vote == index % 4 for vote in votes], votes, lengths, is_truncated)
        )
    return problems


def draw_all(problem, k):
    return list(combinations(range(len(problem.is_right)), k))


def pass_slowly(problem, k):
    return np.mean([any(problem.is_right[i] for i in draw) for draw in draw_all(problem, k)])


def vote_slowly(problem, k):
    """The share of right answers among the classes in the first place, over every way to draw k answers."""
    results = []
    for draw in draw_all(problem, k):
        votes = [problem.votes[i] for i in draw if problem.votes[i] is not None]
        most = max(map(votes.count, votes), default=0)
        winners = [vote for vote in set(votes) if votes.count(vote) == most]
        right = {problem.votes[i] for i in range(len(problem.votes)) if problem.is_right[i]}
        results.append(np.mean([vote in right for vote in winners]) if winners else 0.0)
    return np.mean(results)


@pytest.mark.parametrize("seed", range(3))
def test_every_figure_equals_the_slow_reference(seed):
    problems = simulate_problems(seed)
    figures = summarize_answers(problems).estimates
    assert figures["avg@6"].mean == pytest.approx(np.mean([np.mean(problem.is_right) for problem in problems]))
    for k in range(1, 7):
        assert figures[f"pass@{k}"].mean == pytest.approx(np.mean([pass_slowly(problem, k) for problem in problems]))
        assert figures[f"maj@{k}"].mean == pytest.approx(np.mean([vote_slowly(problem, k) for problem in problems]))
    assert figures["truncated"].mean == pytest.approx(np.mean([np.mean(each.is_truncated) for each in problems]))
    assert figures["length"].mean == pytest.approx(np.mean([np.mean(each.lengths) for each in problems]))
    assert all(low <= mean <= high for mean, low, high, _ in figures.values())


def test_one_try_passes_and_wins_as_often_as_an_answer_is_right():
    figures = summarize_answers([make_problem("a", [True, False, False]), make_problem("b", [True] * 3)]).estimates
    assert figures["avg@3"] == figures["pass@1"] == figures["maj@1"]


def test_a_problem_without_answers_has_no_part_and_is_counted():
    summary = summarize_answers([make_problem("a", [True, True]), make_problem("b", [])])
    assert (summary.num_unanswered, summary.num_answers, summary.num_generations) == (1, 2, 2)
    assert summary.estimates["avg@2"][::3] == (1.0, 1)


def test_no_answer_at_all():
    summary = summarize_answers([make_problem("a", []), make_problem("b", [])])
    assert summary.num_generations == 0 and math.isnan(summary.estimates["avg@0"].mean)


def test_a_problem_with_fewer_answers_has_no_part_in_more_tries():
    figures = summarize_answers([make_problem("a", [False, False, False]), make_problem("b", [True])]).estimates
    assert figures["avg@3"][::3] == (0.5, 2)  # each problem counts the same
    assert figures["pass@2"][::3] == figures["maj@3"][::3] == (0.0, 1)


def test_a_tie_counts_in_parts_and_nobody_voting_is_wrong():
    figures = summarize_answers([make_problem("a", [True, False])]).estimates
    assert figures["maj@2"].mean == 0.5
    silent = summarize_answers([make_problem("a", [False, False], votes=[None, None])])
    assert silent.estimates["maj@2"].mean == 0.0


def test_no_right_answer_is_no_certainty():
    """With 8 problems and no right answer, the true share may well be a few percent; the bootstrap alone says 0."""
    figures = summarize_answers([make_problem(str(i), [False, False]) for i in range(8)]).estimates
    assert figures["avg@2"][:2] == (0.0, 0.0) and figures["avg@2"].high == pytest.approx(0.3244, abs=1e-4)
    every = summarize_answers([make_problem(str(i), [True]) for i in range(8)]).estimates["avg@1"]
    assert (every.mean, every.high) == (1.0, 1.0) and every.low == pytest.approx(1 - 0.3244, abs=1e-4)
    assert figures["length"].mean == 10 and math.isnan(figures["length"].low), (
        "equal lengths do not say how much they vary"
    )


def test_a_problem_twice_is_an_error():
    with pytest.raises(ValueError, match="a occurs 2 times: give all its answers in one"):
        summarize_answers([make_problem("a", [True]), make_problem("a", [False])])
    with pytest.raises(ValueError, match="no problems"):
        summarize_answers([])


def test_two_models_are_paired_by_problem_in_any_order():
    before = summarize_answers([make_problem(key, [False, right]) for key, right in (("a", True), ("b", False))])
    after = summarize_answers(
        [make_problem(key, [True, right]) for key, right in (("c", True), ("b", False), ("a", True))]
    )
    difference = compare_summaries(before, after)
    assert (difference.num_paired, difference.num_unpaired) == (2, 1)
    change = difference.estimates["avg@2"]
    assert change.mean == 0.5 and change.low < 0 and change.high > 0.5, "two problems are no certainty"
    assert difference.num_differing["avg@2"] == 2 and difference.is_noise("avg@2")
    with pytest.raises(ValueError, match="no problem in common"):
        compare_summaries(before, summarize_answers([make_problem("z", [True])]))


def test_different_numbers_of_answers_are_compared_where_both_have_the_figure():
    few, many = summarize_answers([make_problem("a", [True])]), summarize_answers([make_problem("a", [True, False])])
    assert {"pass@1", "length"} <= set(compare_summaries(few, many).estimates) == set(few.values) - {"avg@1"}


def test_how_a_figure_is_written():
    assert format_estimate("length", Estimate(812.34, 700.0, 900.0, 5)) == "812.3 [700.0, 900.0]"
    assert format_estimate("avg@4", Estimate(0.05, -0.01, 0.11, 5), is_difference=True) == "+5.0 % [-1.0, 11.0]"
    assert format_estimate("avg@4", Estimate(0.5, math.nan, math.nan, 1)) == "50.0 %"
    assert format_estimate("maj@4", Estimate(math.nan, math.nan, math.nan, 0)) == "–"


def test_answers_are_grouped_by_the_equality_and_not_by_the_text():
    asked = []

    def are_equal(first, second):
        asked.append((first, second))
        return float(first) == float(second)

    assert group_answers(["2", None, "2.0", "3", "2", "2.00", None, "3"], are_equal) == [0, None, 0, 1, 0, 0, None, 1]
    assert len(asked) == 3  # a text is compared once, and never with itself


def test_an_equality_that_is_not_transitive_gives_classes_that_only_depend_on_the_order():
    def are_equal(first, second):
        return abs(int(first) - int(second)) <= 1

    assert group_answers(["1", "2", "3"], are_equal) == [0, 0, 1]
    assert group_answers(["2", "1", "3"], are_equal) == [0, 0, 0]


def test_the_figures_are_pure():
    """Figures, intervals and votes import numpy, the standard library and each other only."""
    from pathlib import Path

    import trl_forking

    imports = read_imports(Path(trl_forking.__file__).parent)
    pure = [
        f"trl_forking.evaluation.{name}"
        for name in ("metrics", "bootstrap", "intervals", "student", "summary", "votes")
    ]
    for module in pure:
        ours = {other for other in imports[module] if other.startswith("trl_forking")}
        assert all(any(other.startswith(name) for name in pure) for other in ours), ours
        assert not {other for other in imports[module] if other.split(".")[0] in ("torch", "transformers", "trl")}
