"""The values that settings can have: no NaN, nothing missing where a number is needed, nothing outside of its range."""

import dataclasses
import difflib
import importlib
import math
from collections.abc import Sequence
from enum import Enum
from typing import Any, NamedTuple

from .plain import find_field_types
from .source import Unreadable, read_words


class Range(NamedTuple):
    """
    The numbers that a field can have.

    Attributes:
        least (`float`, *optional*, defaults to minus infinity): lowest number.
        most (`float`, *optional*, defaults to infinity): highest number.
        without_least (`bool`, *optional*, defaults to `False`): whether the number has to be above `least`.
        without_most (`bool`, *optional*, defaults to `False`): whether the number has to be below `most`.
        is_share_or_count (`bool`, *optional*, defaults to `False`): whether numbers above 1 have to be whole.

    Example:
    ```python
    >>> top_p = Range(0, 1, without_least=True)
    >>> top_p.describe("a finite number"), 0.0 in top_p, 1.0 in top_p
    ('a finite number above 0 and at most 1', False, True)
    ```
    """

    least: float = -math.inf
    most: float = math.inf
    without_least: bool = False
    without_most: bool = False
    is_share_or_count: bool = False

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, (int, float)):
            return False
        is_above = value > self.least if self.without_least else value >= self.least
        is_below = value < self.most if self.without_most else value <= self.most
        return is_above and is_below and not (self.is_share_or_count and value > 1 and value != int(value))

    def describe(self, kind: str) -> str:
        """Describe the numbers: a kind of number and its limits."""
        if self.is_share_or_count:
            first = "0, " if self.least == 0 and not self.without_least else ""
            return f"{first}a share between 0 and 1, or a whole number of steps"
        least = "" if math.isinf(self.least) else f"{'above' if self.without_least else 'of at least'} {self.least:g}"
        most = "" if math.isinf(self.most) else f"{'below' if self.without_most else 'at most'} {self.most:g}"
        if most and self.most > 1_000_000:
            most = f"at most {self.most}"
        limits = " and ".join(filter(None, [least, most]))
        return f"{kind} {limits}" if limits else kind


