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

from .bootstrap import estimate_mean
from .student import find_t_quantile


CONFIDENCE = 0.95
FEWEST_PROBLEMS = 6
"""Fewer problems with a difference cannot show one: five of the same sign come by chance in 6 % of all cases."""

METHOD_OF_ONE_SEED = (
    "95 % interval by bootstrap over problems (10,000 draws, expanded percentiles). It does not say how much another "
    "training seed would change."
)
METHOD_OF_SEEDS = (
    "95 % interval over seeds and problems: the mean ± t × its standard error. The standard error is that of a bootstrap "
    "over seeds and over problems in closed form, where the part of both counts once; Satterthwaite's degrees of freedom."
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
        is_apart = self.low > 0 or self.high < 0  # also false where there is no interval
        return not is_apart or self.num_differing < FEWEST_PROBLEMS


def estimate_seed_difference(differences: Sequence[Sequence[float]], seed: int = 0) -> SeedDifference:
    r"""
    Estimate the mean difference of two groups of runs, paired by seed and problem.

    With one pair of runs the interval is the bootstrap over problems of [`estimate_difference`]. With more pairs it has to
    cover other seeds and other problems. The bootstrap of the mean over the seeds has the variance
    \\( V_s = \hat\sigma^2_{rows} / S \\), that over the problems \\( V_p = \hat\sigma^2_{columns} / P \\), and both contain
    the rest \\( V_e \\) of the differences: the variance of the mean is \\( V_s + V_p - V_e \\), and at least the larger
    of the two. Three seeds are too few for quantiles of drawn means, so the interval is \\( \pm t \\) standard errors.

    Source: [Owen, 2007](https://doi.org/10.1214/07-AOAS122) on the bootstrap of crossed effects, with the three-fold
    count of the rest taken back; degrees of freedom of
    [Satterthwaite, 1946](https://doi.org/10.2307/3002019).

    Args:
        differences (`Sequence[Sequence[float]]` of shape `(S, P)`):
            Second run less first run, for each seed and problem. A problem with NaN in one of the rows has no part.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the draws with one pair.

    Returns:
        [`SeedDifference`]

    Raises:
        `ValueError`: if there is no pair, or the rows have different lengths.

    Example:
    ```python
    >>> rows = [[0.1, 0.3, 0.2, 0.0, 0.4, 0.2, 0.1], [0.2, 0.2, 0.3, 0.1, 0.3, 0.3, 0.0]]
    >>> difference = estimate_seed_difference(rows)
    >>> round(difference.mean, 3), round(difference.low, 3), round(difference.high, 3), difference.is_noise
    (0.193, 0.087, 0.299, False)
    ```
    """
    if len({len(row) for row in differences}) != 1:
        raise ValueError(f"{len(differences)} rows of differences: give one or more, all over the same problems.")
    table = np.asarray(differences, np.float64)
    table = table[:, ~np.isnan(table).any(0)]
    num_seeds, num_problems = table.shape
    # Rounding leaves 1e-17 of two equal figures.
    num_differing = int((np.abs(table.mean(0)) > 1e-12).sum())
    if num_seeds == 1:
        estimate = estimate_mean(table[0].tolist(), CONFIDENCE, seed)
        spread = Spread(math.nan, float(table[0].var(ddof=1)) if num_problems > 1 else math.nan, 0.0)
        return SeedDifference(*estimate[:3], 1, num_problems, num_differing, spread)
    mean = float(table.mean()) if num_problems else math.nan
    if num_problems < 2:
        nothing = Spread(math.nan, math.nan, math.nan)
        return SeedDifference(mean, math.nan, math.nan, num_seeds, num_problems, num_differing, nothing)
    spread, of_seeds, of_problems, rest = _split_variance(table)
    error, freedom = find_standard_error(of_seeds, of_problems, rest, num_seeds, num_problems)
    reach = find_t_quantile((1 + CONFIDENCE) / 2, freedom) * error
    return SeedDifference(mean, mean - reach, mean + reach, num_seeds, num_problems, num_differing, spread)


def _split_variance(table: np.ndarray) -> tuple[Spread, float, float, float]:
    """Split the variance of the differences, and compute the variances of the mean over seeds, problems and the rest."""
    num_seeds, num_problems = table.shape
    rows, columns = table.mean(1), table.mean(0)
    left = table - rows[:, None] - columns[None, :] + table.mean()
    rest = float((left**2).sum()) / ((num_seeds - 1) * (num_problems - 1))
    of_rows, of_columns = float(rows.var(ddof=1)), float(columns.var(ddof=1))
    spread = Spread(max(0.0, of_rows - rest / num_problems), max(0.0, of_columns - rest / num_seeds), rest)
    return spread, of_rows / num_seeds, of_columns / num_problems, rest / table.size


def find_standard_error(
    of_seeds: float, of_problems: float, rest: float, num_seeds: int, num_problems: int
) -> tuple[float, float]:
    r"""
    Find the standard error of a mean over seeds and problems, and its degrees of freedom.

    Args:
        of_seeds, of_problems, rest (`float`):
            Variances of the mean, \\( V_s, V_p, V_e \\).
        num_seeds, num_problems (`int`):
            `S` and `P`, at least 2.

    Returns:
        `tuple[float, float]`: the standard error, and the degrees of freedom, at least 1.

    Example:
    ```python
    >>> error, freedom = find_standard_error(0.0004, 0.0, 0.0, num_seeds=4, num_problems=30)
    >>> round(error, 4), freedom
    (0.02, 3.0)
    ```
    """
    variance = max(of_seeds + of_problems - rest, of_seeds, of_problems)
    if variance == 0:
        return 0.0, 1.0
    parts = of_seeds**2 / (num_seeds - 1) + of_problems**2 / (num_problems - 1)
    parts += rest**2 / ((num_seeds - 1) * (num_problems - 1))
    return math.sqrt(variance), max(1.0, variance**2 / parts)
