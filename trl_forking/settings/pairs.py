"""Fields of TRL and Transformers that do not go together, refused before TRL is imported and with what to change."""

from typing import Any


def check_pairs(settings: Any) -> None:
    """
    Check fields whose values are possible alone and not together.

    TRL and Transformers refuse them too, once their configs are imported, which takes seconds. The rules here are theirs.

    Args:
        settings ([`ForkingGRPOConfig`]):
            Settings of a run, or another object with all of its fields.

    Raises:
        `ValueError`: if two fields do not go together. The message says which one to change.

    Example:
    ```python
    >>> from trl_forking import ForkingGRPOConfig
    >>> ForkingGRPOConfig("runs/example", fp16=True, bf16=True, use_cpu=True)
    Traceback (most recent call last):
        ...
    ValueError: fp16=True and bf16=True exclude each other: set one of them to False.
    ```
    """
    _check_precision(settings)
    _check_evaluation(settings)
    _check_best_model(settings)
    _check_logging(settings)
    _check_data_loading(settings)
    _check_vllm_ratios(settings)


def check_rollout_sizes(settings: Any) -> None:
    """
    Check that only one of the two fields is set that say how large a rollout is. TRL computes the other one.

    Args:
        settings ([`ForkingGRPOConfig`]):
            Settings as they were given, or another object with both fields.

    Raises:
        `ValueError`: if both are set.

    Example:
    ```python
    >>> from trl_forking import ForkingGRPOConfig
    >>> ForkingGRPOConfig("runs/example", generation_batch_size=8, steps_per_generation=2)
    Traceback (most recent call last):
        ...
    ValueError: generation_batch_size=8 and steps_per_generation=2 both say how large a rollout is: leave one of them out.
    ```
    """
    total, steps = settings.generation_batch_size, settings.steps_per_generation
    if total is not None and steps is not None:
        raise ValueError(
            f"generation_batch_size={total} and steps_per_generation={steps} both say how large a rollout is: leave one of "
            "them out."
        )


def _check_precision(settings: Any) -> None:
    for first, second in (("fp16", "bf16"), ("fp16_full_eval", "bf16_full_eval")):
        if getattr(settings, first) and getattr(settings, second):
            raise ValueError(f"{first}=True and {second}=True exclude each other: set one of them to False.")


def _check_evaluation(settings: Any) -> None:
    strategy = _get_word(settings.eval_strategy)
    schedule = _get_word(settings.lr_scheduler_type)
    if schedule in ("reduce_lr_on_plateau", "greedy") and strategy == "no":
        raise ValueError(
            f"lr_scheduler_type={schedule!r} follows the evaluations, and eval_strategy='no' makes none: set eval_strategy to "
            "'steps' or 'epoch', or take another schedule, such as 'constant'."
        )
    if strategy == "steps" and not settings.eval_steps and not settings.logging_steps:
        raise ValueError(
            "eval_strategy='steps' needs a number of steps, and eval_steps and logging_steps have none: set eval_steps, "
            "such as 50."
        )


def _check_best_model(settings: Any) -> None:
    save, evaluation = _get_word(settings.save_strategy), _get_word(settings.eval_strategy)
    if save == "best" and settings.metric_for_best_model is None and not settings.load_best_model_at_end:
        raise ValueError(
            "save_strategy='best' needs a metric that says what is best, and metric_for_best_model is not set: set it, such "
            "as to 'eval_reward'."
        )
    if not settings.load_best_model_at_end or save == "best":
        return
    if save != evaluation:
        raise ValueError(
            f"load_best_model_at_end=True needs an evaluation at every save, but eval_strategy is {evaluation!r} and "
            f"save_strategy is {save!r}: set both to 'steps' or both to 'epoch'."
        )
    every = settings.eval_steps or settings.logging_steps
    if save == "steps" and every >= 1 and settings.save_steps >= 1 and settings.save_steps % every:
        raise ValueError(
            f"load_best_model_at_end=True needs an evaluation at every save, but save_steps={settings.save_steps:g} is no "
            f"multiple of eval_steps={every:g}: set save_steps to a multiple of it."
        )


def _check_logging(settings: Any) -> None:
    if settings.log_completions_hub_repo is not None and not settings.log_completions:
        raise ValueError(
            "log_completions_hub_repo is set, but log_completions is False: set log_completions=True, or leave "
            "log_completions_hub_repo out."
        )


def _check_data_loading(settings: Any) -> None:
    if settings.auto_find_batch_size:
        raise ValueError(
            "auto_find_batch_size=True would cut groups of answers in two: leave it out, and lower "
            "per_device_train_batch_size where memory is short."
        )
    if settings.dataloader_prefetch_factor is not None and settings.dataloader_num_workers == 0:
        raise ValueError(
            f"dataloader_prefetch_factor={settings.dataloader_prefetch_factor} needs processes that load data, and "
            "dataloader_num_workers=0 has none: leave it out, or set dataloader_num_workers."
        )


def _check_vllm_ratios(settings: Any) -> None:
    lowest, highest = settings.vllm_importance_sampling_clip_min, settings.vllm_importance_sampling_clip_max
    if lowest is not None and highest is not None and lowest >= highest:
        raise ValueError(
            f"vllm_importance_sampling_clip_min={lowest} must be below vllm_importance_sampling_clip_max={highest}: lower the "
            "first, or raise the second."
        )


def _get_word(value: Any) -> str:
    """Get the text of a word that may be an enumeration's."""
    return str(getattr(value, "value", value))
