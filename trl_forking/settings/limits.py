"""The numbers that settings can be: no NaN, nothing infinite or missing where a number is needed, nothing below its least."""

import dataclasses
import math
from typing import Any

from .plain import find_field_types


# A limit that is infinite does not limit, and TRL takes it so.
_MAY_BE_INFINITE = (
    *("max_grad_norm", "delta", "epsilon_high", "off_policy_mask_threshold", "entropy_coef_max"),
    *("vllm_importance_sampling_clip_max", "vllm_importance_sampling_cap", "vllm_server_timeout"),
)
# Fields that TRL types as optional. There is no group without its size, and lengths are checked before the first answer.
_NEVER_NONE = ("num_generations", "max_completion_length")
_LEAST = {
    **dict.fromkeys(
        (
            *("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"),
            *("num_generations", "num_generations_eval", "num_iterations", "steps_per_generation"),
            *("generation_batch_size", "max_completion_length", "vllm_tensor_parallel_size", "ref_model_sync_steps"),
        ),
        1,
    ),
    **dict.fromkeys(("learning_rate", "max_grad_norm", "warmup_steps", "dataloader_num_workers"), 0),
}
_ABOVE_ZERO = ("temperature", "repetition_penalty", "top_p")


def check_numbers(settings: Any) -> None:
    """
    Check that the numbers of a config are numbers, and in their range.

    Args:
        settings ([`ForkingGRPOConfig`]):
            Config whose fields are plain, see [`~trl_forking.settings.plain.normalize_fields`].

    Raises:
        `ValueError`: if a field that takes numbers only has another value, NaN, infinity or a number below its least.

    Example:
    ```python
    >>> from trl_forking import ForkingGRPOConfig
    >>> ForkingGRPOConfig("runs/example", learning_rate=float("nan"))
    Traceback (most recent call last):
        ...
    ValueError: learning_rate must be a finite number of at least 0, but it is nan: leave it out, or set it, ...
    ```
    """
    kind: type = type(settings)
    defaults = {entry.name: entry.default for entry in dataclasses.fields(settings)}
    for name, types in find_field_types(kind).items():
        if not types & {int, float} or types - {int, float, type(None)}:
            continue
        value, is_optional = getattr(settings, name), type(None) in types and name not in _NEVER_NONE
        if not (value is None and is_optional) and not _is_in_range(name, value, float in types):
            default = defaults[name]
            example = f", for example to {default}" if isinstance(default, (int, float)) else ""
            raise ValueError(
                f"{name} must be {_describe_range(name, float in types)}, but it is {value!r}: "
                f"{'leave it out, or set it' if is_optional or default is not None else 'set it'}{example}."
            )
    _check_list("reward_weights", settings.reward_weights)


def _is_in_range(name: str, value: Any, takes_fractions: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float) if takes_fractions else int):
        return False
    if math.isnan(value) or (math.isinf(value) and not (name in _MAY_BE_INFINITE and value > 0)):
        return False
    return value >= _LEAST.get(name, -math.inf) and (value > 0 or name not in _ABOVE_ZERO)


def _describe_range(name: str, takes_fractions: bool) -> str:
    kind = "a number" if name in _MAY_BE_INFINITE else "a finite number" if takes_fractions else "a whole number"
    if name in _ABOVE_ZERO:
        return f"{kind} above 0"
    return f"{kind} of at least {_LEAST[name]}" if name in _LEAST else kind


def _check_list(name: str, values: Any) -> None:
    for number, value in enumerate(values or []):
        if not _is_in_range(name, value, takes_fractions=True):
            raise ValueError(
                f"{name} must be finite numbers, but number {number} is {value!r}: set one for each reward."
            )
