"""Intervals by resampling problems."""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from .intervals import compute_share_interval
from .student import find_t_quantile


FEWEST_PROBLEMS = 6
"""Fewer problems with a difference cannot show one: five of the same sign come by chance in 6 % of all cases."""
ROUNDING = 1e-12
"""Values that are closer than this are equal: 1e-17 is what rounding leaves of two equal figures."""
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


def estimate_mean(
    values: Sequence[float], confidence: float = 0.95, seed: int = 0, bounds: tuple[float, float] | None = None
) -> Estimate:
    r"""
    Estimate the mean of one value per problem, with a bootstrap interval over problems.

    Problems are drawn with replacement, and the interval reaches from one quantile of the means to another. With \\( z_0 \\)
    for the bias of the drawn means and \\( a \\) for the skewness of the values, the quantiles are those at
    \\( \Phi(z_0 + (z_0 \pm t) / (1 - a (z_0 \pm t))) \\), the bias-corrected and accelerated interval (BCa). Few problems
    make such an interval too short, so \\( t = \sqrt{n / (n - 1)} \, t_{n-1} \\) stands in place of the normal quantile. If all values
    are equal, the bootstrap would claim certainty, and the interval is that of [`bound_equal_values`].

    Source: [Efron, 1987](https://doi.org/10.1080/01621459.1987.10478410) for BCa; section 4 of
    [Hesterberg, 2015](https://doi.org/10.1080/00031305.2015.1089789) for the expansion.

    Args:
        values (`Sequence[float]` of length `P`):
            A value for each problem, such as its avg@16; problems whose value is NaN have no part.
        confidence (`float`, *optional*, defaults to `0.95`):
            Probability that the interval contains the true mean, in (0, 1).
        seed (`int`, *optional*, defaults to `0`):
            Seed of the draws.
        bounds (`tuple[float, float]`, *optional*):
            Smallest and largest possible value, such as (0, 1) for a share. Without them equal values have no interval.

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
    if np.ptp(known) <= ROUNDING:
        return Estimate(mean, *bound_equal_values(mean, size, bounds, confidence), size)
    generator = np.random.default_rng(seed)
    means = np.concatenate(
        [
            known[generator.integers(size, size=(_RESAMPLES_AT_A_TIME, size))].mean(1)
            for _ in range(NUM_RESAMPLES // _RESAMPLES_AT_A_TIME)
        ]
    )
    low, high = np.quantile(means, _find_ranks(known, means, confidence))
    # With very few problems the correction can carry an end past the mean.
    return Estimate(mean, min(float(low), mean), max(float(high), mean), size)


def bound_equal_values(
    mean: float, num_problems: int, bounds: tuple[float, float] | None, confidence: float = 0.95
) -> tuple[float, float]:
    r"""
    Bound the mean of values that are all equal.

    Of \\( n \\) problems none had another value. So among all problems of the kind a share of up to \\( w \\), the upper end of
    Wilson's interval of 0 out of \\( n \\), may have one, and it may lie anywhere within the bounds. For a share of 0 or 1 this is
    Wilson's interval.

    Args:
        mean (`float`):
            The value.
        num_problems (`int`):
            Number of problems, `n`.
        bounds (`tuple[float, float]` or `None`):
            Smallest and largest possible value.
        confidence (`float`, *optional*, defaults to `0.95`):
            As in [`estimate_mean`].

    Returns:
        `tuple[float, float]`: ends of the interval; NaN without bounds, or if the value is outside of them.

    Example:
    ```python
    >>> low, high = bound_equal_values(0.0, num_problems=30, bounds=(-1, 1))  # two models without any difference
    >>> round(low, 3), round(high, 3)
    (-0.114, 0.114)
    ```
    """
    if bounds is None or not bounds[0] - ROUNDING <= mean <= bounds[1] + ROUNDING:
        return math.nan, math.nan
    _, share = compute_share_interval(0, num_problems, confidence)
    return mean - share * (mean - bounds[0]), mean + share * (bounds[1] - mean)


def estimate_difference(
    before: Sequence[float],
    after: Sequence[float],
    confidence: float = 0.95,
    seed: int = 0,
    bounds: tuple[float, float] | None = None,
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
        bounds (`tuple[float, float]`, *optional*):
            Smallest and largest possible difference, such as (-1, 1) for shares.

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
    return estimate_mean(np.asarray(after, np.float64) - np.asarray(before, np.float64), confidence, seed, bounds)


def count_differing(differences: Sequence[float]) -> int:
    """
    Count the problems with a difference; what rounding leaves of two equal figures is none.

    Example:
    ```python
    >>> count_differing([0.1 + 0.2 - 0.3, 0.5, math.nan])
    1
    ```
    """
    return int((np.abs(np.asarray(differences, np.float64)) > ROUNDING).sum())


def is_noise(low: float, high: float, num_differing: int) -> bool:
    """
    Decide whether a difference is not distinguishable from noise.

    Args:
        low, high (`float`):
            Ends of its interval; NaN where there is none.
        num_differing (`int`):
            Problems with a difference, see [`count_differing`].

    Returns:
        `bool`: whether zero is in the interval, there is no interval, or fewer than [`FEWEST_PROBLEMS`] problems differ.

    Example:
    ```python
    >>> is_noise(0.01, 0.2, num_differing=30), is_noise(0.01, 0.2, num_differing=5), is_noise(-0.1, 0.2, 30)
    (False, True, True)
    ```
    """
    is_apart = low > 0 or high < 0
    return not is_apart or num_differing < FEWEST_PROBLEMS


def _find_ranks(values: np.ndarray, means: np.ndarray, confidence: float) -> list[float]:
    """Find the shares of the drawn means that lie below the two ends of the interval."""
    size, normal = len(values), NormalDist()
    below = (np.mean(means < values.mean()) + np.mean(means <= values.mean())) / 2
    bias = normal.inv_cdf(min(max(float(below), 1 / len(means)), 1 - 1 / len(means)))
    left = values - values.mean()
    acceleration = float((left**3).sum()) / (6 * float((left**2).sum()) ** 1.5)
    reach = math.sqrt(size / (size - 1)) * find_t_quantile((1 + confidence) / 2, size - 1)
    return [normal.cdf(_correct(bias, acceleration, side * reach)) for side in (-1, 1)]


def _correct(bias: float, acceleration: float, quantile: float) -> float:
    moved = bias + quantile
    scale = 1 - acceleration * moved
    # Where the scale is not positive, the end is beyond all drawn means.
    return bias + moved / scale if scale > 0 else math.copysign(math.inf, quantile)
