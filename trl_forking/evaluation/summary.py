"""The summary of an evaluation: avg@k, pass@k, maj@k, lengths and truncated answers, each with its interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from .bootstrap import Estimate, count_differing, estimate_difference, estimate_mean, is_noise
from .metrics import compute_average, compute_majority_at_k, compute_pass_at_k


TRUNCATED = "truncated"
LENGTH = "length"


@dataclass(frozen=True)
class AnsweredProblem:
    """
    A problem with its `n` answers, judged.

    Args:
        key (`str`):
            What the problem is known by, the same for every model that answers it.
        is_right (`Sequence[bool]` of length `n`):
            Verdict of each answer. An answer that is missing or cannot be read is wrong.
        votes (`Sequence[int | None]` of length `n`):
            Number of the class of equal answers that each belongs to, see [`group_answers`]; `None` for no vote.
        lengths (`Sequence[int]` of length `n`):
            Number of tokens of each answer.
        is_truncated (`Sequence[bool]` of length `n`):
            Whether the length limit ended each answer.

    Raises:
        `ValueError`: if the lengths differ.

    Example:
    ```python
    >>> from trl_forking.evaluation import AnsweredProblem
    >>> problem = AnsweredProblem("1 + 1?", [True, False], votes=[0, 1], lengths=[5, 9], is_truncated=[False, True])
    >>> problem.num_right
    1
    ```
    """

    key: str
    is_right: Sequence[bool] = ()
    votes: Sequence[int | None] = ()
    lengths: Sequence[int] = ()
    is_truncated: Sequence[bool] = ()

    def __post_init__(self) -> None:
        for name in ("votes", "lengths", "is_truncated"):
            if len(getattr(self, name)) != len(self.is_right):
                raise ValueError(
                    f"Problem {self.key}: {len(self.is_right)} verdicts, but {name} has {len(getattr(self, name))}."
                )

    @property
    def num_right(self) -> int:
        """Number of right answers."""
        return sum(map(bool, self.is_right))


class EvaluationSummary(NamedTuple):
    """
    Figures of one model on one set of problems.

    Attributes:
        num_generations (`int`): answers to each problem, `n`; the largest number if it varies.
        num_answers (`int`): all answers.
        num_unanswered (`int`): problems without an answer. They have no part in the figures.
        estimates (`dict[str, Estimate]`): by name: `avg@n`, `pass@1` to `pass@n`, `maj@1` to `maj@n` (fractions),
            `truncated` (fraction) and `length` (tokens).
        values (`dict[str, dict[str, float]]`): the same for each problem, by figure and by the problem's key.
    """

    num_generations: int
    num_answers: int
    num_unanswered: int
    estimates: dict[str, Estimate]
    values: dict[str, dict[str, float]]


def summarize_answers(
    problems: Sequence[AnsweredProblem], confidence: float = 0.95, seed: int = 0
) -> EvaluationSummary:
    """
    Compute all figures of an evaluation, with bootstrap intervals over problems.

    Every problem counts the same, also if it has fewer answers than others. pass@k and maj@k of a problem with fewer
    than `k` answers are not defined: it has no part in them, and [`Estimate.num_problems`] says how many have. Where a share is
    the same for all problems, the interval is that of [`bound_equal_values`], because the bootstrap would claim certainty.

    Args:
        problems (`Sequence[AnsweredProblem]` of length `P`):
            The problems, each once.
        confidence (`float`, *optional*, defaults to `0.95`):
            Probability that an interval contains the true mean, in (0, 1).
        seed (`int`, *optional*, defaults to `0`):
            Seed of the resampling. The same seed draws the same problems for every figure.

    Returns:
        [`EvaluationSummary`]

    Raises:
        `ValueError`: if there are no problems, or one occurs twice: then its answers would count as two problems.

    Example:
    ```python
    >>> from trl_forking.evaluation import AnsweredProblem, summarize_answers
    >>> easy = AnsweredProblem("1 + 1?", [True, True], votes=[0, 0], lengths=[5, 7], is_truncated=[False, False])
    >>> hard = AnsweredProblem("e ^ 9?", [True, False], votes=[0, 1], lengths=[9, 9], is_truncated=[False, True])
    >>> figures = summarize_answers([easy, hard]).estimates
    >>> figures["avg@2"].mean, figures["pass@2"].mean, figures["maj@2"].mean, figures["truncated"].mean
    (0.75, 1.0, 0.75, 0.25)
    ```
    """
    if not problems:
        raise ValueError("There are no problems to summarize.")
    keys = [problem.key for problem in problems]
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"Problem {twice} occurs {keys.count(twice)} times: give all its answers in one.")
    largest = max(len(problem.is_right) for problem in problems)
    figures = [_compute_figures(problem, largest) for problem in problems]
    values = {name: {key: row[name] for key, row in zip(keys, figures, strict=True)} for name in figures[0]}
    return EvaluationSummary(
        num_generations=largest,
        num_answers=sum(len(problem.is_right) for problem in problems),
        num_unanswered=sum(not problem.is_right for problem in problems),
        estimates={
            name: estimate_mean(list(column.values()), confidence, seed, find_bounds(name))
            for name, column in values.items()
        },
        values=values,
    )


def find_bounds(name: str) -> tuple[float, float] | None:
    """
    Find the smallest and largest possible value of a figure.

    Example:
    ```python
    >>> from trl_forking.evaluation.summary import find_bounds
    >>> find_bounds("avg@16"), find_bounds("length")
    ((0.0, 1.0), None)
    ```
    """
    return None if name == LENGTH else (0.0, 1.0)


def _compute_figures(problem: AnsweredProblem, largest: int) -> dict[str, float]:
    is_right, number = list(map(bool, problem.is_right)), len(problem.is_right)
    tries = range(1, largest + 1)
    return {
        f"avg@{largest}": compute_average(list(map(float, is_right))),
        **{f"pass@{k}": compute_pass_at_k(number, problem.num_right, k) for k in tries},
        **{f"maj@{k}": compute_majority_at_k(problem.votes, is_right, k) for k in tries},
        TRUNCATED: compute_average(list(map(float, problem.is_truncated))),
        LENGTH: compute_average(list(map(float, problem.lengths))),
    }


class PairedDifference(NamedTuple):
    """
    Difference of two models on the problems that both answered.

    Attributes:
        num_paired (`int`): problems of both.
        num_unpaired (`int`): problems of only one of them, which have no part.
        estimates (`dict[str, Estimate]`): second less first, for each figure that both have.
        num_differing (`dict[str, int]`): for each figure the problems with a difference.
    """

    num_paired: int
    num_unpaired: int
    estimates: dict[str, Estimate]
    num_differing: dict[str, int]

    def is_noise(self, name: str) -> bool:
        """Whether the difference of a figure is not distinguishable from noise, by the rule of `compare-runs`."""
        return is_noise(*self.estimates[name][1:3], self.num_differing[name])


def compare_summaries(
    before: EvaluationSummary, after: EvaluationSummary, confidence: float = 0.95, seed: int = 0
) -> PairedDifference:
    """
    Compare two models problem by problem.

    Paired differences leave out how hard the problems are, so their intervals are shorter than those of the two figures.

    Args:
        before, after (`EvaluationSummary`):
            Summaries of [`summarize_answers`].
        confidence (`float`, *optional*, defaults to `0.95`):
            As in [`summarize_answers`].
        seed (`int`, *optional*, defaults to `0`):
            As in [`summarize_answers`].

    Returns:
        [`PairedDifference`]

    Raises:
        `ValueError`: if no problem is in both.

    Example:
    ```python
    >>> from trl_forking.evaluation import AnsweredProblem, compare_summaries, summarize_answers
    >>> def judge(is_right):
    ...     return summarize_answers([AnsweredProblem(key, [is_right[key]], [0], [5], [False]) for key in is_right])
    >>> before, after = judge({"a": False, "b": False}), judge({"a": True, "b": False})
    >>> compare_summaries(before, after).estimates["avg@1"].mean
    0.5
    ```
    """
    first, second = ({*chain.from_iterable(summary.values.values())} for summary in (before, after))
    shared = sorted(first & second)
    if not shared:
        raise ValueError("The two evaluations have no problem in common: evaluate both models on the same problems.")
    estimates, num_differing = {}, {}
    for name in (name for name in before.values if name in after.values):
        first_values, second_values = ([summary.values[name][key] for key in shared] for summary in (before, after))
        bounds = None if find_bounds(name) is None else (-1.0, 1.0)
        estimates[name] = estimate_difference(first_values, second_values, confidence, seed, bounds)
        num_differing[name] = count_differing(
            [later - earlier for earlier, later in zip(first_values, second_values, strict=True)]
        )
    return PairedDifference(len(shared), len(first ^ second), estimates, num_differing)


def format_estimate(name: str, estimate: Estimate, is_difference: bool = False) -> str:
    """
    Write a figure and its interval for people: percentages, or tokens for a length.

    Args:
        name (`str`):
            Name of the figure.
        estimate ([`Estimate`]):
            Its mean and interval.
        is_difference (`bool`, *optional*, defaults to `False`):
            Whether to write the sign of the mean.

    Returns:
        `str`: such as `"45.2 % [38.1, 52.4]"`; `"–"` where it is not defined.

    Example:
    ```python
    >>> from trl_forking.evaluation.bootstrap import Estimate
    >>> format_estimate("avg@16", Estimate(0.4521, 0.381, 0.524, 30))
    '45.2 % [38.1, 52.4]'
    ```
    """
    if math.isnan(estimate.mean):
        return "–"
    sign, scale, unit = "+" if is_difference else "", *((1, "") if name == LENGTH else (100, " %"))
    mean = f"{estimate.mean * scale:{sign}.1f}{unit}"
    if math.isnan(estimate.low):
        return mean
    return f"{mean} [{estimate.low * scale:.1f}, {estimate.high * scale:.1f}]"
