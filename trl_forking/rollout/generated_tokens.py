"""Counts the tokens that the policy has generated, over all rounds and processes, and through a resume."""

from typing import Any

import torch
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from ..run.metrics_log import MetricsMixin
from .tape import GENERATED


class GeneratedTokensCallback(TrainerCallback, ExportableState):
    """
    Keeps the number of generated tokens with the trainer's state.

    Attributes:
        count (`int` or `None`): tokens since the start of the run; `None` in a run that was resumed from a checkpoint
            which does not have the number.

    Example:
    ```python
    >>> GeneratedTokensCallback().state()["attributes"]
    {'count': 0}
    ```
    """

    def __init__(self) -> None:
        self.count: int | None = 0

    def state(self) -> dict[str, Any]:
        """Return what Transformers writes into `trainer_state.json`."""
        return {"args": {}, "attributes": {"count": self.count}}

    def on_train_begin(self, args, state, control, **kwargs):
        saved = state.stateful_callbacks.get(type(self).__name__)
        known = saved["attributes"]["count"] if saved is not None else None
        self.count = known if state.global_step else 0
        # Transformers writes into this entry, and expects it to be there, with every checkpoint.
        state.stateful_callbacks[type(self).__name__] = self.state()


class GeneratedTokensMixin(MetricsMixin):
    """
    Logs `forking/generated_tokens`: all tokens that the policy has written since the start of the run.

    TRL's `num_tokens` has the prompts in it. Generation is most of the time of a run, so that runs are compared by this
    number.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.add_callback(GeneratedTokensCallback())

    def _generate(self, prompts):
        generated = super()._generate(prompts)
        if self.model.training:
            self._count_generated(dict(zip(GENERATED, generated, strict=True)))
        return generated

    def _count_generated(self, generated: dict[str, Any]) -> None:
        masks = generated["tool_mask"]
        lengths = map(len, generated["completion_ids"]) if masks is None else map(sum, masks)
        total = torch.tensor(sum(lengths), device=self.accelerator.device)
        added = int(self.accelerator.reduce(total, reduction="sum").item())
        # Looked up each time: Transformers can put another object in the place of a callback at a resume.
        for callback in self.callback_handler.callbacks:
            if isinstance(callback, GeneratedTokensCallback) and callback.count is not None:
                callback.count += added
                self.metric_means.replace("generated_tokens", callback.count)
