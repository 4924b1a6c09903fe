"""The verifier, the reward and the known forks of the built-in task."""

from collections.abc import Sequence
from typing import Any

from .problems import END_TOKEN, FORK_OFFSETS, MAX_ATTEMPTS, PAD_TOKEN, WORDS_PER_ATTEMPT, list_attempts


def verify_countdown(completion: str, nums: Sequence[int], goal: int) -> bool:
    """
    Verify an answer exactly: every word is right, and the answer reaches the goal.

    There are at most 27 legal attempts for three numbers, and the verifier looks up each attempt among them. This checks the
    grammar, the operands, their order, the arithmetic, the numbers that are left, and the verdict.

    Args:
        completion (`str`):
            Answer without the prompt and the end token. White space separates the words.
        nums (`Sequence[int]`):
            The three numbers of the problem.
        goal (`int`):
            The number to reach.

    Returns:
        `bool`: true for one to three legal attempts, of which the last one, and only the last one, ends with `yes`. Anything
        else is false, such as an incomplete answer, words after the `yes`, or any other text.

    Example:
    ```python
    >>> from trl_forking.countdown import verify_countdown
    >>> verify_countdown("5 + 3 = 8 left 8 2 , 8 * 2 = 16 vs 16 yes", nums=[3, 5, 2], goal=16)
    True
    >>> verify_countdown("5 + 3 = 8 left 8 2 , 8 + 2 = 16 vs 16 yes", nums=[3, 5, 2], goal=16)  # 8 + 2 is 10
    False
    ```
    """
    words = completion.split()
    attempts = [
        " ".join(words[start : start + WORDS_PER_ATTEMPT]) for start in range(0, len(words), WORDS_PER_ATTEMPT)
    ]
    verdicts = [attempt.rpartition(" ")[2] for attempt in attempts]
    return (
        len(attempts) <= MAX_ATTEMPTS
        and verdicts == ["no"] * (len(attempts) - 1) + ["yes"]
        and set(attempts) <= set(list_attempts(nums, goal))
    )


def countdown_reward(
    prompts: list[str], completions: list[str], nums: list[list[int]], goal: list[int], **kwargs: Any
) -> list[float]:
    """
    Reward right answers with 1.0 and all others with 0.0. This is a reward function for TRL.

    Args:
        prompts (`list[str]`):
            Prompts. They are not read, because `nums` and `goal` have the problem.
        completions (`list[str]`):
            One answer for each prompt.
        nums (`list[list[int]]`):
            Column `nums` of the dataset.
        goal (`list[int]`):
            Column `goal` of the dataset.
        **kwargs:
            Other arguments of TRL. They are not read.

    Returns:
        `list[float]`: one reward for each answer.

    Example:
    ```python
    >>> from trl_forking.countdown import countdown_reward
    >>> completions = ["5 + 3 = 8 left 8 2 , 8 * 2 = 16 vs 16 yes", "5 + 3 = 8 left 8 2"]
    >>> countdown_reward(["nums 3 5 2 goal 16 :"] * 2, completions, nums=[[3, 5, 2]] * 2, goal=[16, 16])
    [1.0, 0.0]
    ```
    """
    return [float(verify_countdown(*answer)) for answer in zip(completions, nums, goal, strict=True)]


def mark_forks(tokens: list[str], offsets: Sequence[int] = FORK_OFFSETS) -> list[bool]:
    """
    Mark the tokens of an answer at which the task allows a choice.

    The positions are counted from the last verdict. So a wrong number of words in one attempt does not shift the marks of
    the next attempt.

    Args:
        tokens (`list[str]`):
            Words of an answer of any length, with or without spaces. The end token and padding may follow.
        offsets (`Sequence[int]`, *optional*, defaults to `(0, 1, 2, 10)`):
            Places of the choices in an attempt. A task with other attempts has other places.

    Returns:
        `list[bool]`: for each token, true at the first operand, first operation, second operand and second operation of an
        attempt. The end token, padding and all tokens after a `yes` are no forks.

    Example:
    ```python
    >>> from trl_forking.countdown import mark_forks
    >>> tokens = "5 + 3 = 8 left 8 2 , 8 * 2 = 16 vs 16 yes <end>".split()
    >>> [token for token, is_fork in zip(tokens, mark_forks(tokens)) if is_fork]
    ['5', '+', '3', '*']
    ```
    """
    forks = []
    offset = 0
    finished = False
    for token in map(str.strip, tokens):
        finished = finished or token in ("yes", END_TOKEN, PAD_TOKEN)
        forks.append(not finished and offset in offsets)
        offset = 0 if token == "no" else offset + 1
    return forks
