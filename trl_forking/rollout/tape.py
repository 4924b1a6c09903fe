"""Records what a round of generation brought, answer by answer, and plays chosen answers back to TRL as one rollout."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from ..run.trainer_protocol import ForkingTrainer


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
        entropies (`torch.Tensor` of shape `(T,)`, *optional*): entropies of its tokens, if they were seen while it was
            sampled.

    Example:
    ```python
    >>> Answer({"prompt": "1 + 1 ="}, {"completion_ids": [2]}).generated["completion_ids"]
    [2]
    ```
    """

    inputs: dict[str, Any]
    generated: dict[str, Any]
    extra_logs: dict[str, Any] = field(default_factory=dict)
    entropies: torch.Tensor | None = None


class RecordedRound(NamedTuple):
    """
    A round of answers that were judged and not trained.

    Attributes:
        answers (`list[Answer]`): this rank's.
        rewards_per_func (`torch.Tensor` of shape `(M, F)`): rewards of all ranks by function.

    Example:
    ```python
    >>> RecordedRound([], torch.zeros(0, 1)).answers
    []
    ```
    """

    answers: list[Answer]
    rewards_per_func: torch.Tensor


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


@dataclass
class Round:
    """
    What one rollout of TRL brought.

    Attributes:
        prompts (`list`): what `_generate` was given.
        generated (`tuple`): what it returned, see [`GENERATED`].
        entropies (`list[torch.Tensor]`, *optional*): entropies of each answer, if they were seen while it was sampled.
        rewards_per_func (`torch.Tensor` of shape `(M, F)`): rewards of all ranks by function.

    Example:
    ```python
    >>> Round().rewards_per_func.shape
    torch.Size([0, 0])
    ```
    """

    prompts: list[Any] = field(default_factory=list)
    generated: tuple[Any, ...] = ()
    entropies: list[torch.Tensor] | None = None
    rewards_per_func: torch.Tensor = field(default_factory=lambda: torch.empty(0, 0))


class RolloutTape:
    """
    What stands between TRL's rollout and the two methods that make it, `_generate` and `_calculate_rewards`.

    [`listening`] notes what they return. [`record`] also ends the rollout after the rewards, by [`StopAfterRewards`].
    [`playing`] answers for both methods.

    Example:
    ```python
    >>> tape = RolloutTape()
    >>> with tape.listening() as heard:
    ...     rewards = tape.judge(lambda: torch.ones(2, 1))
    >>> heard.rewards_per_func.shape
    torch.Size([2, 1])
    ```
    """

    def __init__(self) -> None:
        self._heard = Round()
        self._stops_after_rewards = False
        self._played: Round | None = None

    def generate(
        self, prompts: list[Any], generate: Callable[[list[Any]], tuple[tuple[Any, ...], list[torch.Tensor] | None]]
    ) -> tuple[Any, ...]:
        """
        Return what is played, or else what `generate` makes of the prompts; stands in for `_generate`.

        Args:
            prompts (`list`):
                What TRL's `_generate` is given.
            generate (`Callable`):
                Returns what TRL's `_generate` returns, and the entropies of the answers if they are known.

        Returns:
            `tuple`: see [`GENERATED`].
        """
        heard, played = self._heard, self._played
        heard.prompts = prompts
        heard.generated, heard.entropies = (
            generate(prompts) if played is None else (played.generated, played.entropies)
        )
        return heard.generated

    def judge(self, calculate: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Return the rewards that are played, or else those of `calculate`; stands in for `_calculate_rewards`."""
        self._heard.rewards_per_func = calculate() if self._played is None else self._played.rewards_per_func
        if self._stops_after_rewards:
            raise StopAfterRewards
        return self._heard.rewards_per_func

    @contextmanager
    def listening(self) -> Iterator[Round]:
        """Note what the rollout of TRL inside brings."""
        self._heard = heard = Round()
        yield heard

    def record(self, trainer: ForkingTrainer, rows: list[dict[str, Any]], roll_out: Callable) -> RecordedRound:
        """
        Answer rows and judge the answers.

        Args:
            trainer ([`~trl.GRPOTrainer`]):
                Trainer whose `_generate` and `_calculate_rewards` go through this tape.
            rows (`list[dict]`):
                Rows of the data set, this rank's.
            roll_out (`Callable`):
                TRL's `_generate_and_score_completions`.

        Returns:
            [`RecordedRound`]: an answer for each row, and the rewards of all ranks.
        """
        self._stops_after_rewards = True
        try:
            with self.listening() as heard, suppress(StopAfterRewards):
                roll_out(rows)
        finally:
            self._stops_after_rewards = False
        answers = split_generated(rows, heard.generated)
        for answer, entropies in zip(answers, heard.entropies or [], strict=False):
            answer.entropies = entropies
        for column, values in trainer._pending_extra_logs.items():
            for answer, value in zip(answers, values, strict=False):  # a function may log what it likes
                answer.extra_logs[column] = value
        trainer._pending_extra_logs.clear()
        if trainer.environment_factories is not None:
            for answer, prompt in zip(answers, heard.prompts, strict=True):
                # The prompt has in it what the environment observed, and images, which TRL would insert once more.
                rest = {name: value for name, value in answer.inputs.items() if name not in ("image", "images")}
                answer.inputs = rest | {"prompt": prompt}
        return RecordedRound(answers, heard.rewards_per_func)

    @contextmanager
    def playing(
        self, trainer: ForkingTrainer, answers: list[Answer], rewards_per_func: torch.Tensor
    ) -> Iterator[None]:
        """Let TRL's rollout inside find answers of this rank, and the rewards of all, in place of making any."""
        for column in sorted({name for answer in answers for name in answer.extra_logs}):
            trainer._pending_extra_logs[column] = [answer.extra_logs.get(column) for answer in answers]
        entropies = [answer.entropies for answer in answers if answer.entropies is not None]
        self._played = Round(
            generated=join_generated(answers),
            entropies=entropies if len(entropies) == len(answers) else None,
            rewards_per_func=rewards_per_func,
        )
        try:
            with _without_environments(trainer):
                yield
        finally:
            self._played = None


@contextmanager
def _without_environments(trainer: ForkingTrainer) -> Iterator[None]:
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
