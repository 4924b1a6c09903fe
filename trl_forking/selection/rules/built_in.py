"""The built-in rules by name, and how a rule is found: by its name, by an import path, or as a function."""

import difflib
import importlib
from typing import Any

from .adaptive import entropy_clip, entropy_weights
from .advantage import advantage_entropy, gradient_norm
from .entropy import high_entropy, low_entropy, random
from .filters import covariance, rare_token_veto, surprisal_band
from .papers import ARCHER, BEYOND_80_20, CLIP_COV, D3S, GMTS, HAPO, NAT, RSI, STAPO
from .rule import Rule, RuleFunction
from .unbiased import random_prefix, random_prefix_forks, random_unbiased


_LOG_PROB = "log-probabilities"
_SQUARES = "log-probabilities and sums of squared probabilities"

RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule(
            "high_entropy",
            high_entropy,
            uses_share=True,
            selects="the top share by entropy: forks",
            equation=r"H_t \ge \tau_\rho",
            paper=BEYOND_80_20,
        ),
        Rule(
            "low_entropy",
            low_entropy,
            uses_share=True,
            selects="all tokens but the forks (a control)",
            equation=r"H_t < \tau_\rho",
            paper=BEYOND_80_20,
        ),
        Rule(
            "random",
            random,
            uses_share=True,
            selects="a random share, not weighted (a control)",
            equation=r"t \in S,\ |S| = \lceil \rho N \rceil",
        ),
        Rule(
            "random_unbiased",
            random_unbiased,
            uses_share=True,
            weighs=True,
            selects="a random share, weighted to be unbiased",
            equation=r"t \in S,\ w_t = N / \lceil \rho N \rceil",
            paper=NAT,
        ),
        Rule(
            "random_prefix",
            random_prefix,
            uses_share=True,
            weighs=True,
            selects="each answer up to a random cut, weighted to be unbiased",
            equation=r"t \le L,\ w_t = 1 / P(L \ge t),\ L = \lceil n\, U^{(1 - \rho) / \rho} \rceil",
            paper=NAT,
            cost="less: nothing behind a cut is computed",
        ),
        Rule(
            "random_prefix_forks",
            random_prefix_forks,
            weighs=True,
            selects="the forks up to a random cut, weighted to be unbiased for the forks",
            equation=r"H_t \ge \tau_\rho,\ t \le L,\ w_t = 1 / P(L \ge t)",
            paper=NAT,
            cost="less: nothing behind a cut is computed",
        ),
        Rule(
            "gradient_norm",
            gradient_norm,
            gradient_norm.needs,  # type: ignore[attr-defined]
            uses_share=True,
            selects="the top share by the gradient's norm at the logits",
            equation=r"|A| \sqrt{1 - 2 p(y_t) + \sum_v p_v^2}",
            paper=GMTS,
            cost=_SQUARES,
        ),
        Rule(
            "advantage_entropy",
            advantage_entropy,
            uses_share=True,
            selects="the top share by entropy times size of the advantage",
            equation=r"|A|\, H_t",
            paper=D3S,
        ),
        Rule(
            "covariance",
            covariance,
            covariance.needs,  # type: ignore[attr-defined]
            selects="all but a few tokens that would lower the entropy most",
            equation=r"1 < (A_t - \bar{A})(\log p(y_t) - \overline{\log p}) < 5 \text{ (dropped)}",
            paper=CLIP_COV,
            cost=_LOG_PROB,
        ),
        Rule(
            "surprisal_band",
            surprisal_band,
            surprisal_band.needs,  # type: ignore[attr-defined]
            selects="tokens neither expected nor extremely surprising",
            equation=r"0.1 \le -\log p(y_t) / H_t \le 3",
            paper=RSI,
            cost=_LOG_PROB,
        ),
        Rule(
            "rare_token_veto",
            rare_token_veto,
            rare_token_veto.needs,  # type: ignore[attr-defined]
            selects="all but rare tokens at certain places of right answers",
            equation=r"A > 0,\ p(y_t) < 0.01,\ H_t < \tau_h \text{ (dropped)}",
            paper=STAPO,
            cost=_LOG_PROB,
        ),
        Rule(
            "entropy_weights",
            entropy_weights,
            weighs=True,
            selects="all tokens, certain ones weighted less; clip ranges by entropy",
            equation=r"w_t = 1 + \min(h_t, 0)",
            paper=HAPO,
        ),
        Rule(
            "entropy_clip",
            entropy_clip,
            weighs=True,
            selects="all tokens; the top share of each answer has a wide clip range",
            equation=r"\varepsilon_t = 0.5 \text{ if } H_t \ge \tau_\rho \text{ else } 0.2",
            paper=ARCHER,
        ),
    )
}
"""The built-in rules by name."""


def is_import_path(name: object) -> bool:
    """
    Tell whether a name is meant as the import path of a rule: `module.function` or `module:function`.

    Example:
    ```python
    >>> is_import_path("my_rules.keep_verbs"), is_import_path("high_entropy")
    (True, False)
    ```
    """
    return isinstance(name, str) and ("." in name or ":" in name)


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
    if is_import_path(rule):
        return _wrap(_import(rule))
    close = difflib.get_close_matches(rule, RULES, n=1, cutoff=0.4)
    hint = f"did you mean {close[0]!r}?" if close else f"set one of {', '.join(RULES)}, or an import path."
    raise ValueError(f"{rule!r} is not a rule: {hint}")


def _wrap(function: Any) -> Rule:
    if not callable(function):
        raise ValueError(
            f"A token rule must be a function that takes TokenStats and returns a TokenPlan, but it is {function!r}."
        )
    built_in = next((rule for rule in RULES.values() if rule.function is function), None)
    return built_in or Rule(name_function(function), function, tuple(getattr(function, "needs", ())))


def _import(path: str) -> Any:
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
