"""The built-in task: reach a goal from three numbers. The forks are known by construction.

    nums 3 5 2 goal 16 :
    3 * 5 = 15 left 15 2 , 15 - 2 = 13 vs 16 no 5 + 3 = 8 left 8 2 , 8 * 2 = 16 vs 16 yes

An answer has one to three attempts of 17 words, and it ends at the first `yes`. In each attempt the first operand, the
first operation, the second operand and the second operation are free choices. Every other word follows from the words
before it. So four of the 17 words are the true forks that a selection by entropy has to find.

The package contains the task, its verifier and a model of 2.7 MB. A whole training run needs no network and no GPU.
"""

import zlib
from collections.abc import Sequence
from functools import cache
from itertools import permutations, product
from random import Random
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from datasets import Dataset


SMALLEST_NUMBER = 1
LARGEST_NUMBER = 9
LARGEST_VALUE = 50
OPERATIONS = ("+", "-", "*")

WORDS_PER_ATTEMPT = 17
MAX_ATTEMPTS = 3
# The end token is the last word of a complete answer.
MAX_COMPLETION_LENGTH = MAX_ATTEMPTS * WORDS_PER_ATTEMPT + 1
# First operand, first operation, second operand, second operation. The operands of the second step are not a choice: two
# numbers are left, and the larger one comes first.
FORK_OFFSETS = (0, 1, 2, 10)

PAD_TOKEN = "<pad>"
END_TOKEN = "<end>"
VOCABULARY = (
    PAD_TOKEN,
    END_TOKEN,
    *(str(value) for value in range(LARGEST_VALUE + 1)),
    *OPERATIONS,
    *("nums", "goal", ":", "=", "left", ",", "vs", "no", "yes"),
)

NUM_PROBLEMS = {"train": 6232, "eval": 1771}


def _list_steps(numbers: tuple[int, ...]) -> list[tuple[str, tuple[int, ...]]]:
    """List the legal steps as (text, numbers after the step). The result comes before the numbers that were not used."""
    steps = []
    for first, second in permutations(range(len(numbers)), 2):
        larger, smaller = numbers[first], numbers[second]
        # The order of two equal numbers cannot be seen. Only one order is listed, so that no choice counts twice.
        if larger < smaller or (larger == smaller and first > second):
            continue
        rest = tuple(number for index, number in enumerate(numbers) if index not in (first, second))
        results = {"+": larger + smaller, "-": larger - smaller, "*": larger * smaller}
        for operation in OPERATIONS:
            result = results[operation]
            if result <= LARGEST_VALUE:
                steps.append((f"{larger} {operation} {smaller} = {result}", (result, *rest)))
    return steps


@cache
def _list_values(nums: tuple[int, ...]) -> tuple[tuple[str, int], ...]:
    """List every way to use all of `nums` as (text up to the verdict, value), at most 27."""
    return tuple(
        (f"{first_step} left {left[0]} {left[1]} , {second_step}", value)
        for first_step, left in _list_steps(nums)
        for second_step, (value,) in _list_steps(left)
    )


def list_attempts(nums: Sequence[int], goal: int) -> list[str]:
    """
    List every legal attempt at a problem, right or wrong.

    Each of two equal numbers is used, so some attempts are listed twice. A uniform draw is a random search.

    Args:
        nums (`Sequence[int]`):
            Three numbers from 1 to 9.
        goal (`int`):
            The number to reach.

    Returns:
        `list[str]`: at most 27 attempts of 17 words. The last word of an attempt is `yes` if it reaches the goal.

    Example:
    ```python
    >>> from trl_forking.countdown import list_attempts
    >>> attempts = list_attempts([3, 5, 2], goal=16)
    >>> attempts[0]
    '3 + 2 = 5 left 5 5 , 5 + 5 = 10 vs 16 no'
    >>> [attempt for attempt in attempts if attempt.endswith("yes")]
    ['5 + 3 = 8 left 8 2 , 8 * 2 = 16 vs 16 yes']
    ```
    """
    return [
        f"{derivation} vs {goal} {'yes' if value == goal else 'no'}" for derivation, value in _list_values(tuple(nums))
    ]


