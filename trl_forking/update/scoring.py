"""What the trainer asks of TRL's scoring function, in one request."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from trl import GRPOTrainer
from trl.models.utils import disable_gradient_checkpointing

from .sparse_update import score_only


ScoreReceiver = Callable[[torch.Tensor, torch.Tensor], None]
"""Receives the log-probabilities and entropies `(B, T)` of a forward pass before its loss is computed."""


@dataclass(frozen=True)
class ScoringRequest:
    """
    What is asked of the scoring passes in a stretch of the program; by default what TRL asks, and no more.

    Attributes:
        skip (`bool`): whether no model is run: all scores are zero. A round of dynamic sampling is judged by its
            rewards, and most of its answers may never be trained.
        only (`torch.Tensor` of shape `(B, T)`, *optional*): tokens to score; the scores of all others are zero.
        receive (`Callable`, *optional*): gets the scores of every pass, without gradient.

    Example:
    ```python
    >>> ScoringRequest().skip
    False
    ```
    """

    skip: bool = False
    only: torch.Tensor | None = None
    receive: ScoreReceiver | None = None


class ScoringMixin(GRPOTrainer):
    """Scores answers as [`~trl.GRPOTrainer`] does, within the bounds of a [`ScoringRequest`]."""

    _scoring_request = ScoringRequest()

    @contextmanager
    def request_scores(self, request: ScoringRequest) -> Iterator[None]:
        """Let a request hold for the scoring passes inside."""
        outer, self._scoring_request = self._scoring_request, request
        try:
            yield
        finally:
            self._scoring_request = outer

    def _get_per_token_logps_and_entropies(self, model, *args, compute_entropy=False, **kwargs):
        request = self._scoring_request
        if request.skip:
            input_ids, logits_to_keep = args[0], args[2]
            nothing = torch.zeros(input_ids.size(0), logits_to_keep, device=input_ids.device)
            return nothing, nothing, None
        sparse: AbstractContextManager[None] = nullcontext()
        if request.only is not None:
            sparse = score_only(self.accelerator.unwrap_model(model), request.only)
        with sparse:  # the fused head computes the entropies in any case
            logps, entropies, aux_loss = super()._get_per_token_logps_and_entropies(
                model, *args, compute_entropy=compute_entropy or request.receive is not None, **kwargs
            )
        if request.receive is not None:
            request.receive(logps.detach(), entropies.detach())
        return logps, entropies if compute_entropy else None, aux_loss

    def score_rollout(self, batch: dict[str, Any], only: torch.Tensor | None = None) -> torch.Tensor:
        """
        Compute the entropies of a rollout batch under the current policy, in nats.

        The pass runs without dropout: dropout was off when the answers were written, and it would draw other entropies
        at every call.

        Args:
            batch (`dict`):
                Rollout batch of this rank.
            only (`torch.Tensor` of shape `(B, T)`, *optional*):
                Tokens to score.

        Returns:
            `torch.Tensor` of shape `(B, T)`.
        """
        # Pixel values and the like are in the batch under the names that the scoring function takes them by.
        names = inspect.signature(GRPOTrainer._get_per_token_logps_and_entropies).parameters
        multimodal = {name: batch[name] for name in names if name in batch}
        args, was_training = self.args, self.model.training
        without_checkpointing = disable_gradient_checkpointing(self.model, args.gradient_checkpointing_kwargs)
        self.model.eval()
        try:
            with torch.no_grad(), without_checkpointing, self.request_scores(ScoringRequest(only=only)):
                _, entropies, _ = self._get_per_token_logps_and_entropies(
                    self.model,
                    torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1),
                    torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1),
                    batch["completion_ids"].size(1),
                    batch_size=args.per_device_train_batch_size if was_training else args.per_device_eval_batch_size,
                    compute_entropy=True,
                    **multimodal,
                )
        finally:
            self.model.train(was_training)
        return entropies
