"""The arms of the grid: what is trained, apart from the seed. A new selection is one line here."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Arm:
    """
    An arm of the grid.

    Attributes:
        title (`str`): name for people.
        num_seeds (`int`): the seeds are 0 to `num_seeds - 1`.
        settings (`dict`): fields of `ForkingGRPOConfig` that differ from the common settings of the grid.
    """

    title: str
    num_seeds: int
    settings: dict[str, Any] = field(default_factory=dict)


# Four micro-batches of 32 answers, for the scope that has a threshold for each micro-batch.
FOUR_MICRO_BATCHES = {"per_device_train_batch_size": 32, "gradient_accumulation_steps": 4}

ARMS = {
    # A: the four arms of the headline.
    "all_tokens": Arm("all tokens (GRPO)", 10, {"top_entropy_quantile": 1.0}),
    "top_20": Arm("top 20 %", 10),
    "random_20": Arm("random 20 %", 5, {"token_selection": "random"}),
    "lowest_80": Arm("lowest 80 %", 5, {"token_selection": "low_entropy"}),
    # B: the share, and each setting of the selection.
    "top_5": Arm("top 5 %", 5, {"top_entropy_quantile": 0.05}),
    "top_10": Arm("top 10 %", 5, {"top_entropy_quantile": 0.1}),
    "top_50": Arm("top 50 %", 5, {"top_entropy_quantile": 0.5}),
    "divided_by_all": Arm("loss divided by all tokens", 5, {"loss_normalizer": "all"}),
    "divided_by_all_5x": Arm(
        "loss divided by all tokens, learning rate x 5", 5, {"loss_normalizer": "all", "learning_rate": 15e-4}
    ),
    "scope_sequence": Arm("a threshold for each answer", 5, {"selection_scope": "sequence"}),
    "scope_micro_batch": Arm(
        "a threshold for each of 4 micro-batches", 5, {"selection_scope": "micro_batch", **FOUR_MICRO_BATCHES}
    ),
    "zero_variance_counted": Arm("zero-variance groups counted", 5, {"count_zero_advantage": True}),
    "dynamic_sampling": Arm("dynamic sampling", 5, {"dynamic_sampling": True}),
    # C: the learning rate, because the divisor of the loss changes the size of a step too.
    "all_tokens_1e-4": Arm("all tokens, learning rate 1e-4", 3, {"top_entropy_quantile": 1.0, "learning_rate": 1e-4}),
    "all_tokens_6e-4": Arm("all tokens, learning rate 6e-4", 3, {"top_entropy_quantile": 1.0, "learning_rate": 6e-4}),
    "top_20_1e-4": Arm("top 20 %, learning rate 1e-4", 3, {"learning_rate": 1e-4}),
    "top_20_6e-4": Arm("top 20 %, learning rate 6e-4", 3, {"learning_rate": 6e-4}),
    # D: every selection that comes later. Five seeds each.
    "random_unbiased": Arm("random 20 %, weighted to be unbiased", 5, {"token_selection": "random_unbiased"}),
    "random_prefix_50": Arm(
        "answers up to a random cut, 50 %", 5, {"token_selection": "random_prefix", "top_entropy_quantile": 0.5}
    ),
    "random_prefix_forks": Arm("forks up to a random cut", 5, {"token_selection": "random_prefix_forks"}),
    "gradient_norm": Arm("top 20 % by gradient norm", 5, {"token_selection": "gradient_norm"}),
    "advantage_entropy": Arm("top 20 % by advantage times entropy", 5, {"token_selection": "advantage_entropy"}),
    "covariance": Arm("without tokens of high covariance", 5, {"token_selection": "covariance"}),
    "surprisal_band": Arm("a band of relative surprise", 5, {"token_selection": "surprisal_band"}),
    "rare_token_veto": Arm("without rare tokens at certain places", 5, {"token_selection": "rare_token_veto"}),
    "entropy_weights": Arm("weights and clip ranges by entropy", 5, {"token_selection": "entropy_weights"}),
    "entropy_clip": Arm("clip ranges by entropy", 5, {"token_selection": "entropy_clip"}),
    "schedule_20_to_100": Arm("top 20 %, growing to all tokens", 5, {"top_entropy_quantile_end": 1.0}),
    # E: the gradient of the top 20 % through forks alone.
    "forks": Arm("top 20 %, gradient through forks", 10, {"gradient_path": "forks"}),
    "forks_window_1": Arm(
        "top 20 %, gradient through forks, window 1", 10, {"gradient_path": "forks", "gradient_path_window": 1}
    ),
    "forks_window_4": Arm(
        "top 20 %, gradient through forks, window 4", 10, {"gradient_path": "forks", "gradient_path_window": 4}
    ),
}
HEADLINE = ("all_tokens", "top_20", "random_20", "lowest_80")
