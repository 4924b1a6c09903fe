"""The parts of the trainer that other modules rely on. mypy checks the list here, and a test checks it against TRL."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from accelerate import Accelerator
from transformers import TrainerState
from transformers.trainer_callback import CallbackHandler

from ..forking_grpo_config import ForkingGRPOConfig
from ..selection.token_selector import TokenSelector
from .metrics_log import MetricMeans


class ForkingTrainer(Protocol):
    """
    A [`ForkingGRPOTrainer`], seen from the modules that it is built of.

    They import this list and not the trainer, which imports them. What begins with an underscore is TRL's own;
    the contract tests in `tests/upstream` name it where it goes.
    """

    # Transformers' Trainer
    accelerator: Accelerator
    args: ForkingGRPOConfig
    callback_handler: CallbackHandler
    hub_model_id: str | None
    model: Any
    model_wrapped: Any
    processing_class: Any
    state: TrainerState
    train_dataset: Any
    # TRL's GRPOTrainer
    environment_factories: dict[str, Any] | None
    log_completions: bool
    num_generations: int
    num_iterations: int
    reward_func_names: list[str]
    reward_funcs: list[Any]
    reward_weights: Any
    shuffle_dataset: bool
    temperature: float
    _buffered_inputs: list[dict[str, Any]] | None
    _environment_pool: dict[str, list[Any]]
    _logs: dict[str, Any]
    _name: str
    _paper: dict[str, str]
    _pending_extra_logs: dict[str, list[Any]]
    _step: int
    _tag_names: list[str]
    _tokenizer: Any
    # Ours
    is_recorded: bool
    resumed_at: Sequence[int]
    rollout_settings: ForkingGRPOConfig
    selector: TokenSelector

    @property
    def is_rollout_trained(self) -> bool:
        """Whether every step of the newest rollout is done."""

    def continue_with_settings(self, settings: Mapping[str, Any]) -> None:
        """Take the settings of a rollout that a checkpoint has."""

    def _reduce(self, tensor: Any) -> Any:
        """Sum a tensor over all ranks."""

    def add_callback(self, callback: Any) -> None:
        """Add a callback."""

    def is_world_process_zero(self) -> bool:
        """Whether this is the main process."""

    @property
    def metric_means(self) -> MetricMeans:
        """Numbers for the next log entry."""

    def score_rollout(self, batch: dict[str, Any], only: Any = None) -> Any:
        """Compute the entropies of a rollout batch under the current policy."""
