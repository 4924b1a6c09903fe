"""
Countdown with four numbers, the task for a larger model: longer searches with more forks than the built-in task.

    nums 3 5 2 4 goal 36 :
    5 + 3 = 8 left 8 2 4 , 8 - 4 = 4 left 4 2 , 4 * 2 = 8 vs 36 no 5 + 4 = 9 left 9 3 2 , ...

An attempt has 27 words, of which seven are choices: both operands and the operation of the first and of the second step, and the
operation of the third. The larger operand comes first. An answer has at most four attempts, and it ends at the first `yes`.
"""

import zlib
from functools import lru_cache
from itertools import combinations
from random import Random
from typing import NamedTuple


NUM_NUMBERS = 4
LARGEST_NUMBER, LARGEST_VALUE = 9, 100
WORDS_PER_ATTEMPT, MAX_ATTEMPTS = 27, 4
MAX_COMPLETION_LENGTH = MAX_ATTEMPTS * WORDS_PER_ATTEMPT + 1
FORK_OFFSETS = (0, 1, 2, 10, 11, 12, 20)
PAD_TOKEN, END_TOKEN = "<pad>", "<end>"
VOCABULARY = (
    *(PAD_TOKEN, END_TOKEN),
    *(str(value) for value in range(LARGEST_VALUE + 1)),
    *("+", "-", "*", "nums", "goal", ":", "=", "left", ",", "vs", "no", "yes"),
)


class Problem(NamedTuple):
    """Four numbers and a goal that they reach."""

    nums: tuple[int, ...]
    goal: int

    @property
    def prompt(self) -> str:
        """
        Return the prompt, eight words.

        Example:
        ```python
        >>> Problem((3, 5, 2, 4), 36).prompt
        'nums 3 5 2 4 goal 36 :'
        ```
        """
        return f"nums {' '.join(map(str, self.nums))} goal {self.goal} :"


@lru_cache(maxsize=100_000)  # about 1 GB
def list_derivations(nums: tuple[int, ...]) -> tuple[tuple[str, int], ...]:
    """
    List every way to use all numbers.

    Args:
        nums (`tuple[int, ...]`):
            Two numbers or more.

    Returns:
        `tuple[tuple[str, int], ...]`: text and value of each way. A result comes before the numbers that were not used.

    Example:
    ```python
    >>> list_derivations((3, 2))
    (('3 + 2 = 5', 5), ('3 - 2 = 1', 1), ('3 * 2 = 6', 6))
    ```
    """
    found = []
    for first, second in combinations(range(len(nums)), 2):
        larger, smaller = max(nums[first], nums[second]), min(nums[first], nums[second])
        rest = tuple(number for index, number in enumerate(nums) if index not in (first, second))
        for sign, value in (("+", larger + smaller), ("-", larger - smaller), ("*", larger * smaller)):
            if value > LARGEST_VALUE:
                continue
            step = f"{larger} {sign} {smaller} = {value}"
            if not rest:
                found.append((step, value))
                continue
            left = (value, *rest)
            head = f"{step} left {' '.join(map(str, left))} ,"
            found.extend((f"{head} {tail}", end) for tail, end in list_derivations(left))
    return tuple(found)


def is_held_out(nums: tuple[int, ...]) -> bool:
    """Return whether four numbers are for evaluation: a checksum of the sorted numbers decides, for one in five."""
    return zlib.crc32(bytes(sorted(nums))) % 5 == 0


def draw_problem(held_out: bool, random: Random, largest: int = LARGEST_NUMBER) -> Problem:
    """
    Draw a problem that can be solved. Its goal is the value of a derivation that is drawn at random.

    Args:
        held_out (`bool`):
            Whether the problem is for evaluation.
        random (`Random`):
            Source of random numbers.
        largest (`int`, *optional*, defaults to `9`):
            Largest value of one of the numbers. A model that writes searches has to know the arithmetic of larger numbers.

    Returns:
        [`Problem`]
    """
    while True:
        nums = [random.randint(1, LARGEST_NUMBER) for _ in range(NUM_NUMBERS)]
        nums[random.randrange(NUM_NUMBERS)] = random.randint(1, largest)
        if is_held_out(tuple(nums)) == held_out:
            return Problem(tuple(nums), random.choice(list_derivations(tuple(nums)))[1])


def write_search(problem: Problem, right_probability: float, random: Random) -> str:
    """
    Write a random search. It ends with the first attempt that reaches the goal, or after four attempts.

    Args:
        problem ([`Problem`]):
            The problem.
        right_probability (`float`):
            Probability with which an attempt is drawn from the right ones alone.
        random (`Random`):
            Source of random numbers.

    Returns:
        `str`: 27 words for each attempt, without the end token.
    """
    derivations = list_derivations(problem.nums)
    right = [text for text, value in derivations if value == problem.goal]
    search = []
    for _ in range(MAX_ATTEMPTS):
        text, value = random.choice(derivations)
        if random.random() < right_probability:
            text, value = random.choice(right), problem.goal
        search.append(f"{text} vs {problem.goal} {'yes' if value == problem.goal else 'no'}")
        if value == problem.goal:
            break
    return " ".join(search)


def verify(completion: str, problem: Problem) -> bool:
    """
    Verify an answer exactly: one to four legal attempts, of which the last one, and only the last one, is right.

    Example:
    ```python
    >>> verify("5 + 4 = 9 left 9 3 2 , 3 * 2 = 6 left 6 9 , 9 + 6 = 15 vs 15 yes", Problem((3, 5, 2, 4), 15))
    True
    >>> verify("5 + 4 = 9 left 9 3 2 , 3 * 2 = 6 left 6 9 , 9 + 6 = 15 vs 36 yes", Problem((3, 5, 2, 4), 36))
    False
    ```
    """
    words = completion.split()
    attempts = [" ".join(words[at : at + WORDS_PER_ATTEMPT]) for at in range(0, len(words), WORDS_PER_ATTEMPT)]
    values = dict(list_derivations(problem.nums))
    reached = []
    for attempt in attempts:
        text, _, verdict = attempt.rpartition(" vs ")
        if text not in values or verdict != f"{problem.goal} {'yes' if values[text] == problem.goal else 'no'}":
            return False
        reached.append(values[text] == problem.goal)
    return len(attempts) <= MAX_ATTEMPTS and reached == [False] * (len(attempts) - 1) + [True]
