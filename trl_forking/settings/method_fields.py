"""Checks of fields of the method that need more than a range."""

import numbers
from typing import Any

from .limits import check_choice


GRADIENT_PATHS = ("full", "forks")


def check_share(name: str, share: Any) -> None:
    """
    Check that a share of tokens is in (0, 1].

    Args:
        name (`str`):
            Name of the setting.
        share (`Any`):
            Its value.

    Raises:
        `ValueError`: if it is not; the message has the share that was probably meant.

    Example:
    ```python
    >>> check_share("top_entropy_quantile", 20)
    Traceback (most recent call last):
        ...
    ValueError: top_entropy_quantile must be a number in (0, 1], but it is 20: set the share of tokens to train, such as 0.2 for 20 %.
    ```
    """
    if isinstance(share, bool) or not isinstance(share, numbers.Real) or not 0.0 < float(share) <= 1.0:
        raise ValueError(
            f"{name} must be a number in (0, 1], but it is {share!r}: set the share of tokens to train{_suggest_share(share)}."
        )


def _suggest_share(value: Any) -> str:
    if not isinstance(value, numbers.Real) or isinstance(value, bool) or not 1.0 < float(value) <= 100.0:
        return ", such as 0.2"
    if float(value) < 1.01:  # hardly 1 %: one minus or times one with an error
        return ", such as 1.0 for all tokens"
    return f", such as {value / 100:g} for {value:g} %"


def check_token_limit(settings: Any) -> None:
    """
    Check `max_tokens_per_micro_batch`.

    Args:
        settings ([`ForkingGRPOConfig`]):
            Settings of a run.

    Raises:
        `ValueError`: if the limit is no whole number, or an answer of full length does not fit.
    """
    limit = settings.max_tokens_per_micro_batch
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise ValueError(
            f"max_tokens_per_micro_batch must be a whole number of at least 1, but it is {limit!r}: set the most tokens "
            "that fit into memory, such as 32768, or leave it out."
        )
    if limit is not None and limit <= settings.max_completion_length:
        raise ValueError(
            f"max_tokens_per_micro_batch={limit} is too small for one prompt with an answer of max_completion_length="
            f"{settings.max_completion_length} tokens: raise it, or lower max_completion_length."
        )


def check_gradient_path(settings: Any) -> None:
    """
    Check `gradient_path` and `gradient_path_window`, and what goes with them.

    Args:
        settings ([`ForkingGRPOConfig`]):
            Settings of a run.

    Raises:
        `ValueError`: if a value is wrong, or another setting needs the tokens that this path does not compute.
    """
    check_choice("gradient_path", settings.gradient_path, GRADIENT_PATHS)
    window = settings.gradient_path_window
    if isinstance(window, bool) or not isinstance(window, int) or window < 0:
        raise ValueError(
            f"gradient_path_window must be a whole number of at least 0, but it is {window!r}: set the number of "
            "positions before each fork that carry gradient too."
        )
    if settings.gradient_path == "full":
        if window:
            raise ValueError(
                f"gradient_path_window={window} is about gradient_path='forks', but gradient_path is 'full': set "
                "gradient_path='forks', or leave gradient_path_window out."
            )
        return
    reason = None
    if not settings.sparse_update:
        reason = "sparse_update=False computes all tokens"
    elif settings.loss_type == "vespo":
        reason = "loss_type='vespo' weights an answer by the ratios of all its tokens"
    elif settings.off_policy_mask_threshold is not None and settings.importance_sampling_level != "sequence":
        reason = "off_policy_mask_threshold compares the log-probabilities of all tokens of an answer"
    elif settings.kl_tokens in ("all", "dropped"):
        reason = f"kl_tokens={settings.kl_tokens!r} compares dropped ones with the reference model"
    if reason is not None:
        raise ValueError(
            f"gradient_path='forks' computes kept tokens only, and {reason}: set gradient_path='full', or change that "
            "setting."
        )
