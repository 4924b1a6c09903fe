"""Quantiles of Student's t for any degrees of freedom. NumPy has none."""

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np


_NUM_POINTS = 4_001
_LARGEST = 1e5  # beyond it the quantiles are those of the normal distribution to five digits
_FAR = 40.0  # values beyond it have no probability with 40 degrees of freedom or more


@lru_cache(maxsize=4096)  # the same few sizes again and again
def find_t_quantile(probability: float, freedom: float) -> float:
    r"""
    Find a quantile of Student's t.

    With \\( x = \sqrt{\nu} \tan \theta \\) the density becomes \\( \cos^{\nu - 1} \theta \\) on a bounded range, where the
    integral is exact to six digits.

    Args:
        probability (`float`):
            Probability of a value below the quantile, in (0, 1).
        freedom (`float`):
            Degrees of freedom, at least 1; they need not be whole.

    Returns:
        `float`: the quantile.

    Raises:
        `ValueError`: if a number is out of its range.

    Example:
    ```python
    >>> round(find_t_quantile(0.975, 2), 3), round(find_t_quantile(0.975, 29), 3)
    (4.303, 2.045)
    ```
    """
    if not (0 < probability < 1 and freedom >= 1):
        raise ValueError(f"probability {probability} must be in (0, 1), and freedom {freedom} at least 1.")
    if freedom > _LARGEST:
        return NormalDist().inv_cdf(probability)
    end = math.pi / 2 if freedom < _FAR else math.atan(_FAR / math.sqrt(freedom))
    angles = np.linspace(0, end, _NUM_POINTS)
    density = np.cos(angles) ** (freedom - 1)
    steps = (density[1:] + density[:-1]) * (angles[1] / 2)
    shares = np.concatenate([[0.0], np.cumsum(steps)])
    shares *= 0.5 / shares[-1]
    angle = float(np.interp(abs(probability - 0.5), shares, angles))
    return math.copysign(math.sqrt(freedom) * math.tan(angle), probability - 0.5)
