"""How far a measured share, a difference of two shares or a mean may be from the true one. Pure Python, in float64."""

import math
from collections.abc import Sequence
from statistics import NormalDist, stdev


def compute_share_interval(num_right: int, num_all: int, confidence: float = 0.95) -> tuple[float, float]:
    r"""
    Compute Wilson's interval of a share, which stays within 0 and 1 and is never empty.

    \\( \frac{1}{1 + z^2 / n} \left( p + \frac{z^2}{2n} \pm z \sqrt{\frac{p (1 - p)}{n} + \frac{z^2}{4 n^2}} \right) \\)
    with the share \\( p \\) of \\( n \\) answers and the normal quantile \\( z \\).

    Source: Wilson (1927), [Probable Inference, the Law of Succession, and Statistical
    Inference](https://doi.org/10.1080/01621459.1927.10502953).

    Args:
        num_right (`int`):
            Number of right answers.
        num_all (`int`):
            Number of all answers, at least 1. They must be independent: for several answers to each problem, take
            [`compute_standard_error`] of the share per problem.
        confidence (`float`, *optional*, defaults to `0.95`):
            Probability that the interval contains the true share, in (0, 1).

    Returns:
        `tuple[float, float]`: lower and upper end, fractions.

    Raises:
        `ValueError`: if there are no answers, more right ones than answers, or the confidence is not in (0, 1).

    Example:
    ```python
    >>> low, high = compute_share_interval(num_right=81, num_all=263)
    >>> round(low, 4), round(high, 4)
    (0.2553, 0.3662)
    ```
    """
    share, z = _check_share(num_right, num_all), _find_quantile(confidence)
    denominator = 1 + z**2 / num_all
    center = (share + z**2 / (2 * num_all)) / denominator
    half_width = z * math.sqrt(share * (1 - share) / num_all + z**2 / (4 * num_all**2)) / denominator
    # At the ends the formula gives 0 and 1 but for the rounding.
    low = 0.0 if num_right == 0 else max(0.0, center - half_width)
    high = 1.0 if num_right == num_all else min(1.0, center + half_width)
    return low, high


def compute_difference_interval(
    before: tuple[int, int], after: tuple[int, int], confidence: float = 0.95
) -> tuple[float, float]:
    r"""
    Compute Newcombe's interval of the difference of two shares, which stays within -1 and 1.

    With the shares \\( p_1, p_2 \\) and their Wilson intervals \\( [l_1, u_1], [l_2, u_2] \\), the difference
    \\( d = p_2 - p_1 \\) reaches from \\( d - \sqrt{(p_2 - l_2)^2 + (u_1 - p_1)^2} \\) to
    \\( d + \sqrt{(u_2 - p_2)^2 + (p_1 - l_1)^2} \\).

    Source: method 10 of Newcombe (1998), [Interval Estimation for the Difference Between Independent
    Proportions](https://doi.org/10.1002/(SICI)1097-0258(19980430)17:8%3C873::AID-SIM779%3E3.0.CO;2-I).

    Args:
        before (`tuple[int, int]`):
            Number of right answers and of all answers of the first share.
        after (`tuple[int, int]`):
            The same of the second share. The answers must be independent of those of the first share. For the same
            problems the interval is too wide, so that it claims too little.
        confidence (`float`, *optional*, defaults to `0.95`):
            Probability that the interval contains the true difference, in (0, 1).

    Returns:
        `tuple[float, float]`: lower and upper end of the second share minus the first, fractions.

    Raises:
        `ValueError`: if a share has no answers, more right ones than answers, or the confidence is not in (0, 1).

    Example:
    ```python
    >>> low, high = compute_difference_interval(before=(48, 80), after=(56, 70))
    >>> round(low, 4), round(high, 4)
    (0.0524, 0.3339)
    ```
    """
    first, second = _check_share(*before), _check_share(*after)
    low_1, high_1 = compute_share_interval(*before, confidence=confidence)
    low_2, high_2 = compute_share_interval(*after, confidence=confidence)
    rise = second - first
    return rise - math.hypot(second - low_2, high_1 - first), rise + math.hypot(high_2 - second, first - low_1)


def compute_standard_error(values: Sequence[float]) -> float:
    r"""
    Compute the standard error of a mean, \\( s / \sqrt{n} \\) with the sample's standard deviation \\( s \\).

    Args:
        values (`Sequence[float]`):
            Independent values, such as the share of right answers to each problem, or the accuracy of each seed.

    Returns:
        `float`: standard error in the unit of the values; NaN for fewer than two values.

    Example:
    ```python
    >>> compute_standard_error([0.5, 1.0])
    0.25
    ```
    """
    return stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def _check_share(num_right: int, num_all: int) -> float:
    if num_all < 1 or not 0 <= num_right <= num_all:
        raise ValueError(f"A share needs 0 to n right answers of n > 0, but here are {num_right} of {num_all}.")
    return num_right / num_all


def _find_quantile(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1), but it is {confidence}: 0.95 is usual.")
    return NormalDist().inv_cdf((1 + confidence) / 2)
