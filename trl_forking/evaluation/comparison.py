r"""
Difference of two groups of runs at equal problems and equal seeds, with its interval.

Shapes: `S` pairs of runs, one for each seed, and `P` problems. A difference is that of a figure such as avg@16 of one
problem: second run less first run. The model of the differences has two random effects,
\\( d_{sp} = \mu + a_s + b_p + e_{sp} \\): another seed and other problems would change the mean.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .bootstrap import ROUNDING, bound_equal_values, count_differing, estimate_mean, is_noise
from .student import find_t_quantile


CONFIDENCE = 0.95
METHOD_OF_ONE_SEED = (
    "95 % interval by bootstrap over problems (10,000 draws, BCa). It does not say how much another training seed would "
    "change."
)
METHOD_OF_SEEDS = (
    "95 % interval over seeds and problems: the variance of the mean between seeds and that between problems, each with its own "
    "quantile of Student's t (Banerjee's interval)."
)


class Spread(NamedTuple):
    """
    Variances of the differences: between seeds, between problems, and what is left.

    Attributes:
        seeds (`float`): variance of \\( a_s \\); NaN with one seed, which cannot show it.
        problems (`float`): variance of \\( b_p \\); with one seed that of all differences.
        rest (`float`): variance of \\( e_{sp} \\); 0 with one seed.

    Example:
    ```python
    >>> Spread(0.01, 0.04, 0.02).problems
    0.04
    ```
    """

    seeds: float
    problems: float
    rest: float


class SeedDifference(NamedTuple):
    """
    Mean difference of two groups of runs.

    Attributes:
        mean (`float`): mean over seeds and problems; NaN if no problem has a value in every run.
        low, high (`float`): ends of the 95 % interval; NaN with fewer than two problems.
        num_seeds (`int`): pairs of runs, `S`.
        num_problems (`int`): problems that have a value in every run.
        num_differing (`int`): problems whose difference, averaged over the seeds, is not zero.
        spread ([`Spread`]): variances of the differences.

    Example:
    ```python
    >>> SeedDifference(0.1, -0.1, 0.3, 1, 30, 12, Spread(float("nan"), 0.3, 0.0)).is_noise
    True
    ```
    """

    mean: float
    low: float
    high: float
    num_seeds: int
    num_problems: int
    num_differing: int
    spread: Spread

    @property
    def is_noise(self) -> bool:
        """Whether the difference is not distinguishable from noise: zero is in the interval, or too few problems differ."""
        return is_noise(self.low, self.high, self.num_differing)


def estimate_seed_difference(
    differences: Sequence[Sequence[float]], seed: int = 0, bounds: tuple[float, float] | None = (-1.0, 1.0)
) -> SeedDifference:
    r"""
    Estimate the mean difference of two groups of runs, paired by seed and problem.

    With one pair of runs the interval is the bootstrap over problems of [`estimate_difference`]. With more pairs it has to
    cover other seeds and other problems. The mean over the seeds has the variance \\( V_s = \hat\sigma^2_{rows} / S \\), that over the
    problems \\( V_p = \hat\sigma^2_{columns} / P \\), and both contain the rest \\( V_e \\) of the differences. It is counted once, with the
    seeds. The interval is

    $$ \bar d \pm \sqrt{t_{S-1}^2 V_s + t_{P-1}^2 \max(0, V_p - V_e)}. $$

    Each variance has the quantile of its own degrees of freedom. One quantile for their sum, with Satterthwaite's degrees of freedom,
    gave intervals that contained the true difference in 92 % of all cases with three seeds and in 87 % with two.

    Source: Banerjee (1960), Approximate Confidence Interval for Linear Functions of Means of k Populations When the Population
    Variances are Not Equal, Sankhyā 22; [Owen, 2007](https://doi.org/10.1214/07-AOAS122) on the variances of crossed effects.

    Args:
        differences (`Sequence[Sequence[float]]` of shape `(S, P)`):
            Second run less first run, for each seed and problem. A problem with NaN in one of the rows has no part.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the draws with one pair.
        bounds (`tuple[float, float]`, *optional*, defaults to `(-1, 1)`):
            Smallest and largest possible difference. They are needed where all differences are equal, see [`bound_equal_values`].

    Returns:
        [`SeedDifference`]

    Raises:
        `ValueError`: if there is no pair, or the rows have different lengths.

    Example:
    ```python
    >>> rows = [[0.1, 0.3, 0.2, 0.0, 0.4, 0.2, 0.1], [0.2, 0.2, 0.3, 0.1, 0.3, 0.3, 0.0]]
    >>> difference = estimate_seed_difference(rows)
    >>> round(difference.mean, 3), round(difference.low, 3), round(difference.high, 3), difference.is_noise
    (0.193, 0.063, 0.322, False)
    ```
    """
    if len({len(row) for row in differences}) != 1:
        raise ValueError(f"{len(differences)} rows of differences: give one or more, all over the same problems.")
    table = np.asarray(differences, np.float64)
    table = table[:, ~np.isnan(table).any(0)]
    num_seeds, num_problems = table.shape
    num_differing = count_differing(table.mean(0))
    if num_seeds == 1:
        estimate = estimate_mean(table[0].tolist(), CONFIDENCE, seed, bounds)
        spread = Spread(math.nan, float(table[0].var(ddof=1)) if num_problems > 1 else math.nan, 0.0)
        return SeedDifference(*estimate[:3], 1, num_problems, num_differing, spread)
    mean = float(table.mean()) if num_problems else math.nan
    if num_problems < 2:
        nothing = Spread(math.nan, math.nan, math.nan)
        return SeedDifference(mean, math.nan, math.nan, num_seeds, num_problems, num_differing, nothing)
    spread, of_seeds, of_problems = _split_variance(table)
    reach = find_reach(of_seeds, of_problems, num_seeds, num_problems)
    low, high = (mean - reach, mean + reach) if reach > ROUNDING else bound_equal_values(mean, num_problems, bounds)
    return SeedDifference(mean, low, high, num_seeds, num_problems, num_differing, spread)


def _split_variance(table: np.ndarray) -> tuple[Spread, float, float]:
    """Split the variance of the differences, and compute the two variances of the mean that [`find_reach`] takes."""
    num_seeds, num_problems = table.shape
    rows, columns = table.mean(1), table.mean(0)
    left = table - rows[:, None] - columns[None, :] + table.mean()
    rest = float((left**2).sum()) / ((num_seeds - 1) * (num_problems - 1))
    of_rows, of_columns = float(rows.var(ddof=1)), float(columns.var(ddof=1))
    spread = Spread(max(0.0, of_rows - rest / num_problems), max(0.0, of_columns - rest / num_seeds), rest)
    return spread, of_rows / num_seeds, spread.problems / num_problems


def find_reach(of_seeds: float, of_problems: float, num_seeds: int, num_problems: int) -> float:
    r"""
    Find half the length of the interval of a mean over seeds and problems, see [`estimate_seed_difference`].

    Args:
        of_seeds (`float`):
            Variance of the mean over the seeds, \\( V_s \\), which contains that of the rest.
        of_problems (`float`):
            Variance of the mean over the problems without the rest, \\( \max(0, V_p - V_e) \\).
        num_seeds, num_problems (`int`):
            `S` and `P`, at least 2.

    Returns:
        `float`: the half length.

    Example:
    ```python
    >>> round(find_reach(0.0004, 0.0, num_seeds=4, num_problems=30), 4)  # 3.1824 standard errors of 0.02
    0.0636
    ```
    """
    quantiles = [find_t_quantile((1 + CONFIDENCE) / 2, size - 1) for size in (num_seeds, num_problems)]
    return math.sqrt(quantiles[0] ** 2 * of_seeds + quantiles[1] ** 2 * of_problems)
