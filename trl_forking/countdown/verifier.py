"""Verifier, reward and known forks of answers to the built-in task."""

from collections.abc import Sequence

from .problems import END_TOKEN, FORK_OFFSETS, MAX_ATTEMPTS, PAD_TOKEN, WORDS_PER_ATTEMPT, list_attempts


def verify_countdown(completion: str, nums: Sequence[int], goal: int) -> bool:
    """
    Verify an answer exactly: right from the first word to the last, and the goal is reached.

    At most 27 attempts can be written for three numbers, so an attempt is checked by looking it up among them. That
    covers the grammar, the operands, their order, the arithmetic, the numbers left and the verdict at once.

    Args:
        completion (`str`):
            The answer without prompt and end token; words are separated by white space.
        nums (`Sequence[int]`):
            The three numbers of the problem.
        goal (`int`):
            The number to reach.

    Returns:
        `bool`: True if one to three legal attempts were written, the last one ends with `yes`, and no earlier one
        does. Anything else is False: an answer cut short, words after the `yes`, any other string.

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
    prompts: list[str], completions: list[str], nums: list[list[int]], goal: list[int], **kwargs
) -> list[float]:
    """
    Reward right answers with 1.0 and all others with 0.0; a reward function as TRL calls it.

    Args:
        prompts (`list[str]`):
            The prompts. They are not read: `nums` and `goal` hold the problem.
        completions (`list[str]`):
            One answer for each prompt.
        nums (`list[list[int]]`):
            The dataset's column `nums`.
        goal (`list[int]`):
            The dataset's column `goal`.
        **kwargs:
            What else TRL passes; not read.

    Returns:
        `list[float]`: One reward for each answer.

    Example:
    ```python
    >>> from trl_forking.countdown import countdown_reward
    >>> completions = ["5 + 3 = 8 left 8 2 , 8 * 2 = 16 vs 16 yes", "5 + 3 = 8 left 8 2"]
    >>> countdown_reward(["nums 3 5 2 goal 16 :"] * 2, completions, nums=[[3, 5, 2]] * 2, goal=[16, 16])
    [1.0, 0.0]
    ```
    """
    return [float(verify_countdown(*answer)) for answer in zip(completions, nums, goal, strict=True)]


def mark_forks(tokens: list[str]) -> list[bool]:
    """
    Mark the tokens of an answer at which the task leaves a choice.

    Attempts are counted anew from each verdict, so that a wrong number of words in one attempt does not shift the
    marks of the next.

    Args:
        tokens (`list[str]`):
            The words of one answer, of any length, with or without spaces; the end token and padding may follow.

    Returns:
        `list[bool]`: For each token, True at the first operand, first operation, second operand and second operation
        of an attempt. The end token, padding and whatever follows a `yes` are no forks.

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
        forks.append(not finished and offset in FORK_OFFSETS)
        offset = 0 if token == "no" else offset + 1
    return forks
