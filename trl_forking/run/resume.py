"""Resuming: a trainer that goes on as if nothing had happened."""

import logging
from collections.abc import Sequence
from typing import Any

from transformers import TrainerCallback
from trl import GRPOTrainer

from ..selection.token_counts import TokenCounts
from ..selection.token_selector import TokenSelector
from .checkpoints import mark_incomplete, resolve_checkpoint
from .identity import RunIdentity, find_identity, note_files
from .progress import load_progress, save_progress
from .restored_weights import find_tied_weights, restore_renamed_weights


logger = logging.getLogger(__name__)


class _FirstStep(TrainerCallback):
    """Remembers the step at which a training begins."""

    step: int | None = None

    def on_train_begin(self, args, state, control, **kwargs):
        self.step = state.global_step


class ResumeMixin(GRPOTrainer):
    """Resumes a run as if it had never been killed, also within a rollout, and refuses half-written checkpoints."""

    selector: TokenSelector
    resumed_at: Sequence[int] = ()

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.add_callback(RunIdentity())

    def train(self, resume_from_checkpoint=None, *args, **kwargs):
        checkpoint = resolve_checkpoint(resume_from_checkpoint, self.args.output_dir)
        first = _FirstStep()
        self.add_callback(first)
        try:
            output = super().train(checkpoint, *args, **kwargs)
        finally:
            self.remove_callback(first)
        if self.state.global_step == first.step:
            logger.warning(
                f"Nothing was trained: the run was at step {self.state.global_step}, which is its last (max_steps="
                f"{self.args.max_steps}, num_train_epochs={self.args.num_train_epochs}). Raise one of them to go on."
            )
        return output

    def _inner_training_loop(self, *args, **kwargs):
        self._forget_rollout()
        return super()._inner_training_loop(*args, **kwargs)

    def _forget_rollout(self) -> None:
        """
        Forget what an earlier training left behind: the rollout that it was in, its metrics and its answers.

        An error can end a training between two accumulation steps, and `max_steps` within a rollout. The next training
        would go on in the middle of that rollout, with other weights.
        """
        self._step, self._buffered_inputs = 0, None
        self._current_train_step_time = 0.0
        self.selector.token_counts = TokenCounts()
        self.resumed_at = ()
        for kept in (*self._metrics.values(), self._pending_metrics, self._pending_extra_logs):
            kept.clear()
        for column in self._logs.values():
            column.clear()
        for means in self._means.values():
            means.pop()
        self._last_loaded_step = -1  # the weights in vLLM may be those of a step with the same number

    def _save_checkpoint(self, model, trial):
        find_identity(self.callback_handler.callbacks).files = {}
        if self.args.should_save:
            mark_incomplete(f"{self._get_output_dir(trial=trial)}/checkpoint-{self.state.global_step}")
        super()._save_checkpoint(model, trial)

    def _save_rng_state(self, output_dir):
        super()._save_rng_state(output_dir)
        save_progress(self, output_dir)
        self.accelerator.wait_for_everyone()  # what is written next marks the checkpoint as complete
        if self.args.should_save:
            note_files(find_identity(self.callback_handler.callbacks), output_dir)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if not (self.is_fsdp_enabled or self.is_deepspeed_enabled):  # these have formats of their own
            restore_renamed_weights(self.model if model is None else model, resume_from_checkpoint)

    def _issue_warnings_after_load(self, load_result):
        # A weight that is tied to another one is in the checkpoint once: it is not missing.
        tied = find_tied_weights(self.model)
        missing = [name for name in load_result.missing_keys if name not in tied]
        super()._issue_warnings_after_load(load_result._replace(missing_keys=missing))

    def _load_best_model(self):
        super()._load_best_model()
        if not (self.is_fsdp_enabled or self.is_deepspeed_enabled):
            restore_renamed_weights(self.model, self.state.best_model_checkpoint)

    def _load_optimizer_and_scheduler(self, checkpoint):
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            load_progress(self, checkpoint)
