"""Settings in a running training: what may change takes effect with the next rollout, and what may not is refused."""

import copy
from collections.abc import Mapping
from typing import Any

from accelerate.logging import get_logger
from accelerate.utils import gather_object
from trl import GRPOTrainer

from ..forking_grpo_config import ForkingGRPOConfig
from ..settings.plain import make_plain


logger = get_logger(__name__)

CHANGEABLE = (
    *("top_entropy_quantile", "token_selection", "selection_scope", "loss_normalizer", "count_zero_advantage"),
    *("sparse_update", "log_entropy", "top_entropy_quantile_end"),
)
"""Settings that a callback may change in a run. They are read once for each rollout."""

# TRL and this library read these when the trainer is built, or count on them from step to step.
_FIXED = (
    *("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"),
    *("steps_per_generation", "generation_batch_size", "num_generations", "num_generations_eval", "num_iterations"),
    *("loss_type", "importance_sampling_level", "epsilon", "epsilon_high", "delta", "beta", "entropy_coef"),
    *("use_adaptive_entropy", "scale_rewards", "multi_objective_aggregation", "reward_weights"),
    *("mask_truncated_completions", "off_policy_mask_threshold", "max_completion_length", "temperature", "top_p"),
    *("top_k", "min_p", "repetition_penalty", "use_vllm", "vllm_mode", "vllm_importance_sampling_correction"),
    *("vllm_importance_sampling_mode", "vllm_importance_sampling_clip_max", "vllm_importance_sampling_clip_min"),
    *("balance_micro_batches", "balance_ranks", "max_tokens_per_micro_batch", "token_rule", "kl_tokens"),
    *("gradient_path", "gradient_path_window"),
    *("dynamic_sampling", "dynamic_sampling_max_rounds", "seed", "shuffle_dataset", "cast_lm_head_to_fp32"),
)


def describe_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """
    Describe in which settings two sets differ.

    Args:
        before (`Mapping[str, Any]`):
            Plain values by name.
        now (`Mapping[str, Any]`):
            The same names, or others.

    Returns:
        `str`: names and values; empty if there is no difference.

    Example:
    ```python
    >>> describe_changes({"beta": 0.0, "num_generations": 4}, {"beta": 0.0, "num_generations": 8})
    'num_generations was 4 and is 8'
    ```
    """
    names = [name for name in {**before, **now} if before.get(name, ...) != now.get(name, ...)]
    return ", ".join(f"{name} was {before.get(name)!r} and is {now.get(name)!r}" for name in names)


class LiveSettingsMixin(GRPOTrainer):
    """
    Trains every rollout with the settings that it was made with.

    Attributes:
        rollout_settings ([`ForkingGRPOConfig`]): copy of the settings, taken when the rollout under way was made.
    """

    args: ForkingGRPOConfig

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.rollout_settings = copy.copy(self.args)
        self._fixed_settings = self._read_settings(_FIXED)

    def _prepare_inputs(self, generation_batch):
        if self.model.training and (changes := describe_changes(self._fixed_settings, self._read_settings(_FIXED))):
            raise ValueError(
                f"Settings were changed in the middle of a run that are fixed when the trainer is built ({changes}): undo "
                f"the change, or make a new trainer. Only {', '.join(CHANGEABLE)} can change in a run."
            )
        return super()._prepare_inputs(generation_batch)

    def take_settings(self) -> None:
        """
        Take the settings as they are now for the next rollout.

        Raises:
            `ValueError`: in all processes, if the config would refuse the settings, or if they differ between processes.
        """
        now = self._read_settings(CHANGEABLE)
        of_ranks = gather_object([now])
        if any(describe_changes(now, other) for other in of_ranks):
            changes = next(filter(None, (describe_changes(of_ranks[0], other) for other in of_ranks)))
            raise ValueError(
                f"A setting was changed in some processes and not in all ({changes}): change it in a callback that does not "
                "ask which process it is in."
            )
        if describe_changes(self._read_settings(CHANGEABLE, self.rollout_settings), now):
            self.args.check()
            self.rollout_settings = copy.copy(self.args)
            self.apply_settings()

    def continue_with_settings(self, settings: Mapping[str, Any]) -> None:
        """Take settings that a checkpoint names for the rollout that it has; the next one has those of this run."""
        if changes := describe_changes(settings, self._read_settings(tuple(settings))):
            logger.warning(
                f"The rest of the rollout is trained as it was begun, and the new settings hold from the next one on ({changes})."
            )
        self.rollout_settings = copy.copy(self.args)
        for name, value in settings.items():
            setattr(self.rollout_settings, name, value)
        self.apply_settings()

    def apply_settings(self) -> None:
        """Do what depends on the settings of a rollout, before it is made or taken up again."""

    def _read_settings(self, names: tuple[str, ...], settings: ForkingGRPOConfig | None = None) -> dict[str, Any]:
        source = self.args if settings is None else settings
        # Not every version of TRL has every setting.
        return {name: make_plain(getattr(source, name)) for name in names if hasattr(source, name)}
