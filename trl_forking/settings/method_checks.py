"""The checks of [`ForkingGRPOConfig`], apart from its fields: they need neither torch nor TRL."""

import math
from typing import Any

from ..selection.rules import FACTS, explain_sequence_level, is_import_path
from ..selection.words import LOSS_NORMALIZERS, NORMALIZER_EXTENT, SELECTION_SCOPES
from .limits import check_choice, check_choices, check_numbers
from .mappings import check_mappings
from .method_fields import check_gradient_path, check_share, check_token_limit
from .pairs import check_pairs
from .plain import normalize_fields


def check_settings(settings: Any) -> None:
    """
    Make the settings of a run plain, and check them. What an import path names is not looked at.

    Args:
        settings ([`ForkingGRPOConfig`]):
            Settings of a run, or another object with all of its fields.

    Raises:
        `ValueError`: if a field has an unknown or impossible value, or a combination of fields is refused.

    Example:
    ```python
    >>> from trl_forking import ForkingGRPOConfig
    >>> check_settings(ForkingGRPOConfig("runs/example"))
    ```
    """
    normalize_fields(settings)
    _check_fields(settings)
    check_numbers(settings)
    check_choices(settings)
    check_mappings(settings)
    check_pairs(settings)
    if drops_tokens(settings):
        _refuse_gradient_through_dropped_tokens(settings)


def drops_tokens(settings: Any) -> bool:
    """
    Tell whether a rule chooses or weights tokens. If not, training is plain GRPO.

    Example:
    ```python
    >>> from trl_forking import ForkingGRPOConfig
    >>> drops_tokens(ForkingGRPOConfig("runs/example", top_entropy_quantile=1.0))
    False
    ```
    """
    rule = None if settings.token_rule else FACTS.get(settings.token_selection)
    if rule is None or not rule.uses_share:
        return True
    return bool(settings.top_entropy_quantile < 1.0 or (settings.top_entropy_quantile_end or 1.0) < 1.0)


def _check_fields(settings: Any) -> None:
    check_share("top_entropy_quantile", settings.top_entropy_quantile)
    if settings.top_entropy_quantile_end is not None:
        check_share("top_entropy_quantile_end", settings.top_entropy_quantile_end)
    _check_rule(settings)
    check_choice("selection_scope", settings.selection_scope, SELECTION_SCOPES)
    check_choice("loss_normalizer", settings.loss_normalizer, LOSS_NORMALIZERS)
    check_choice("loss_type", settings.loss_type, tuple(NORMALIZER_EXTENT))
    max_rounds = settings.dynamic_sampling_max_rounds
    if isinstance(max_rounds, bool) or not isinstance(max_rounds, int) or max_rounds < 1:
        raise ValueError(
            f"dynamic_sampling_max_rounds must be a whole number of at least 1, but it is {max_rounds!r}: set it to "
            "10, or dynamic_sampling=False for one round."
        )
    check_token_limit(settings)
    check_gradient_path(settings)
    for name in ("top_entropy_quantile", "top_entropy_quantile_end"):
        if settings.token_selection == "low_entropy" and not settings.token_rule and getattr(settings, name) == 1.0:
            raise ValueError(
                "token_selection='low_entropy' trains the tokens outside the top share, and with "
                f"{name}=1.0 there are none: set {name} below 1, such as 0.2."
            )
    if settings.log_entropy and not settings.log_completions:
        raise ValueError(
            "log_entropy=True writes beside the logged completions, but log_completions is False: set "
            "log_completions=True."
        )
    if settings.log_entropy and settings.selection_scope == "micro_batch" and drops_tokens(settings):
        raise ValueError(
            "log_entropy=True writes the kept flags when the answers are logged, but selection_scope='micro_batch' "
            "selects them later, at each forward pass: set selection_scope to 'batch' or 'sequence'."
        )


def _check_rule(settings: Any) -> None:
    if settings.token_rule is not None and not isinstance(settings.token_rule, str):
        raise ValueError(
            f"token_rule must be an import path in the settings, but it is {settings.token_rule!r}: set a text such as "
            "'my_rules.keep_verbs', or pass the function to ForkingGRPOTrainer(..., token_rule=...)."
        )
    if not is_import_path(settings.token_selection):
        check_choice("token_selection", settings.token_selection, tuple(FACTS))
    if settings.kl_tokens is not None:
        check_choice("kl_tokens", settings.kl_tokens, ("all", "selected", "dropped"))
    if settings.kl_tokens is not None and settings.beta == 0.0:
        raise ValueError(
            f"kl_tokens={settings.kl_tokens!r} chooses tokens for the KL term, but beta=0.0 has none: set beta, such as 0.001, "
            "or leave kl_tokens out."
        )
    if settings.kl_tokens in ("selected", "dropped") and not drops_tokens(settings):
        raise ValueError(
            f"kl_tokens={settings.kl_tokens!r} needs a selection, and with top_entropy_quantile=1.0 all tokens are kept: set "
            "kl_tokens to 'all', or top_entropy_quantile below 1."
        )


