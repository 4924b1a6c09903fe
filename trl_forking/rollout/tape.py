"""Records what a round of generation brought, answer by answer, and plays chosen answers back to TRL as one rollout."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import torch


# What `GRPOTrainer._generate` returns, in its order. All but the extra fields are lists with an entry per answer, or,
# where there is nothing of the kind, `None` or an empty list.
GENERATED = (
    "prompt_ids",
    "completion_ids",
    "tool_mask",
    "completions",
    "logprobs",
    "extra_fields",
    "images",
    "tool_images",
)


class StopAfterRewards(Exception):
    """
    Ends a rollout of TRL once its rewards are known: a round needs no advantages and no logged tables.

    Example:
    ```python
    >>> raise StopAfterRewards
    Traceback (most recent call last):
        ...
    trl_forking.rollout.tape.StopAfterRewards
    ```
    """


@dataclass
class Answer:
    """
    One answer and all that TRL needs to go on with it.

    Attributes:
        inputs (`dict`): row of the data set.
        generated (`dict`): its part of what `_generate` returned.
        extra_logs (`dict`): its part of the columns that reward functions logged.

    Example:
    ```python
    >>> Answer({"prompt": "1 + 1 ="}, {"completion_ids": [2]}).generated["completion_ids"]
    [2]
    ```
    """

    inputs: dict[str, Any]
    generated: dict[str, Any]
    extra_logs: dict[str, Any] = field(default_factory=dict)


def split_generated(inputs: list[dict[str, Any]], generated: Iterable[Any]) -> list[Answer]:
    """
    Split what `_generate` returned into answers.

    Args:
        inputs (`list[dict]`):
            Rows that were answered.
        generated (`Iterable`):
            What `_generate` returned for them, see [`GENERATED`].

    Returns:
        `list[Answer]`: one per row.

    Example:
    ```python
    >>> generated = ([[5], [6]], [[7], [8]], None, ["a", "b"], None, {}, None, [])
    >>> split_generated([{"prompt": "x"}, {"prompt": "y"}], generated)[1].generated["completions"]
    'b'
    ```
    """
    fields = dict(zip(GENERATED, generated, strict=True))
    del fields["extra_fields"]  # TRL has written them into the rows by now
    return [
        Answer(row, {name: values[index] if values else None for name, values in fields.items()})
        for index, row in enumerate(inputs)
    ]


def join_generated(answers: list[Answer]) -> tuple[Any, ...]:
    """
    Make of answers what `_generate` would have returned for them.

    Args:
        answers (`list[Answer]`):
            Answers in the order of the batch, from one or several rounds.

    Returns:
        `tuple`: see [`GENERATED`].

    Example:
    ```python
    >>> generated = ([[5], [6]], [[7], [8]], None, ["a", "b"], None, {}, None, [])
    >>> answers = split_generated([{"prompt": "x"}, {"prompt": "y"}], generated)
    >>> join_generated(answers[::-1])
    ([[6], [5]], [[8], [7]], None, ['b', 'a'], None, {}, None, [])
    ```
    """
    joined: dict[str, Any] = {"extra_fields": {}}
    for name in GENERATED:
        if name != "extra_fields":
            values = [answer.generated[name] for answer in answers]
            absent: Any = [] if name == "tool_images" else None
            joined[name] = absent if all(value is None for value in values) else values
    return tuple(joined[name] for name in GENERATED)


class AlreadyReset:
    """
    Stands in for an environment while its rollout is played back, so that no real one is set up a second time.

    Example:
    ```python
    >>> AlreadyReset().reset(prompt="1 + 1 =") is None
    True
    ```
    """

    def reset(self, **kwargs: Any) -> None:
        """Observe nothing: the prompt that is played back has the observation in it."""


class RolloutTape:
    """
    What stands between TRL's rollout and the two methods that make it, `_generate` and `_calculate_rewards`.

    Off, it does nothing. Recording, it ends the rollout after the rewards with [`StopAfterRewards`]. Playing, it answers
    for both methods.

    Attributes:
        is_recording (`bool`): whether a round is being recorded.
        prompts (`list`), generated (`tuple`), rewards_per_func (`torch.Tensor`): the last round.
        played (`tuple` or `None`): what `_generate` is to return.
        played_rewards (`torch.Tensor` or `None`): what `_calculate_rewards` is to return, of all ranks.

    Example:
    ```python
    >>> tape = RolloutTape()
    >>> tape.is_recording, tape.played
    (False, None)
    ```
    """

    def __init__(self):
        self.is_recording = False
        self.prompts: list[Any] = []
        self.generated: tuple[Any, ...] = ()
        self.rewards_per_func: torch.Tensor | None = None
        self.played: tuple[Any, ...] | None = None
        self.played_rewards: torch.Tensor | None = None

    def record(self, trainer: Any, rows: list[dict[str, Any]], roll_out: Callable) -> list[Answer]:
        """
        Answer rows and judge the answers.

        Args:
            trainer ([`~trl.GRPOTrainer`]):
                Trainer whose `_generate` and `_calculate_rewards` write to this tape.
            rows (`list[dict]`):
                Rows of the data set, this rank's.
            roll_out (`Callable`):
                TRL's `_generate_and_score_completions`.

        Returns:
            `list[Answer]`: one per row; the rewards of all ranks are in `rewards_per_func`.
        """
        self.is_recording = True
        with suppress(StopAfterRewards):
            try:
                roll_out(rows)
            finally:
                self.is_recording = False
        answers = split_generated(rows, self.generated)
        for column, values in trainer._pending_extra_logs.items():
            for answer, value in zip(answers, values, strict=False):  # a function may log what it likes
                answer.extra_logs[column] = value
        trainer._pending_extra_logs.clear()
        if trainer.environment_factories is not None:
            for answer, prompt in zip(answers, self.prompts, strict=True):
                # The prompt has in it what the environment observed, and images, which TRL would insert once more.
                rest = {name: value for name, value in answer.inputs.items() if name not in ("image", "images")}
                answer.inputs = rest | {"prompt": prompt}
        return answers

    @contextmanager
    def playing(self, trainer: Any, answers: list[Answer], rewards_per_func: torch.Tensor) -> Iterator[None]:
        """Let TRL's rollout inside find answers of this rank, and the rewards of all, in place of making any."""
        for column in sorted({name for answer in answers for name in answer.extra_logs}):
            trainer._pending_extra_logs[column] = [answer.extra_logs.get(column) for answer in answers]
        self.played, self.played_rewards = join_generated(answers), rewards_per_func
        try:
            with _without_environments(trainer):
                yield
        finally:
            self.played = self.played_rewards = None


@contextmanager
def _without_environments(trainer: Any) -> Iterator[None]:
    factories = trainer.environment_factories
    if factories is None:
        yield
        return
    pool = trainer._environment_pool
    trainer.environment_factories = dict.fromkeys(factories, AlreadyReset)
    trainer._environment_pool = {name: [] for name in factories}
    try:
        yield
    finally:
        trainer.environment_factories, trainer._environment_pool = factories, pool