_ONE_OR_MORE, _ZERO_OR_MORE, _ABOVE_ZERO = Range(1), Range(0), Range(0, without_least=True)
_SHARE, _PORT = Range(0, 1), Range(1, 65_535)
_SEED = Range(0, 2**32 - 1)  # NumPy takes no other
_RANGES: dict[str, Range] = {
    **dict.fromkeys(
        (
            *("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"),
            *("num_generations", "num_generations_eval", "num_iterations", "steps_per_generation"),
            *("generation_batch_size", "pad_to_multiple_of"),
            *("max_completion_length", "vllm_tensor_parallel_size", "vllm_max_model_length", "ref_model_sync_steps"),
            *("torch_empty_cache_steps", "eval_accumulation_steps", "dataloader_prefetch_factor"),
            *("ddp_bucket_cap_mb", "ddp_timeout"),
        ),
        _ONE_OR_MORE,
    ),
    **dict.fromkeys(
        (
            *("learning_rate", "max_grad_norm", "weight_decay", "adam_epsilon", "beta", "epsilon"),
            *("epsilon_high", "neftune_noise_alpha", "eval_delay", "save_total_limit", "dataloader_num_workers"),
            *(
                "router_aux_loss_coef",
                "top_k",
                "vllm_server_timeout",
                "vespo_k_pos",
                "vespo_lambda_pos",
                "vespo_k_neg",
            ),
            *("vespo_lambda_neg", "entropy_coef_delta", "entropy_target", "max_tool_calling_iterations"),
            *("vllm_importance_sampling_clip_max", "vllm_importance_sampling_clip_min", "off_policy_mask_threshold"),
            *("vllm_importance_sampling_cap", "num_completions_to_print"),
        ),
        _ZERO_OR_MORE,
    ),
    **dict.fromkeys(
        (
            *("temperature", "repetition_penalty", "num_train_epochs", "delta", "sapo_temperature_neg"),
            "sapo_temperature_pos",
        ),
        _ABOVE_ZERO,
    ),
    **dict.fromkeys(("label_smoothing_factor", "min_p", "ref_model_mixup_alpha"), _SHARE),
    **dict.fromkeys(("adam_beta1", "adam_beta2"), Range(0, 1, without_most=True)),
    **dict.fromkeys(("top_p", "vllm_gpu_memory_utilization"), Range(0, 1, without_least=True)),
    **dict.fromkeys(("seed", "data_seed"), _SEED),
    **dict.fromkeys(("vllm_server_port", "vllm_group_port"), _PORT),
    **dict.fromkeys(("eval_steps", "save_steps", "warmup_steps"), Range(0, is_share_or_count=True)),
    "logging_steps": Range(0, without_least=True, is_share_or_count=True),
    "max_steps": Range(-1),
    "local_rank": Range(-1),
}
# Fields of the other dataclasses of the command line.
_RANGES |= {
    **dict.fromkeys(
        (
            *("lora_r", "lora_alpha", "num_prompts", "num_problems", "batch_size", "shard_size", "min_count"),
            *("max_answers", "num_processes", "num_machines", "max_prompt_length", "eval_num_problems"),
        ),
        _ONE_OR_MORE,
    ),
    **dict.fromkeys(("top_alternatives", "machine_rank", "soft_overlong_cache", "report_forks_every"), _ZERO_OR_MORE),
    "main_process_port": _PORT,
    "lora_dropout": Range(0, 1, without_most=True),
}
# A limit that is infinite does not limit, and TRL takes it so.
_MAY_BE_INFINITE = (
    *("max_grad_norm", "delta", "epsilon_high", "off_policy_mask_threshold", "entropy_coef_max"),
    *("vllm_importance_sampling_clip_max", "vllm_importance_sampling_cap", "vllm_server_timeout"),
)
# Fields that TRL types as optional. There is no group without its size, and lengths are checked before the first answer.
_NEVER_NONE = ("num_generations", "max_completion_length")
CHOICES: dict[str, tuple[str, ...]] = {
    "vllm_mode": ("colocate", "server"),
    "vllm_model_impl": ("vllm", "transformers"),
    "scale_rewards": ("group", "batch", "none"),
    "multi_objective_aggregation": ("sum_then_normalize", "normalize_then_sum"),
    "vllm_importance_sampling_mode": ("sequence_mask", "sequence_truncate", "token_mask", "token_truncate"),
    "importance_sampling_level": ("token", "sequence"),
    "include_num_input_tokens_seen": ("no", "all", "non_padding"),
    "torch_compile_mode": ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"),
    "log_level": ("passive", "debug", "detail", "info", "warning", "error", "critical"),
    "log_level_replica": ("warning", "debug", "detail", "info", "error", "critical", "passive"),
}
"""Words of the fields that TRL and Transformers read only in training, or check without their name."""
FSDP_WORDS = ("full_shard", "shard_grad_op", "no_shard", "hybrid_shard", "hybrid_shard_zero2", "offload", "auto_wrap")
_TRACKERS = ("transformers.integrations.integration_utils", "INTEGRATION_TO_CALLBACK")
_CACHES = ("transformers.generation.configuration_utils", "ALL_CACHE_IMPLEMENTATIONS")


