"""Scores of several answers to each problem: avg@k, pass@k and maj@k. Pure Python, in float64.

Shapes: `n` answers to one problem. What is undefined is NaN and has no part in a mean: a score at `k > n`.
"""

import math
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache


def compute_average(rewards: Sequence[float]) -> float:
    """
    Compute the mean reward of the answers to one problem, avg@n.

    Args:
        rewards (`Sequence[float]` of length `n`):
            Rewards; 1 for a right answer, 0 for a wrong one, a missing or an unreadable one.

    Returns:
        `float`: the mean; NaN without an answer.

    Example:
    ```python
    >>> compute_average([1.0, 0.0, 0.0, 1.0])
    0.5
    ```
    """
    return math.fsum(rewards) / len(rewards) if rewards else math.nan


def compute_pass_at_k(num_answers: int, num_right: int, k: int) -> float:
    r"""
    Compute the unbiased estimate of pass@k: the probability that one of `k` answers is right.

    \\( 1 - \binom{n - c}{k} / \binom{n}{k} \\) with \\( c \\) right ones of \\( n \\) answers.

    Source: Eq. 1 of [Chen et al., 2021](https://huggingface.co/papers/2107.03374).

    Args:
        num_answers (`int`):
            Answers to the problem, `n`.
        num_right (`int`):
            Right ones of them.
        k (`int`):
            Number of tries, at least 1.

    Returns:
        `float`: an estimate in [0, 1]; NaN where `k > n`, since fewer answers than tries say nothing of it.

    Raises:
        `ValueError`: if a number is out of its range.

    Example:
    ```python
    >>> compute_pass_at_k(num_answers=4, num_right=1, k=2)
    0.5
    ```
    """
    if not (0 <= num_right <= num_answers and k >= 1):
        raise ValueError(
            f"{num_right} right ones of {num_answers} answers and k={k}: k is at least 1, and no part exceeds the whole."
        )
    if k > num_answers:
        return math.nan
    return float(1 - Fraction(math.comb(num_answers - num_right, k), math.comb(num_answers, k)))


def compute_majority_at_k(votes: Sequence[int | None], is_right: Sequence[bool], k: int) -> float:
    """
    Compute maj@k: the probability that the most frequent answer among `k` of them is right.

    The probability is exact, over all ways to draw `k` of the `n` answers. Answers that tie for the first place win in
    equal parts. An answer that could not be read does not vote; where nobody votes, the result is wrong.

    Args:
        votes (`Sequence[int | None]` of length `n`):
            Number of the class of equal answers that each answer belongs to; `None` where there is no answer.
        is_right (`Sequence[bool]` of length `n`):
            Whether each answer is right. A class is right as far as its answers are.
        k (`int`):
            Number of votes, at least 1.

    Returns:
        `float`: a probability in [0, 1]; NaN where `k > n`.

    Raises:
        `ValueError`: if the lengths differ or `k` is below 1.

    Example:
    ```python
    >>> compute_majority_at_k([0, 0, 1, None], [True, True, False, False], k=4)
    1.0
    >>> compute_majority_at_k([0, 1], [True, False], k=2)  # a tie
    0.5
    ```
    """
    if len(votes) != len(is_right) or k < 1:
        raise ValueError(
            f"{len(votes)} votes, {len(is_right)} verdicts and k={k}: one verdict a vote, and k at least 1."
        )
    if k > len(votes):
        return math.nan
    sizes = Counter(vote for vote in votes if vote is not None)
    num_silent = len(votes) - sum(sizes.values())
    total = Fraction(0)
    for vote, size in sizes.items():
        num_right = sum(right for other, right in zip(votes, is_right, strict=True) if other == vote)
        if not num_right:
            continue
        others = tuple(sorted(count for other, count in sizes.items() if other != vote))
        total += Fraction(num_right, size) * _count_wins(size, others, num_silent, k)
    return float(total / math.comb(len(votes), k))


@lru_cache(maxsize=65536)  # many problems have classes of the same sizes
def _count_wins(size: int, others: tuple[int, ...], num_silent: int, k: int) -> Fraction:
    """Count the draws of `k` answers in which a class of `size` comes first; a tie of `t` classes counts 1 / t."""
    wins = Fraction(0)
    for own in range(1, min(size, k) + 1):
        # ways[drawn, ties]: ways to draw from the other classes at most `own` each, `ties` of them exactly `own`.
        ways = Counter({(0, 0): 1})
        for count in others:
            following: Counter[tuple[int, int]] = Counter()
            for (drawn, ties), number in ways.items():
                for more in range(min(count, own, k - own - drawn) + 1):
                    following[drawn + more, ties + (more == own)] += number * math.comb(count, more)
            ways = following
        for (drawn, ties), number in ways.items():
            silent = math.comb(num_silent, k - own - drawn)  # 0 where there are not so many
            wins += Fraction(math.comb(size, own) * number * silent, ties + 1)
    return wins