def list_goals(nums: Sequence[int]) -> list[int]:
    """
    List the goals that three numbers can reach.

    Args:
        nums (`Sequence[int]`):
            Three numbers.

    Returns:
        `list[int]`: goals in ascending order.

    Example:
    ```python
    >>> from trl_forking.countdown import list_goals
    >>> list_goals([1, 1, 1])
    [0, 1, 2, 3]
    ```
    """
    return sorted({value for _, value in _list_values(tuple(nums))})


def is_held_out(nums: Sequence[int]) -> bool:
    """
    Return whether a triple of numbers belongs to the `eval` split. The order of the numbers does not matter.

    A checksum of the sorted numbers decides. It does not depend on a seed or on the version of Python. 34 of the 165
    triples (20.6 %) are held out.

    Args:
        nums (`Sequence[int]`):
            Three numbers from 1 to 9.

    Returns:
        `bool`: true for `eval`, false for `train`.

    Example:
    ```python
    >>> from trl_forking.countdown import is_held_out
    >>> is_held_out([3, 5, 2]) == is_held_out([2, 3, 5])
    True
    ```
    """
    return zlib.crc32(bytes(sorted(nums))) % 5 == 0


@cache
def _list_problems(split: str) -> tuple[tuple[tuple[int, ...], int], ...]:
    """List every solvable problem of a split as (nums, goal). Each order of the numbers is another problem."""
    numbers = range(SMALLEST_NUMBER, LARGEST_NUMBER + 1)
    return tuple(
        (nums, goal)
        for nums in product(numbers, repeat=3)
        if is_held_out(nums) == (split == "eval")
        for goal in list_goals(nums)
    )


def format_prompt(nums: Sequence[int], goal: int) -> str:
    """
    Write the prompt of a problem.

    Args:
        nums (`Sequence[int]`):
            Three numbers from 1 to 9.
        goal (`int`):
            The number to reach, 0 to 50.

    Returns:
        `str`: prompt of 7 words.

    Example:
    ```python
    >>> from trl_forking.countdown import format_prompt
    >>> format_prompt([3, 5, 2], 16)
    'nums 3 5 2 goal 16 :'
    ```
    """
    return f"nums {' '.join(map(str, nums))} goal {goal} :"


def make_countdown_dataset(split: str, num_problems: int, seed: int) -> "Dataset":
    """
    Draw distinct solvable problems from one split, in random order.

    The splits have no triple of numbers in common, in any order. The model of the package was not trained on those of `eval`.

    Args:
        split (`str`):
            `"train"` (131 triples, 6,232 problems) or `"eval"` (34 triples, 1,771 problems).
        num_problems (`int`):
            Number of problems, from 1 to `NUM_PROBLEMS[split]`.
        seed (`int`):
            Decides which problems are drawn. The same seed draws the same problems.

    Returns:
        [`~datasets.Dataset`]: columns `prompt` (`str`), `nums` (`list[int]`, three numbers) and `goal` (`int`).

    Raises:
        `ValueError`: if the split does not exist or has fewer than `num_problems` problems.

    Example:
    ```python
    >>> from trl_forking.countdown import make_countdown_dataset
    >>> dataset = make_countdown_dataset("train", num_problems=100, seed=0)
    >>> dataset.column_names
    ['prompt', 'nums', 'goal']
    >>> len(dataset[0]["nums"])
    3
    ```
    """
    from datasets import Dataset

    if split not in NUM_PROBLEMS:
        raise ValueError(f"split must be 'train' or 'eval', not {split!r}.")
    if not 1 <= num_problems <= NUM_PROBLEMS[split]:
        raise ValueError(f"num_problems must be 1 to {NUM_PROBLEMS[split]} for split {split!r}, not {num_problems}.")
    drawn = Random(seed).sample(_list_problems(split), num_problems)
    return Dataset.from_dict(
        {
            "prompt": [format_prompt(nums, goal) for nums, goal in drawn],
            "nums": [list(nums) for nums, _ in drawn],
            "goal": [goal for _, goal in drawn],
        }
    )
