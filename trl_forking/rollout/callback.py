"""Who is told of a rollout before it is trained."""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState

from ..forking_grpo_config import ForkingGRPOConfig


@dataclass
class Rollout:
    """
    A rollout as TRL made it, and what it was made from.

    Attributes:
        batch (`dict[str, Any]`): TRL's tensors of this rank, a row for each answer (`prompt_ids`, `completion_ids`,
            `advantages`, ...), and for a [`RolloutCallback`] also `entropies`, `counted` and `kept` `(B, T)`.
        inputs (`list[dict]`): the data set's row of each answer.
        rewards_per_func (`torch.Tensor` of shape `(N * G, F)`): rewards of all ranks by function.

    Example:
    ```python
    >>> rollout = Rollout({"row_ids": torch.arange(2)}, [{"prompt": "1 + 1 ="}] * 2, torch.tensor([[1.0], [0.0]]))
    >>> len(rollout.inputs)
    2
    ```
    """

    batch: dict[str, Any]
    inputs: list[dict[str, Any]]
    rewards_per_func: torch.Tensor


class RolloutCallback(TrainerCallback):
    """
    A callback that sees every rollout of the training, with the entropies of all its tokens and the kept ones.

    Any number of them can be added to a [`ForkingGRPOTrainer`], by `trainer.add_callback` or its argument `callbacks`.
    While there is one, the tokens of answers without an advantage are scored too.

    Example:
    ```python
    >>> class CountAnswers(RolloutCallback):
    ...     def on_rollout(self, args, state, control, rollout, **kwargs):
    ...         print(len(rollout.inputs), "answers")
    >>> CountAnswers().on_rollout(None, None, None, rollout=Rollout({}, [{}], torch.zeros(1, 1)))
    1 answers
    ```
    """

    def wants_rollout(self, args: ForkingGRPOConfig, state: TrainerState) -> bool:
        """Return whether this callback wants to see the next rollout; all processes return the same."""
        return True

    def on_rollout(
        self,
        args: ForkingGRPOConfig,
        state: TrainerState,
        control: TrainerControl,
        rollout: Rollout,
        **kwargs: Any,
    ) -> None:
        """
        Look at a rollout of this rank, after its tokens were selected and before any of them is trained.

        With `selection_scope="micro_batch"` the batch has no `counted` and `kept`: each forward pass selects later.

        Args:
            args ([`ForkingGRPOConfig`]):
                Settings.
            state ([`~transformers.TrainerState`]):
                State of the training.
            control ([`~transformers.TrainerControl`]):
                What happens next.
            rollout ([`Rollout`]):
                The rollout; to be read, not written.
        """
