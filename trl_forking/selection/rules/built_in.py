"""The built-in rules by name, and how a rule is found: by its name, by an import path, or as a function."""

import difflib
import importlib
from typing import Any

from .adaptive import entropy_clip, entropy_weights
from .advantage import advantage_entropy, gradient_norm
from .entropy import high_entropy, low_entropy, random
from .facts import FACTS, check_rule_module, check_rule_name
from .filters import covariance, rare_token_veto, surprisal_band
from .rule import Rule, RuleFunction
from .unbiased import random_prefix, random_prefix_forks, random_unbiased


_FUNCTIONS: tuple[RuleFunction, ...] = (
    high_entropy,
    low_entropy,
    random,
    random_unbiased,
    random_prefix,
    random_prefix_forks,
    gradient_norm,
    advantage_entropy,
    covariance,
    surprisal_band,
    rare_token_veto,
    entropy_weights,
    entropy_clip,
)


def name_function(function: RuleFunction) -> str:
    """
    Return where a user's rule stands, which is its name in records.

    Example:
    ```python
    >>> name_function(high_entropy)
    'trl_forking.selection.rules.entropy.high_entropy'
    ```
    """
    kind = type(function)
    name = getattr(function, "__qualname__", kind.__qualname__)
    return f"{getattr(function, '__module__', kind.__module__)}.{name}"


def _add_facts(function: RuleFunction) -> Rule:
    name = name_function(function).rpartition(".")[2]
    return Rule(name, function, tuple(getattr(function, "needs", ())), FACTS[name])


RULES: dict[str, Rule] = {rule.name: rule for rule in map(_add_facts, _FUNCTIONS)}
"""The built-in rules by name."""


def find_rule(rule: str | RuleFunction) -> Rule:
    """
    Find a rule.

    Args:
        rule (`str` or `Callable`):
            Name of a built-in rule, import path of a function, or a function.

    Returns:
        [`Rule`]

    Raises:
        `ValueError`: if there is no such rule; the message names the nearest one, or what cannot be imported.

    Example:
    ```python
    >>> find_rule("gradient_norm").needs
    ('log_prob', 'sum_sq_probs')
    >>> find_rule("gradient_nrom")
    Traceback (most recent call last):
        ...
    ValueError: 'gradient_nrom' is not a rule: did you mean 'gradient_norm'?
    ```
    """
    if not isinstance(rule, str):
        return _wrap(rule)
    if rule in RULES:
        return RULES[rule]
    check_rule_name(rule)
    return _wrap(_import(rule))


def _wrap(function: Any) -> Rule:
    if not callable(function):
        raise ValueError(
            f"A token rule must be a function that takes TokenStats and returns a TokenPlan, but it is {function!r}."
        )
    built_in = next((rule for rule in RULES.values() if rule.function is function), None)
    return built_in or Rule(name_function(function), function, tuple(getattr(function, "needs", ())))


def _import(path: str) -> Any:
    check_rule_module(path)
    module_name, _, name = path.replace(":", ".").rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever a user's module raises
        raise ValueError(
            f"The token rule {path!r} cannot be imported ({type(error).__name__}: {error}): set the import path of a function, "
            "such as my_rules.keep_verbs, and start where Python finds the module."
        ) from None
    if not hasattr(module, name):
        close = difflib.get_close_matches(name, dir(module), n=1)
        hint = f"did you mean {close[0]!r}?" if close else "set the name of a function in it."
        raise ValueError(f"The token rule {path!r} cannot be imported, because {module_name} has no {name!r}: {hint}")
    return getattr(module, name)
