"""Dynamic sampling, from [DAPO](https://huggingface.co/papers/2503.14476): it fills a rollout batch with informative groups."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate.utils import gather_object
from datasets import Dataset

from ..run.trainer_protocol import ForkingTrainer
from .prompt_stream import PromptStream
from .tape import Answer


RollOut = Callable[[list[dict[str, Any]]], tuple[list[Answer], torch.Tensor, torch.Tensor]]
"""Answers rows of this rank. Returns its answers, the rewards of all ranks `(M, F)` and which groups `(M / G,)` are informative."""


@dataclass
class Filling:
    """
    Groups that make up a rollout batch.

    Attributes:
        slots (`list[tuple[int, int]]`): round and number within the round of the group in every slot of the batch.
        rounds (`list[list[bool]]`): by round and group, whether the group is informative.
        put_back (`list[int]`): prompts of informative groups that found no slot.

    Example:
    ```python
    >>> filling = Filling(slots=[(0, 0), (1, 0)], rounds=[[True, False], [True]])
    >>> filling.num_informative, filling.zero_variance_share, filling.informative_share
    (2, 0.5, 0.6666666666666666)
    ```
    """

    slots: list[tuple[int, int]]
    rounds: list[list[bool]]
    put_back: list[int] = field(default_factory=list)

    @property
    def num_informative(self) -> int:
        """Number of informative groups in the batch."""
        return sum(self.rounds[number][group] for number, group in self.slots)

    @property
    def zero_variance_share(self) -> float:
        """Share of zero-variance groups in the first round: what training gets without dynamic sampling."""
        return 1 - sum(self.rounds[0]) / len(self.rounds[0])

    @property
    def informative_share(self) -> float:
        """Informative groups of the batch, as a share of all groups that were generated."""
        return self.num_informative / sum(map(len, self.rounds))


def fill_batch(
    num_groups: int,
    max_rounds: int,
    stream: PromptStream,
    roll_out: Callable[[list[int]], list[bool]],
    multiple: int = 1,
) -> Filling:
    """
    Generate groups until a rollout batch is full of informative ones, or the rounds or the prompts run out.

    The first round fills every slot. A zero-variance group gives up its slot to the next informative group. Each further
    round takes as many fresh prompts as will fill the open slots if the share of informative groups stays as it was.
    (As many prompts as open slots would waste no group, but would take twice as many rounds, and on a GPU a small
    round takes as long as a large one.) Slots that are still open at the end take the last zero-variance groups. The
    slot of a group depends on the order of the stream alone, and not on the ranks.

    Args:
        num_groups (`int`):
            Groups in the batch, over all ranks.
        max_rounds (`int`):
            Most rounds, the first included.
        stream ([`PromptStream`]):
            Source of prompts.
        roll_out (`Callable[[list[int]], list[bool]]`):
            Answers the prompts with these indices and says which groups are informative.
        multiple (`int`, *optional*, defaults to `1`):
            Number of groups that the ranks can share evenly; every round is a multiple of it.

    Returns:
        [`Filling`]: the groups of the batch. The prompts of informative groups beyond its size are put back into the
        stream: the policy of the next rollout answers them again.

    Example:
    ```python
    >>> stream = PromptStream(100, seed=0, shuffle=False)
    >>> filling = fill_batch(3, 10, stream, lambda prompts: [prompt > 1 for prompt in prompts])
    >>> filling.slots, stream.put_back  # prompts 3, 4 and 2; 5 comes again
    ([(1, 0), (1, 1), (0, 2)], [5])
    ```
    """
    slots: list[tuple[int, int] | None] = [None] * num_groups
    rounds: list[list[bool]] = []
    zero_variance: list[tuple[int, int]] = []
    put_back: list[int] = []
    while None in slots and len(rounds) < max_rounds:
        count = _choose_size(slots.count(None), num_groups, rounds, multiple)
        remaining = stream.count_remaining()
        if rounds and remaining < count:  # the first round is not optional
            count = int(remaining) // multiple * multiple
        if count == 0:
            break
        prompts = stream.take(count)
        informative = roll_out(prompts)
        for group, is_informative in enumerate(informative):
            place = (len(rounds), group)
            if not is_informative:
                zero_variance.append(place)
            elif None in slots:
                # In the first round a group's slot is its own number: what stays need not move between ranks.
                slots[group if not rounds else slots.index(None)] = place
            else:
                put_back.append(prompts[group])
        rounds.append(informative)
    stream.put_back = put_back + stream.put_back
    fill_up = iter(zero_variance[len(zero_variance) - slots.count(None) :])
    return Filling([next(fill_up) if slot is None else slot for slot in slots], rounds, put_back)


def _choose_size(num_missing: int, num_groups: int, rounds: list[list[bool]], multiple: int) -> int:
    """Choose how many groups to generate for those that are missing, at most as many as the batch has."""
    num_informative, num_generated = sum(map(sum, rounds)), sum(map(len, rounds))
    expected = math.ceil(num_missing * num_generated / num_informative) if num_informative else num_groups
    return min(math.ceil(expected / multiple) * multiple, num_groups)


@dataclass
class FilledRollout:
    """
    A rollout batch after dynamic sampling.

    Attributes:
        answers (`list[Answer]`): this rank's, in the order of the batch.
        rewards_per_func (`torch.Tensor` of shape `(N * G, F)`): rewards of all ranks.
        sampled_rewards (`torch.Tensor` of shape `(M, F)`): rewards of everything that was generated for it.
        metrics (`dict[str, float]`): what to log of it.
        is_full (`bool`): whether every group is informative.

    Example:
    ```python
    >>> FilledRollout([], torch.zeros(0, 1), torch.zeros(0, 1), {"sampling_rounds": 1}, is_full=True).metrics
    {'sampling_rounds': 1}
    ```
    """

    answers: list[Answer]
    rewards_per_func: torch.Tensor
    sampled_rewards: torch.Tensor
    metrics: dict[str, float]
    is_full: bool

    def compute_sampled_reward(self, reward_weights: torch.Tensor) -> float:
        """Compute the mean reward of everything that was generated, trained or not."""
        totals = (self.sampled_rewards * reward_weights.to(self.sampled_rewards.device)).nansum(1)
        return totals[~self.sampled_rewards.isnan().all(1)].mean().item()


class DynamicSampler:
    """
    Fills the rollout batches of a run with informative groups, over all ranks.

    Args:
        dataset (`Dataset`):
            Prompts, with whatever else the reward functions read.
        stream ([`PromptStream`]):
            Order of the prompts.
        num_groups (`int`):
            Groups in a rollout batch, over all ranks.
        num_generations (`int`):
            Answers in a group, `G`.
        rollouts_per_step (`int`, *optional*, defaults to `1`):
            Rollout batches that an optimizer step takes.
        max_rounds (`int`, *optional*, defaults to `10`):
            Most rounds of generation for a batch.
        rank (`int`, *optional*, defaults to `0`):
            This process.
        num_ranks (`int`, *optional*, defaults to `1`):
            Number of processes, of which each generates the same number of answers in every round.

    Example:
    ```python
    >>> from datasets import Dataset
    >>> from trl_forking.rollout.groups import find_informative_groups
    >>> dataset = Dataset.from_dict({"prompt": ["a", "b", "c"]})
    >>> sampler = DynamicSampler(dataset, PromptStream(3, seed=0, shuffle=False), num_groups=2, num_generations=2)
    >>> def roll_out(rows):  # the answers to "a" are all right, the others are not
    ...     rewards = torch.tensor([[1.0 if row["prompt"] == "a" else index % 2] for index, row in enumerate(rows)])
    ...     informative = find_informative_groups(rewards, torch.ones(1), num_generations=2)
    ...     return [Answer(row, {}) for row in rows], rewards, informative
    >>> [answer.inputs["prompt"] for answer in sampler.fill(roll_out).answers]
    ['c', 'c', 'b', 'b']
    ```
    """

    def __init__(
        self,
        dataset: Dataset,
        stream: PromptStream,
        num_groups: int,
        num_generations: int,
        rollouts_per_step: int = 1,
        max_rounds: int = 10,
        rank: int = 0,
        num_ranks: int = 1,
    ):
        self.dataset, self.stream, self.max_rounds = dataset, stream, max_rounds
        self.num_groups, self.num_generations = num_groups, num_generations
        self.rollouts_per_step = rollouts_per_step
        self.rank, self.num_ranks = rank, num_ranks

    @classmethod
    def from_trainer(cls, trainer: ForkingTrainer) -> "DynamicSampler":
        """Read the sizes from a [`~trl.GRPOTrainer`] whose arguments are a [`ForkingGRPOConfig`]."""
        args = trainer.args
        # As in Transformers, `max_steps` comes before the number of epochs.
        num_epochs = math.inf if args.max_steps > 0 else args.num_train_epochs
        return cls(
            trainer.train_dataset,
            PromptStream(len(trainer.train_dataset), args.seed, trainer.shuffle_dataset, num_epochs),
            args.generation_batch_size // trainer.num_generations,
            trainer.num_generations,
            math.ceil(args.gradient_accumulation_steps / (args.steps_per_generation * trainer.num_iterations)),
            args.dynamic_sampling_max_rounds,
            trainer.accelerator.process_index,
            trainer.accelerator.num_processes,
        )

    @property
    def is_exhausted(self) -> bool:
        """Whether too few prompts are left for another step. TRL's sampler drops them at the end of an epoch too."""
        return self.stream.count_remaining() < self.num_groups * self.rollouts_per_step

    def count_consumed(self) -> int:
        """Count the prompts that were drawn since the start of the run."""
        return self.stream.position - len(self.stream.put_back)

    def fill(self, roll_out: RollOut) -> FilledRollout:
        """
        Make the next rollout batch.

        Args:
            roll_out (`Callable`):
                Answers rows of the data set, this rank's, and returns the answers, the rewards of all ranks `(M, F)`
                and which groups `(M / G,)` are informative, also of all ranks.

        Returns:
            [`FilledRollout`]: this rank's part of the batch.
        """
        answers: list[list[Answer]] = []
        rewards: list[torch.Tensor] = []

        def answer_prompts(prompts: list[int]) -> list[bool]:
            round_answers, round_rewards, informative = roll_out(self._get_rows(prompts))
            answers.append(round_answers)
            rewards.append(round_rewards)
            return informative.tolist()

        size = self.num_generations
        multiple = self.num_ranks // math.gcd(self.num_ranks, size)
        filling = fill_batch(self.num_groups, self.max_rounds, self.stream, answer_prompts, multiple)
        chosen = [rewards[number][group * size : (group + 1) * size] for number, group in filling.slots]
        metrics = {
            "sampling_rounds": len(filling.rounds),
            "zero_variance_groups": filling.zero_variance_share,
            "informative_groups": filling.informative_share,
        }
        mine = self._exchange(filling, answers)
        return FilledRollout(
            mine, torch.cat(chosen), torch.cat(rewards), metrics, filling.num_informative == self.num_groups
        )

    def _get_rows(self, prompts: list[int]) -> list[dict[str, Any]]:
        """Read this rank's rows, an own copy for every answer."""
        indices = [prompt for prompt in prompts for _ in range(self.num_generations)]
        share = len(indices) // self.num_ranks
        return [dict(self.dataset[index]) for index in indices[self.rank * share : (self.rank + 1) * share]]

    def _exchange(self, filling: Filling, answers: list[list[Answer]]) -> list[Answer]:
        """Bring every answer of the batch to the rank that its place belongs to."""
        share = self.num_groups * self.num_generations // self.num_ranks
        here: dict[int, Answer] = {}
        leaving: list[tuple[int, Answer]] = []
        for slot, (number, group) in enumerate(filling.slots):
            for sample in range(self.num_generations):
                place, source = slot * self.num_generations + sample, group * self.num_generations + sample
                holder, index = divmod(source, len(answers[number]))
                if holder == self.rank and place // share == self.rank:
                    here[place] = answers[number][index]
                elif holder == self.rank:
                    leaving.append((place, answers[number][index]))
        arriving = gather_object(leaving) if self.num_ranks > 1 else []
        here.update((place, answer) for place, answer in arriving if place // share == self.rank)
        return [here[place] for place in sorted(here)]
