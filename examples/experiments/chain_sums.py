"""
Chain sums with worked steps, the task for a real model that is warm-started on a CPU.

    12 + 7 - 3 =
     12 + 7 = 19, 19 - 3 = 16. Answer: 16

The task has no real choices: each step follows from the one before. Forks here are places where the model may err.
"""

import re
import zlib
from random import Random
from typing import NamedTuple


class ChainSum(NamedTuple):
    """A problem: its prompt, the steps that solve it, and the result."""

    prompt: str
    steps: str
    result: int


def make_chain_sum(terms: list[int]) -> ChainSum:
    """
    Write a sum of signed terms.

    Args:
        terms (`list[int]`):
            Terms; the first is positive.

    Returns:
        [`ChainSum`]

    Example:
    ```python
    >>> make_chain_sum([12, 7, -3])
    ChainSum(prompt='12 + 7 - 3 =', steps=' 12 + 7 = 19, 19 - 3 = 16. Answer: 16', result=16)
    ```
    """
    total, steps, text = terms[0], [], str(terms[0])
    for term in terms[1:]:
        sign = "-" if term < 0 else "+"
        steps.append(f"{total} {sign} {abs(term)} = {total + term}")
        text += f" {sign} {abs(term)}"
        total += term
    return ChainSum(f"{text} =", f" {', '.join(steps)}. Answer: {total}", total)


def is_held_out(prompt: str) -> bool:
    """Return whether a problem is for evaluation: a checksum of its prompt decides, for one in five."""
    return zlib.crc32(prompt.encode()) % 5 == 0


def draw_chain_sums(count: int, num_terms: tuple[int, int], held_out: bool, seed: int) -> list[ChainSum]:
    """
    Draw distinct problems with terms of one digit.

    Args:
        count (`int`):
            Number of problems.
        num_terms (`tuple[int, int]`):
            Smallest and largest number of terms.
        held_out (`bool`):
            Whether the problems are for evaluation.
        seed (`int`):
            Seed of the draw.

    Returns:
        `list[ChainSum]`: problems that occur in one of the two halves alone.
    """
    random = Random(seed)
    found: dict[str, ChainSum] = {}
    while len(found) < count:
        size = random.randint(*num_terms)
        terms = [random.randint(1, 9), *(random.choice((-1, 1)) * random.randint(1, 9) for _ in range(size - 1))]
        problem = make_chain_sum(terms)
        if is_held_out(problem.prompt) == held_out:
            found[problem.prompt] = problem
    return list(found.values())


def verify_chain_sum(completion: str, result: int) -> bool:
    """
    Return whether an answer ends with the right result.

    Example:
    ```python
    >>> verify_chain_sum(" 12 + 7 = 19, 19 - 3 = 16. Answer: 16", 16), verify_chain_sum(" Answer: 16, or 17", 16)
    (True, False)
    ```
    """
    found = re.search(r"Answer: (-?\d+)\s*$", completion)
    return found is not None and int(found[1]) == result
