"""Lengths of made-up answers with a long tail, as reasoning models write them."""

import math
from statistics import NormalDist

import numpy as np


MEAN_SHARE = 0.37
"""Mean length of an answer, as a share of the cap."""
SIGMA = 0.75
"""Standard deviation of the logarithm of a length. About 6 % of the answers then reach the cap."""


def compute_mean(mu: float, sigma: float) -> float:
    r"""Compute \\( \mathrm{E}[\min(X, 1)] \\) of a log-normal variable: the mean share of the cap that answers have."""
    below, above = NormalDist().cdf((-mu - sigma**2) / sigma), NormalDist().cdf(mu / sigma)
    return math.exp(mu + sigma**2 / 2) * below + above


def find_mu(mean_share: float, sigma: float) -> float:
    """Find the mean of the logarithm with which the answers, cut off at the cap, have a mean length."""
    low, high = -50.0, 50.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if compute_mean(middle, sigma) < mean_share else (low, middle)
    return low


def draw_lengths(
    shape: tuple[int, ...],
    cap: int,
    generator: np.random.Generator,
    mean_share: float = MEAN_SHARE,
    sigma: float = SIGMA,
) -> np.ndarray:
    """Draw log-normal lengths, cut off at the cap. `mean_share` is their mean after the cut, as a share of the cap."""
    if not 0 < mean_share < 1:
        raise ValueError(f"mean_share must be between 0 and 1, but it is {mean_share!r}: the mean is below the cap.")
    lengths = cap * np.exp(find_mu(mean_share, sigma) + sigma * generator.standard_normal(shape))
    return np.clip(np.rint(lengths), 1, cap).astype(np.int64)


def spread_lengths(num_answers: int, cap: int, generator: np.random.Generator) -> np.ndarray:
    """Return the lengths at evenly spaced shares of the same distribution, in random order.

    Few answers then have the mean and the longest answer of many, where drawn ones would have them by chance only.
    """
    quantiles = [NormalDist().inv_cdf((number + 0.5) / num_answers) for number in range(num_answers)]
    lengths = cap * np.exp(find_mu(MEAN_SHARE, SIGMA) + SIGMA * np.array(quantiles))
    return generator.permutation(np.clip(np.rint(lengths), 1, cap).astype(np.int64))
