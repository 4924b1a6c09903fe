"""The built-in task: search for a way from three numbers to a goal, with forks known by construction.

    nums 3 5 2 goal 16 :
    3 * 5 = 15 left 15 2 , 15 - 2 = 13 vs 16 no 5 + 3 = 8 left 8 2 , 8 * 2 = 16 vs 16 yes

An answer is one to three attempts of 17 words, and it ends at the first `yes`. In an attempt the first operand, the
first operation, the second operand and the second operation are free choices, and every other word follows from what
stands before it. Four words of 17 are therefore the true forks that a selection by entropy has to find.

The task, its verifier and a model of 2.7 MB come with the package: a whole training run needs neither network nor GPU.
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
# First operand, first operation, second operand, second operation. The second step's operands are no choice: two
# numbers are left and the larger one stands first.
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
    """List the legal steps on `numbers` as (text, numbers afterwards), the result in front of what was not used."""
    steps = []
    for first, second in permutations(range(len(numbers)), 2):
        larger, smaller = numbers[first], numbers[second]
        # Between equal numbers the order is invisible; it is taken once, so that no choice counts double.
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
    """List every way to use up `nums` as (text up to the verdict, value reached), at most 27 of them."""
    return tuple(
        (f"{first_step} left {left[0]} {left[1]} , {second_step}", value)
        for first_step, left in _list_steps(nums)
        for second_step, (value,) in _list_steps(left)
    )


def list_attempts(nums: Sequence[int], goal: int) -> list[str]:
    """
    List every legal attempt at a problem, right and wrong ones alike.

    Of two equal numbers each is used in turn, so some attempts are listed twice: a uniform draw is a random search.

    Args:
        nums (`Sequence[int]`):
            Three numbers from 1 to 9.
        goal (`int`):
            The number to reach.

    Returns:
        `list[str]`: At most 27 attempts of 17 words. The last word is `yes` in an attempt that reaches the goal.

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
        `list[int]`: The goals in ascending order.

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
    Tell whether a triple of numbers belongs to the `eval` split, in whatever order it is written.

    A checksum of the sorted numbers decides, which no seed and no version of Python can change. It holds out 34 of
    the 165 triples (20.6 %).

    Args:
        nums (`Sequence[int]`):
            Three numbers from 1 to 9.

    Returns:
        `bool`: True for `eval`, False for `train`.

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
    """List every solvable problem of a split as (nums, goal), each order of the numbers as a problem of its own."""
    numbers = range(SMALLEST_NUMBER, LARGEST_NUMBER + 1)
    return tuple(
        (nums, goal)
        for nums in product(numbers, repeat=3)
        if is_held_out(nums) == (split == "eval")
        for goal in list_goals(nums)
    )


def format_prompt(nums: Sequence[int], goal: int) -> str:
    """
    Write a problem the way the model reads it.

    Args:
        nums (`Sequence[int]`):
            Three numbers from 1 to 9.
        goal (`int`):
            The number to reach, 0 to 50.

    Returns:
        `str`: The prompt, 7 words.

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

    The splits share no triple of numbers, whatever its order, and the bundled model was not trained on one of `eval`.

    Args:
        split (`str`):
            `"train"` (131 triples, 6,232 problems) or `"eval"` (34 triples, 1,771 problems).
        num_problems (`int`):
            Number of problems, from 1 to `NUM_PROBLEMS[split]`.
        seed (`int`):
            Decides which problems are drawn. The same seed draws the same problems.

    Returns:
        [`~datasets.Dataset`]: Columns `prompt` (`str`), `nums` (`list[int]`, three numbers) and `goal` (`int`).

    Raises:
        `ValueError`: If the split does not exist or has fewer than `num_problems` problems.

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
