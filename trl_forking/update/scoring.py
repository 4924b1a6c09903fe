"""What the trainer asks of TRL's scoring function, in one request, and how little of the input it computes."""

import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from trl import GRPOTrainer
from trl.models.utils import disable_gradient_checkpointing
from trl.trainer.utils import add_fused_lm_head

from ..run.model_parts import get_causal_model
from .dealing import SLACK, deal, spread
from .sparse_update import measure_rows, score_only


if TYPE_CHECKING:
    from .fork_path import ForkPass, RecordingPass


MULTIMODAL = tuple(
    name
    for name in inspect.signature(GRPOTrainer._get_per_token_logps_and_entropies).parameters
    if name not in ("self", "model", "input_ids", "attention_mask", "logits_to_keep", "batch_size")
    and not name.startswith("compute_")
)
"""What a model sees beside tokens, by the names that TRL's scoring function takes it by."""

HEAD_OUTPUTS = {"sum_sq_probs": "log_sum_sq_probs", "is_top1": "is_top1"}
"""Statistics of a rule, and what TRL's fused head calls the output that they are computed from."""

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
        needs (`tuple[str]`): statistics that a rule needs beside the entropies.
        receive_costly (`Callable`, *optional*): gets these statistics of every pass, by name.
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
    needs: tuple[str, ...] = ()
    receive_costly: Callable[[dict[str, torch.Tensor]], Any] | None = None
    kind: "RecordingPass | ForkPass | None" = None


@contextmanager
def note_outputs(model: torch.nn.Module, noted: dict[str, list[torch.Tensor]], num_columns: int) -> Iterator[None]:
    """
    Note outputs of TRL's fused head that its scoring function does not return.

    Args:
        model (`torch.nn.Module`):
            Model or PEFT model with the head, unwrapped from DDP or DeepSpeed.
        noted (`dict[str, list[torch.Tensor]]`):
            A list for each name of [`HEAD_OUTPUTS`]. Every forward call inside adds `(B, T)` to it.
        num_columns (`int`):
            Tokens of the answers, which fill the last columns.

    Example:
    ```python
    >>> from trl_forking.countdown import load_countdown_model
    >>> model, noted = load_countdown_model(), {"is_top1": []}
    >>> add_fused_lm_head(model, outputs=("log_probs", "is_top1"))
    >>> ids = torch.tensor([[5, 6, 7, 8]])
    >>> with note_outputs(model, noted, num_columns=2):
    ...     output = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids, fused_lm_head=True)
    >>> noted["is_top1"][0].shape
    torch.Size([1, 2])
    ```
    """

    def note(module: torch.nn.Module, args: tuple, output: Any) -> None:
        for name, parts in noted.items():
            parts.append(getattr(output, HEAD_OUTPUTS[name])[:, -num_columns:].detach())

    hook = model.register_forward_hook(note)
    try:
        yield
    finally:
        hook.remove()


class ScoringMixin(GRPOTrainer):
    """Scores answers as [`~trl.GRPOTrainer`] does, within the bounds of a [`ScoringRequest`]."""

    leaves_out_padding: bool = False
    """Whether rows and columns that need not be computed are cut out of the model's inputs."""
    _scoring_request = ScoringRequest()
    _head_outputs: tuple[str, ...] = ()

    def widen_head(self, needs: tuple[str, ...]) -> None:
        """
        Let TRL's fused head compute what a rule needs beside log-probabilities and entropies, from now on.

        Args:
            needs (`tuple[str]`):
                Statistics of the rule. The head stays as it is if it has them.
        """
        missing = {HEAD_OUTPUTS[name] for name in needs if name in HEAD_OUTPUTS} - set(self._head_outputs)
        if not missing:
            return
        self._head_outputs = (*self._head_outputs, *sorted(missing))
        add_fused_lm_head(
            get_causal_model(self.model),
            temperature=self.temperature,
            cast_lm_head_to_fp32=self.args.cast_lm_head_to_fp32,
            outputs=("log_probs", "entropy", *self._head_outputs),
        )

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
        # The policy's fused head computes them in any case. That of a reference model does not.
        is_reference = model is self.ref_model
        kwargs["compute_entropy"] = compute_entropy or not is_reference
        if is_reference:
            request = replace(request, receive=None, needs=(), receive_costly=None)
        score = super()._get_per_token_logps_and_entropies
        noted: dict[str, list[torch.Tensor]] = {name: [] for name in request.needs if name in HEAD_OUTPUTS}
        if request.only is None and not self.leaves_out_padding:
            with note_outputs(self.accelerator.unwrap_model(model), noted, logits_to_keep):
                logps, entropies, aux_loss = score(
                    model, input_ids, attention_mask, logits_to_keep, batch_size, **kwargs
                )
        else:
            # Without a request, what is scored is what TRL scores: all tokens of the answers.
            scored = attention_mask[:, -logits_to_keep:] if request.only is None else request.only
            logps, entropies, aux_loss = self._score_groups(
                score, model, input_ids, attention_mask, scored.bool(), noted, batch_size, **kwargs
            )
        if request.receive_costly is not None and request.needs:
            request.receive_costly(_name_costly(request.needs, logps.detach(), noted))
        if request.receive is not None:
            request.receive(logps.detach(), entropies.detach())
        return logps, entropies if compute_entropy else None, aux_loss

    def _score_groups(self, score, model, input_ids, attention_mask, scored, noted, batch_size=None, **kwargs):
        """Score as many rows at a time as TRL does on average, those of similar length together."""
        multiple, unwrapped = self.pad_to_multiple_of or 1, self.accelerator.unwrap_model(model)
        keeps_rows = bool(kwargs.get("compute_aux_loss"))

        kind = self._scoring_request.kind

        def score_rows(rows, batch_size=None):
            tokens = scored[rows]
            only = score_only(unwrapped, tokens, keeps_rows, multiple)
            placed = only if kind is None else kind.open(unwrapped, tokens, rows, multiple)
            # The second hook sees what the first one has put back to its place.
            with placed, note_outputs(unwrapped, noted, tokens.size(1)):
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
        logps, entropies = (
            None if of_groups[0] is None else torch.cat(of_groups)[order]
            for of_groups in list(zip(*scores, strict=True))[:2]
        )
        for parts in noted.values():
            parts[:] = [torch.cat(parts)[order]]
        return logps, entropies, None

    def score_rollout(
        self, batch: dict[str, Any], only: torch.Tensor | None = None, kind: "RecordingPass | None" = None
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
            request = replace(self._scoring_request, skip=False, only=only, receive=None, kind=kind)
            return self.score_without_gradient(batch, request, batch_size)
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


def _name_costly(
    needs: tuple[str, ...], logps: torch.Tensor, noted: dict[str, list[torch.Tensor]]
) -> dict[str, torch.Tensor]:
    """Name the statistics of a pass as rules do."""
    costly = {name: torch.cat(parts) for name, parts in noted.items()}
    if "sum_sq_probs" in costly:
        costly["sum_sq_probs"] = costly["sum_sq_probs"].exp()
    return costly | ({"log_prob": logps} if "log_prob" in needs else {})
