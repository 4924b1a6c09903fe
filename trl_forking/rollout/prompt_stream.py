"""The shuffled stream of prompts, the same in every process, whose position survives a resume."""

import logging
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import Sampler
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState
from trl.trainer.utils import RepeatSampler


logger = logging.getLogger(__name__)


def compute_prompt_order(num_prompts: int, epoch: int, seed: int, shuffle: bool = True) -> list[int]:
    """
    Compute the order of the prompts in a pass over the data set, as TRL's sampler draws it.

    Args:
        num_prompts (`int`):
            Size of the data set.
        epoch (`int`):
            Pass over it, from 0.
        seed (`int`):
            Seed of the run.
        shuffle (`bool`, *optional*, defaults to `True`):
            Whether the order is random.

    Returns:
        `list[int]`: every index once.

    Example:
    ```python
    >>> sorted(compute_prompt_order(5, epoch=1, seed=42))
    [0, 1, 2, 3, 4]
    ```
    """
    if not shuffle:
        return list(range(num_prompts))
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epoch):  # TRL draws one permutation after the other from one generator
        torch.randperm(num_prompts, generator=generator)
    return torch.randperm(num_prompts, generator=generator).tolist()


class PromptStream:
    """
    Hands out the indices of a data set in the order of TRL's sampler, each once in a pass.

    Every process holds one and makes the same calls, so that all agree without talking.

    Args:
        num_prompts (`int`):
            Size of the data set.
        seed (`int`):
            Seed of the run.
        shuffle (`bool`, *optional*, defaults to `True`):
            Whether every pass has an order of its own.
        num_epochs (`float`, *optional*, defaults to `inf`):
            Passes after which [`count_remaining`] is 0.

    Attributes:
        position (`int`): prompts handed out since the start.
        put_back (`list[int]`): prompts that are handed out again before any other.

    Example:
    ```python
    >>> stream = PromptStream(3, seed=0, shuffle=False, num_epochs=1.0)
    >>> stream.take(2), stream.count_remaining()
    ([0, 1], 1)
    ```
    """

    def __init__(self, num_prompts: int, seed: int, shuffle: bool = True, num_epochs: float = math.inf):
        self.num_prompts, self.seed, self.shuffle = num_prompts, seed, shuffle
        self.end = num_prompts * num_epochs if math.isinf(num_epochs) else int(num_prompts * num_epochs)
        self.position = 0
        self.put_back: list[int] = []
        self._order: tuple[int, list[int]] = (-1, [])

    def take(self, count: int) -> list[int]:
        """Hand out the next `count` prompts, if need be from a pass beyond the last."""
        taken, self.put_back = self.put_back[:count], self.put_back[count:]
        while len(taken) < count:
            epoch, index = divmod(self.position, self.num_prompts)
            if self._order[0] != epoch:
                self._order = (epoch, compute_prompt_order(self.num_prompts, epoch, self.seed, self.shuffle))
            taken.append(self._order[1][index])
            self.position += 1
        return taken

    def count_remaining(self) -> float:
        """Return how many prompts are left of all passes; infinitely many in a stream without end."""
        return max(0, self.end - self.position) + len(self.put_back)

    def state_dict(self) -> dict[str, int | list[int]]:
        """Return what [`load_state_dict`] needs to go on from here."""
        return {
            "num_prompts": self.num_prompts,
            "seed": self.seed,
            "position": self.position,
            "put_back": self.put_back,
        }

    def load_state_dict(self, state: dict) -> None:
        """
        Go on from where another stream was.

        Raises:
            `ValueError`: if it was over another number of prompts or in another order.
        """
        for name in ("num_prompts", "seed"):
            if state[name] != getattr(self, name):
                raise ValueError(f"{name} is {getattr(self, name)}, and was {state[name]}")
        self.position, self.put_back = state["position"], list(state["put_back"])

    def restart(self) -> None:
        """Begin with the first pass again."""
        self.position, self.put_back = 0, []


class ResumableSampler(Sampler):
    """
    TRL's sampler with an order that depends on the epoch alone, and not on how many epochs this process has seen.

    TRL draws the order of an epoch from a generator that starts anew with the process: a run resumed in its second
    epoch would see the order of the first again.

    Args:
        sampler ([`~trl.trainer.utils.RepeatSampler`]):
            Sampler of TRL; uninterrupted, the order is the same as without this class.
        get_epoch (`Callable[[], int]`):
            Returns the epoch that an iteration belongs to.

    Example:
    ```python
    >>> from trl.trainer.utils import RepeatSampler
    >>> def build(epoch):
    ...     return ResumableSampler(RepeatSampler(range(9), mini_repeat_count=1, seed=42), lambda: epoch)
    >>> continued = RepeatSampler(range(9), mini_repeat_count=1, seed=42)
    >>> list(build(0)) == list(continued), list(build(1)) == list(continued)
    (True, True)
    ```
    """

    def __init__(self, sampler: RepeatSampler, get_epoch: Callable[[], int]):
        self.sampler, self.get_epoch = sampler, get_epoch

    def __iter__(self) -> Iterator[int]:
        if self.sampler.shuffle:
            self.sampler.generator.manual_seed(self.sampler.seed)
            for _ in range(self.get_epoch()):
                torch.randperm(self.sampler.num_samples, generator=self.sampler.generator)
        return iter(self.sampler)

    def __len__(self) -> int:
        return len(self.sampler)


class PromptStreamCallback(TrainerCallback, ExportableState):
    """
    Saves the position of a [`PromptStream`] with the trainer's state, goes on from it, and ends training with the prompts.

    Args:
        stream ([`PromptStream`]):
            Stream of the run.
        is_last_step (`Callable[[], bool]`):
            Tells, after a step, whether too few prompts are left for another one.

    Example:
    ```python
    >>> callback = PromptStreamCallback(PromptStream(3, seed=0), is_last_step=lambda: False)
    >>> callback.state()["attributes"]["position"]
    0
    ```
    """

    def __init__(self, stream: PromptStream, is_last_step: Callable[[], bool]):
        self.stream, self.is_last_step = stream, is_last_step

    def state(self) -> dict[str, Any]:
        """Return what Transformers writes into `trainer_state.json`."""
        return {"args": {}, "attributes": self.stream.state_dict()}

    def on_train_begin(self, args, state, control, **kwargs):
        self.stream.restart()
        saved = state.stateful_callbacks.get(type(self).__name__)
        # Transformers writes into this entry, and expects it to be there, with every checkpoint.
        state.stateful_callbacks[type(self).__name__] = self.state()
        if state.global_step == 0:
            return
        try:
            if saved is None:
                raise ValueError("that run had no dynamic sampling")
            self.stream.load_state_dict(saved["attributes"])
        except ValueError as error:
            logger.warning(f"The checkpoint does not say which prompts come next ({error}): they begin anew.")

    def on_step_end(self, args, state, control, **kwargs):
        if self.is_last_step():
            state.max_steps = state.global_step  # the step is the last, with all that belongs to it
