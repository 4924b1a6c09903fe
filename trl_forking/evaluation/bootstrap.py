"""Intervals by resampling problems."""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from .student import find_t_quantile


NUM_RESAMPLES = 10_000
_RESAMPLES_AT_A_TIME = 500


class Estimate(NamedTuple):
    """
    A mean over problems with its interval.

    Attributes:
        mean (`float`): mean of the problems that have a value; NaN if none has.
        low, high (`float`): ends of the interval; NaN with fewer than two such problems.
        num_problems (`int`): problems that have a value.

    Example:
    ```python
    >>> Estimate(0.5, 0.25, 0.75, 12).mean
    0.5
    ```
    """

    mean: float
    low: float
    high: float
    num_problems: int


def estimate_mean(values: Sequence[float], confidence: float = 0.95, seed: int = 0) -> Estimate:
    r"""
    Estimate the mean of one value per problem, with a bootstrap interval over problems.

    Problems are drawn with replacement, and the interval reaches from one quantile of the means to another. With few
    problems such an interval is too short; the quantiles are taken further out by the factor
    \\( \sqrt{n / (n - 1)} \, t_{n-1} / z \\), the "expanded percentile" interval.

    Source: [Hesterberg, 2015](https://doi.org/10.1080/00031305.2015.1089789), section 4.

    Args:
        values (`Sequence[float]` of length `P`):
            A value for each problem, such as its avg@16; problems whose value is NaN have no part.
        confidence (`float`, *optional*, defaults to `0.95`):
            Probability that the interval contains the true mean, in (0, 1).
        seed (`int`, *optional*, defaults to `0`):
            Seed of the draws.

    Returns:
        [`Estimate`]

    Example:
    ```python
    >>> estimate = estimate_mean([0.0, 1.0, 1.0, 0.5, 0.0, 1.0, 0.25, 1.0])
    >>> round(estimate.mean, 3), estimate.low < estimate.mean < estimate.high
    (0.594, True)
    ```
    """
    known = np.asarray(values, np.float64)
    known = known[~np.isnan(known)]
    size = len(known)
    mean = float(known.mean()) if size else math.nan
    if size < 2:
        return Estimate(mean, math.nan, math.nan, size)
    generator = np.random.default_rng(seed)
    means = np.concatenate(
        [
            known[generator.integers(size, size=(_RESAMPLES_AT_A_TIME, size))].mean(1)
            for _ in range(NUM_RESAMPLES // _RESAMPLES_AT_A_TIME)
        ]
    )
    tail = _find_tail(confidence, size)
    low, high = np.quantile(means, [tail, 1 - tail])
    return Estimate(mean, float(low), float(high), size)


def estimate_difference(
    before: Sequence[float], after: Sequence[float], confidence: float = 0.95, seed: int = 0
) -> Estimate:
    """
    Estimate the mean difference of two models on the same problems: `after` less `before`, paired by problem.

    Args:
        before, after (`Sequence[float]` of length `P`):
            A value for each problem, in the same order. A problem without a value of both has no part.
        confidence (`float`, *optional*, defaults to `0.95`):
            As in [`estimate_mean`].
        seed (`int`, *optional*, defaults to `0`):
            As in [`estimate_mean`].

    Returns:
        [`Estimate`]

    Raises:
        `ValueError`: if the numbers of problems differ.

    Example:
    ```python
    >>> estimate_difference([0.1, 0.6, 0.3], [0.2, 0.7, 0.4]).mean > 0
    True
    ```
    """
    if len(before) != len(after):
        raise ValueError(
            f"{len(before)} and {len(after)} problems cannot be paired: evaluate both models on the same."
        )
    return estimate_mean(np.asarray(after, np.float64) - np.asarray(before, np.float64), confidence, seed)


def _find_tail(confidence: float, size: int) -> float:
    """Find the share of the means to leave out at each end."""
    quantile = find_t_quantile((1 + confidence) / 2, size - 1)
    return NormalDist().cdf(-math.sqrt(size / (size - 1)) * quantile)