def _refuse_gradient_through_dropped_tokens(settings: Any) -> None:
    remedy = "to train all tokens with it, set top_entropy_quantile=1.0"
    rule = None if settings.token_rule else FACTS.get(settings.token_selection)
    if settings.importance_sampling_level == "sequence" and rule is not None and rule.weighs:
        raise ValueError(f"{explain_sequence_level(f'token_selection={settings.token_selection!r}')}.")
    if settings.beta != 0.0 and settings.kl_tokens is None:
        raise ValueError(
            f"beta={settings.beta} adds a KL term on every token, dropped ones too, and the paper has none: set "
            f"beta=0.0, or choose its tokens with kl_tokens ('all', 'selected' or 'dropped'), or, {remedy}."
        )
    if settings.entropy_coef != 0.0 or settings.use_adaptive_entropy:
        name = (
            "use_adaptive_entropy=True" if settings.use_adaptive_entropy else f"entropy_coef={settings.entropy_coef}"
        )
        raise ValueError(
            f"{name} adds an entropy bonus on every token, dropped ones too, and the paper has none: set "
            f"entropy_coef=0.0 and use_adaptive_entropy=False, or, {remedy}."
        )
    if settings.importance_sampling_level == "sequence" and settings.selection_scope == "micro_batch":
        raise ValueError(
            "importance_sampling_level='sequence' needs the kept tokens before the forward pass, and "
            "selection_scope='micro_batch' selects them after it: set selection_scope to 'batch' or 'sequence'."
        )


def explain_sizes(settings: Any) -> ValueError | None:
    """
    Name the sizes that would fit. TRL says only that these do not.

    Args:
        settings ([`ForkingGRPOConfig`]):
            Settings whose sizes are computed, or another object with their fields.

    Returns:
        `ValueError` or `None`: a message, `None` if the sizes fit.

    Example:
    ```python
    >>> from types import SimpleNamespace
    >>> sizes = {"per_device_train_batch_size": 8, "steps_per_generation": 1, "generation_batch_size": 8}
    >>> explain_sizes(SimpleNamespace(num_generations=3, world_size=1, **sizes))
    ValueError('num_generations=3 does not divide a rollout of 8 answers (per_device_train_batch_size=8 x 1 process(es) ...
    ```
    """
    size, total = settings.num_generations, settings.generation_batch_size
    micro_batch = settings.per_device_train_batch_size * settings.world_size
    if size == 1:
        return ValueError(
            "num_generations=1 is no group: GRPO compares the answers to a prompt, and requires at least 2 generations: "
            f"set num_generations to {_find_divisors(total or micro_batch, 2)}."
        )
    if total is not None and settings.steps_per_generation is None and total % micro_batch:
        lower = total // micro_batch * micro_batch
        near = f"{lower} or {lower + micro_batch}" if lower else str(micro_batch)
        return ValueError(
            f"generation_batch_size={total} is no multiple of the {micro_batch} answers of a micro-batch "
            f"(per_device_train_batch_size={settings.per_device_train_batch_size} x {settings.world_size} process(es)): set "
            f"generation_batch_size to {near}."
        )
    if total is not None and total % size:
        return ValueError(
            f"num_generations={size} does not divide a rollout of {total} answers (per_device_train_batch_size="
            f"{settings.per_device_train_batch_size} x {settings.world_size} process(es) x steps_per_generation="
            f"{settings.steps_per_generation}): set num_generations to {_find_divisors(total, size)}."
        )
    return _explain_evaluation_sizes(settings)


def _explain_evaluation_sizes(settings: Any) -> ValueError | None:
    size = settings.num_generations_eval or settings.num_generations
    answers = settings.per_device_eval_batch_size * settings.world_size
    if not settings.do_eval or settings.eval_strategy == "no" or answers % size == 0:
        return None
    name = "num_generations_eval" if settings.num_generations_eval else "num_generations"
    each = math.lcm(size, settings.world_size) // settings.world_size
    lower = settings.per_device_eval_batch_size // each * each
    return ValueError(
        f"per_device_eval_batch_size={settings.per_device_eval_batch_size} x {settings.world_size} process(es) is no multiple of "
        f"{name}={size}: set per_device_eval_batch_size to {f'{lower} or ' if lower else ''}{lower + each}."
    )


def _find_divisors(total: int, size: int) -> str:
    """Name the group sizes next to a size that divide a number of answers."""
    divisors = [number for number in range(2, total + 1) if total % number == 0]
    below, above = [n for n in divisors if n < size][-1:], [n for n in divisors if n >= size][:1]
    return " or ".join(map(str, below + above)) or "2, and per_device_train_batch_size to 2"