def check_numbers(settings: Any) -> None:
    """
    Check that the numbers of a config are numbers, and in their range.

    Args:
        settings (`Any`):
            Config whose fields are plain, see [`~trl_forking.settings.plain.normalize_fields`], or another dataclass.

    Raises:
        `ValueError`: if a field that takes numbers only has another value, NaN, infinity or a number outside of its range.

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
        is_needed = name in _NEVER_NONE and defaults[name] is not None
        value, is_optional = getattr(settings, name), type(None) in types and not is_needed
        if not (value is None and is_optional) and not _is_in_range(name, value, float in types):
            default = defaults[name]
            example = f", for example to {default}" if isinstance(default, (int, float)) else ""
            raise ValueError(
                f"{name} must be {_describe_range(name, float in types)}, but it is {value!r}: "
                f"{'leave it out, or set it' if is_optional or default is not None else 'set it'}{example}."
            )
    _check_list("reward_weights", getattr(settings, "reward_weights", None))
    _check_padding(getattr(settings, "pad_to_multiple_of", None))
    lowest, highest = (getattr(settings, f"entropy_coef_{end}", 0.0) for end in ("min", "max"))
    if lowest > highest:
        raise ValueError(
            f"entropy_coef_min={lowest} is above entropy_coef_max={highest}: set it to at most {highest}."
        )


def _is_in_range(name: str, value: Any, takes_fractions: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float) if takes_fractions else int):
        return False
    if math.isnan(value) or (math.isinf(value) and not (name in _MAY_BE_INFINITE and value > 0)):
        return False
    return value in _RANGES.get(name, Range())


def _describe_range(name: str, takes_fractions: bool) -> str:
    kind = "a number" if name in _MAY_BE_INFINITE else "a finite number" if takes_fractions else "a whole number"
    if name == "max_steps":
        return f"{_RANGES[name].describe(kind)} (-1 leaves the length to num_train_epochs)"
    return _RANGES.get(name, Range()).describe(kind)


def _check_padding(size: Any) -> None:
    """Check the one field that takes a number or a word."""
    number = int(size) if isinstance(size, str) and size.isdecimal() else size
    if number not in (None, "auto") and not _is_in_range("pad_to_multiple_of", number, takes_fractions=False):
        raise ValueError(
            f"pad_to_multiple_of must be a whole number of at least 1, or auto, but it is {size!r}: leave it out, or set "
            "it, for example to 8."
        )


def _check_list(name: str, values: Any) -> None:
    for number, value in enumerate(values or []):
        if not _is_in_range(name, value, takes_fractions=True):
            raise ValueError(
                f"{name} must be finite numbers, but number {number} is {value!r}: set one for each reward."
            )


def check_choices(settings: Any) -> None:
    """
    Check that the words of a config are among those that TRL and Transformers know.

    Args:
        settings ([`ForkingGRPOConfig`]):
            Config whose fields are plain.

    Raises:
        `ValueError`: if a field has another word; the message names the nearest one.

    Example:
    ```python
    >>> from trl_forking import ForkingGRPOConfig
    >>> ForkingGRPOConfig("runs/example", lr_scheduler_type="cosin")
    Traceback (most recent call last):
        ...
    ValueError: lr_scheduler_type='cosin' is not one of 'linear', 'cosine', ...: did you mean 'cosine'?
    ```
    """
    kind: type = type(settings)
    metadata = {entry.name: entry.metadata for entry in dataclasses.fields(settings)}
    for name, types in find_field_types(kind).items():
        value, enums = getattr(settings, name, None), [kind for kind in types if issubclass(kind, Enum)]
        if isinstance(value, Enum) or value is None or isinstance(value, bool):
            continue
        if name == "report_to":
            _check_trackers(value)
        elif enums:
            check_choice(name, value, [str(member.value) for member in enums[0]])
        elif name == "cache_implementation":
            _check_cache(value)
        elif name == "fsdp":
            _check_fsdp(value)
        elif name in CHOICES:
            check_choice(name, value, CHOICES[name])
        elif "choices" in metadata[name]:
            check_choice(name, value, tuple(metadata[name]["choices"]))


def _check_trackers(value: Any) -> None:
    for name in [value] if isinstance(value, str) else value:
        if name not in ("none", "all"):
            check_choice("report_to", name, ["none", "all", *_list_words(*_TRACKERS)])


def _check_cache(value: Any) -> None:
    check_choice("cache_implementation", value, [*_list_words(*_CACHES), "paged"])


def _check_fsdp(value: Any) -> None:
    for word in value.split() if isinstance(value, str) else value:
        check_choice("fsdp", word, FSDP_WORDS)


def _list_words(module: str, name: str) -> list[str]:
    """List the words of a constant of Transformers, whose import takes seconds."""
    try:
        return read_words(module, name)
    except Unreadable:
        return list(getattr(importlib.import_module(module), name))


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """
    Check that the value of a field is one of its words.

    Args:
        name (`str`):
            The field.
        value (`Any`):
            Its value.
        choices (`Sequence[str]`):
            The words that it can have.

    Raises:
        `ValueError`: if it is none of them; the message names the nearest one.

    Example:
    ```python
    >>> check_choice("vllm_mode", "serve", ("colocate", "server"))
    Traceback (most recent call last):
        ...
    ValueError: vllm_mode='serve' is not one of 'colocate', 'server': did you mean 'server'?
    ```
    """
    if value in choices:
        return
    close = difflib.get_close_matches(str(value), choices, n=1, cutoff=0.4)
    hint = f"did you mean {close[0]!r}?" if close else "set one of these."
    raise ValueError(f"{name}={value!r} is not one of {', '.join(map(repr, choices))}: {hint}")
