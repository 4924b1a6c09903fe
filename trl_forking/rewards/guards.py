"""TRL's rewards of the form of an answer, for completions of every form."""

import functools
from collections.abc import Callable
from typing import Any

from .extract import read_completion


def accept_any_completion(reward: Callable[..., list[float | None]]) -> Callable[..., list[float | None]]:
    r"""
    Let a reward of TRL take completions of every form, as [`~trl_forking.rewards.math_reward.math_reward`] does.

    TRL's [`~trl.rewards.think_format_reward`] reads `completion[0]["content"]`. It ends the run if a completion is a text,
    an empty list, or a message without content, such as a call of a tool. Rewards that read `completion_ids`, such as
    [`~trl.rewards.get_soft_overlong_punishment`], need no guard.

    Args:
        reward (`Callable`):
            Reward function that takes `completions` as lists of one message.

    Returns:
        `Callable`: a reward function of the same name. It hands over one message of the assistant for each completion.

    Example:
    ```python
    >>> from trl.rewards import think_format_reward
    >>> from trl_forking.rewards.guards import accept_any_completion
    >>> reward = accept_any_completion(think_format_reward)
    >>> reward(["<think>One and one.</think>Two.", [], None, [{"role": "assistant", "content": None}]])
    [1.0, 0.0, 0.0, 0.0]
    >>> reward.__name__
    'think_format_reward'
    ```
    """

    @functools.wraps(reward)
    def guarded(completions: list[Any], *args: Any, **kwargs: Any) -> list[float | None]:
        messages = [[{"role": "assistant", "content": read_completion(completion)}] for completion in completions]
        return reward(messages, *args, **kwargs)

    return guarded
