"""How many problems or seeds a comparison needs to see a difference of a given size."""

import math
from collections.abc import Callable
from statistics import NormalDist

from .bootstrap import FEWEST_PROBLEMS
from .comparison import CONFIDENCE, SeedDifference, Spread, find_reach
from .student import find_t_quantile


POWER = 0.8
_MOST = 1_000_000


def find_needed_problems(difference: SeedDifference) -> int | None:
    """
    Find the number of problems with which a comparison of the same runs would see a difference of the size found.

    A comparison sees a difference if zero is outside of its 95 % interval. The number is for a probability of 80 %,
    provided that the true difference is as large as the one found, and that further problems differ as these do.

    Args:
        difference ([`SeedDifference`]):
            What was found.

    Returns:
        `int` or `None`: the number of problems, all together; `None` if no number is enough: there is no difference, the
        seeds differ too much, or more than a million are needed.

    Example:
    ```python
    >>> from trl_forking.evaluation.comparison import SeedDifference, Spread
    >>> find_needed_problems(SeedDifference(0.1, -0.1, 0.3, 1, 30, 12, Spread(float("nan"), 0.3, 0.0)))
    238
    ```
    """
    seeds, spread = difference.num_seeds, difference.spread
    return _find_smallest(lambda size: _find_least(spread, seeds, size), difference.mean, FEWEST_PROBLEMS)


def find_needed_seeds(difference: SeedDifference) -> int | None:
    """
    Find the number of seeds of each group with which a comparison on the same problems would see the difference found.

    Args:
        difference ([`SeedDifference`]):
            What was found.

    Returns:
        `int` or `None`: the number of seeds, all together, for a probability of 80 % as in [`find_needed_problems`];
        `None` if no number is enough on these problems, or one seed was compared, which does not show how seeds differ.

    Example:
    ```python
    >>> from trl_forking.evaluation.comparison import SeedDifference, Spread
    >>> find_needed_seeds(SeedDifference(0.02, -0.03, 0.07, 3, 500, 300, Spread(0.001, 0.02, 0.03)))
    100
    ```
    """
    if difference.num_seeds < 2 or difference.num_problems < 2:
        return None
    problems, spread = difference.num_problems, difference.spread
    return _find_smallest(lambda size: _find_least(spread, size, problems), difference.mean, 2)


def _find_least(spread: Spread, num_seeds: int, num_problems: int) -> float:
    """Find the smallest difference that a comparison of a given size sees in 80 % of all cases."""
    of_problems = spread.problems / num_problems
    if num_seeds == 1:
        reach, variance = find_t_quantile((1 + CONFIDENCE) / 2, num_problems - 1) * math.sqrt(of_problems), of_problems
    else:
        of_seeds = (spread.seeds + spread.rest / num_problems) / num_seeds
        reach, variance = find_reach(of_seeds, of_problems, num_seeds, num_problems), of_seeds + of_problems
    # With few degrees of freedom the quantile of the power is close to the normal one, as that of a noncentral t is.
    return reach + NormalDist().inv_cdf(POWER) * math.sqrt(variance)


def _find_smallest(find_least: Callable[[int], float], mean: float, least: int) -> int | None:
    def is_enough(size: int) -> bool:
        return find_least(size) <= abs(mean)  # NaN is not enough

    if mean == 0 or not is_enough(_MOST):
        return None
    low, high = least - 1, _MOST  # `low` is not enough, or not allowed
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high
