"""What the trainer asks of TRL's scoring function, in one request, and how little of the input it computes."""

import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from trl import GRPOTrainer
from trl.models.utils import disable_gradient_checkpointing

from .dealing import SLACK, deal, spread
from .fork_path import ForkPass, RecordingPass
from .sparse_update import measure_rows, score_only


MULTIMODAL = tuple(
    name
    for name in inspect.signature(GRPOTrainer._get_per_token_logps_and_entropies).parameters
    if name not in ("self", "model", "input_ids", "attention_mask", "logits_to_keep", "batch_size")
    and not name.startswith("compute_")
)
"""What a model sees beside tokens, by the names that TRL's scoring function takes it by."""

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
        kind ([`RecordingPass`] or [`ForkPass`], *optional*): what the pass does with keys and values; by default nothing.

    Example:
    ```python
    >>> ScoringRequest().skip
    False
    ```
    """

    skip: bool = False
    only: torch.Tensor | None = None
    receive: ScoreReceiver | None = None
    kind: RecordingPass | ForkPass | None = None


class ScoringMixin(GRPOTrainer):
    """Scores answers as [`~trl.GRPOTrainer`] does, within the bounds of a [`ScoringRequest`]."""

    leaves_out_padding: bool = False
    """Whether rows and columns that need not be computed are cut out of the model's inputs."""
    _scoring_request = ScoringRequest()

    @contextmanager
    def request_scores(self, request: ScoringRequest) -> Iterator[None]:
        """Let a request hold for the scoring passes inside."""
        outer, self._scoring_request = self._scoring_request, request
        try:
            yield
        finally:
            self._scoring_request = outer

    def _get_per_token_logps_and_entropies(
        self, model, input_ids, attention_mask, logits_to_keep, batch_size=None, compute_entropy=False, **kwargs
    ):
        request = self._scoring_request
        if request.skip:
            nothing = torch.zeros(input_ids.size(0), logits_to_keep, device=input_ids.device)
            return nothing, nothing, None
        kwargs["compute_entropy"] = True  # the fused head computes them in any case
        score = super()._get_per_token_logps_and_entropies
        if request.only is None and not self.leaves_out_padding:
            logps, entropies, aux_loss = score(model, input_ids, attention_mask, logits_to_keep, batch_size, **kwargs)
        else:
            # Without a request, what is scored is what TRL scores: all tokens of the answers.
            scored = attention_mask[:, -logits_to_keep:] if request.only is None else request.only
            logps, entropies, aux_loss = self._score_groups(
                score, model, input_ids, attention_mask, scored.bool(), batch_size, **kwargs
            )
        if request.receive is not None:
            request.receive(logps.detach(), entropies.detach())
        return logps, entropies if compute_entropy else None, aux_loss

    def _score_groups(self, score, model, input_ids, attention_mask, scored, batch_size=None, **kwargs):
        """Score as many rows at a time as TRL does on average, those of similar length together."""
        multiple, unwrapped = self.pad_to_multiple_of or 1, self.accelerator.unwrap_model(model)
        keeps_rows = bool(kwargs.get("compute_aux_loss"))

        kind = self._scoring_request.kind

        def score_rows(rows, batch_size=None):
            tokens = scored[rows]
            only = score_only(unwrapped, tokens, keeps_rows, multiple)
            with only if kind is None else kind.open(unwrapped, tokens, rows, multiple):
                return score(model, input_ids[rows], attention_mask[rows], tokens.size(1), batch_size, **kwargs)

        is_whole = batch_size is None or len(input_ids) <= batch_size
        if is_whole or any(kwargs.get(name) is not None for name in MULTIMODAL):  # images belong to rows
            return score_rows(slice(None), batch_size)
        lengths = measure_rows(unwrapped, attention_mask, scored, multiple)[0].tolist()
        groups = deal(lengths, math.ceil(len(lengths) / batch_size), SLACK)
        spread(groups, [row for row, length in enumerate(lengths) if length == 0])
        rows = [torch.tensor(group, device=input_ids.device) for group in groups]
        scores = [score_rows(part) for part in rows]
        order = torch.cat(rows).argsort()
        logps, entropies = (torch.cat(of_groups)[order] for of_groups in list(zip(*scores, strict=True))[:2])
        return logps, entropies, None

    def score_rollout(
        self, batch: dict[str, Any], only: torch.Tensor | None = None, kind: RecordingPass | None = None
    ) -> torch.Tensor:
        """
        Compute the entropies of a rollout batch under the current policy, in nats.

        The pass runs without dropout: dropout was off when the answers were written, and it would draw other entropies
        at every call.

        Args:
            batch (`dict`):
                Rollout batch of this rank.
            only (`torch.Tensor` of shape `(B, T)`, *optional*):
                Tokens to score.
            kind ([`RecordingPass`], *optional*):
                What the pass does with keys and values; by default nothing.

        Returns:
            `torch.Tensor` of shape `(B, T)`.
        """
        args, was_training = self.args, self.model.training
        batch_size = args.per_device_train_batch_size if was_training else args.per_device_eval_batch_size
        self.model.eval()
        try:
            return self.score_without_gradient(batch, ScoringRequest(only=only, kind=kind), batch_size)
        finally:
            self.model.train(was_training)

    def score_without_gradient(
        self, batch: dict[str, Any], request: ScoringRequest, batch_size: int | None = None
    ) -> torch.Tensor:
        """
        Run the model on a batch without gradient, and without the gradient checkpointing that only a gradient needs.

        Args:
            batch (`dict`):
                Rollout batch or micro-batch of this rank.
            request ([`ScoringRequest`]):
                What is asked of the pass.
            batch_size (`int`, *optional*):
                Number of rows of one call. If `None`, all.

        Returns:
            `torch.Tensor` of shape `(B, T)`: entropies in nats.
        """
        # Pixel values and the like are in the batch under the names that the scoring function takes them by.
        multimodal = {name: batch[name] for name in MULTIMODAL if name in batch}
        without_checkpointing = disable_gradient_checkpointing(self.model, self.args.gradient_checkpointing_kwargs)
        with torch.no_grad(), without_checkpointing, self.request_scores(request):
            _, entropies, _ = self._get_per_token_logps_and_entropies(
                self.model,
                torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1),
                torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1),
                batch["completion_ids"].size(1),
                batch_size=batch_size,
                compute_entropy=True,
                **multimodal,
            )
        return entropies
