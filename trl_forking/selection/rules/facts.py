"""
What is known of the built-in rules, apart from their functions.

This module imports neither torch nor a rule: a command that answers a mistyped name should not take seconds.
"""

import difflib
import sys
from importlib.util import find_spec
from typing import NamedTuple

from .papers import ARCHER, BEYOND_80_20, CLIP_COV, D3S, GMTS, HAPO, NAT, RSI, STAPO, Paper


class RuleFacts(NamedTuple):
    """
    What is known of a rule, apart from its function.

    Attributes:
        uses_share (`bool`): whether it keeps `top_entropy_quantile` of the tokens, so that 1.0 is plain GRPO.
        weighs (`bool`): whether it weights tokens, or gives them clip ranges.
        selects (`str`): what it selects, in a few words.
        equation (`str`): the same as a formula, in LaTeX.
        paper ([`Paper`], *optional*): where it comes from.
        cost (`str`): what it computes that `high_entropy` does not.

    Example:
    ```python
    >>> RuleFacts(uses_share=True).weighs
    False
    ```
    """

    uses_share: bool = False
    weighs: bool = False
    selects: str = "a rule of the user's own"
    equation: str = ""
    paper: Paper | None = None
    cost: str = "nothing more"


_LOG_PROB = "log-probabilities"
_SQUARES = "log-probabilities and sums of squared probabilities"

FACTS: dict[str, RuleFacts] = {
    "high_entropy": RuleFacts(
        uses_share=True,
        selects="the top share by entropy: forks",
        equation=r"H_t \ge \tau_\rho",
        paper=BEYOND_80_20,
    ),
    "low_entropy": RuleFacts(
        uses_share=True,
        selects="all tokens but the forks (a control)",
        equation=r"H_t < \tau_\rho",
        paper=BEYOND_80_20,
    ),
    "random": RuleFacts(
        uses_share=True,
        selects="a random share, not weighted (a control)",
        equation=r"t \in S,\ |S| = \lceil \rho N \rceil",
    ),
    "random_unbiased": RuleFacts(
        uses_share=True,
        weighs=True,
        selects="a random share, weighted to be unbiased",
        equation=r"t \in S,\ w_t = N / \lceil \rho N \rceil",
        paper=NAT,
    ),
    "random_prefix": RuleFacts(
        uses_share=True,
        weighs=True,
        selects="each answer up to a random cut, weighted to be unbiased",
        equation=r"t \le L,\ w_t = 1 / P(L \ge t),\ L = \lceil n\, U^{(1 - \rho) / \rho} \rceil",
        paper=NAT,
        cost="less: nothing behind a cut is computed",
    ),
    "random_prefix_forks": RuleFacts(
        weighs=True,
        selects="the forks up to a random cut, weighted to be unbiased for the forks",
        equation=r"H_t \ge \tau_\rho,\ t \le L,\ w_t = 1 / P(L \ge t)",
        paper=NAT,
        cost="less: nothing behind a cut is computed",
    ),
    "gradient_norm": RuleFacts(
        uses_share=True,
        selects="the top share by the gradient's norm at the logits",
        equation=r"|A| \sqrt{1 - 2 p(y_t) + \sum_v p_v^2}",
        paper=GMTS,
        cost=_SQUARES,
    ),
    "advantage_entropy": RuleFacts(
        uses_share=True,
        selects="the top share by entropy times size of the advantage",
        equation=r"|A|\, H_t",
        paper=D3S,
    ),
    "covariance": RuleFacts(
        selects="all but a few tokens that would lower the entropy most",
        equation=r"1 < (A_t - \bar{A})(\log p(y_t) - \overline{\log p}) < 5 \text{ (dropped)}",
        paper=CLIP_COV,
        cost=_LOG_PROB,
    ),
    "surprisal_band": RuleFacts(
        selects="tokens neither expected nor extremely surprising",
        equation=r"0.1 \le -\log p(y_t) / H_t \le 3",
        paper=RSI,
        cost=_LOG_PROB,
    ),
    "rare_token_veto": RuleFacts(
        selects="all but rare tokens at certain places of right answers",
        equation=r"A > 0,\ p(y_t) < 0.01,\ H_t < \tau_h \text{ (dropped)}",
        paper=STAPO,
        cost=_LOG_PROB,
    ),
    "entropy_weights": RuleFacts(
        weighs=True,
        selects="all tokens, certain ones weighted less; clip ranges by entropy",
        equation=r"w_t = 1 + \min(h_t, 0)",
        paper=HAPO,
    ),
    "entropy_clip": RuleFacts(
        weighs=True,
        selects="all tokens; the top share of each answer has a wide clip range",
        equation=r"\varepsilon_t = 0.5 \text{ if } H_t \ge \tau_\rho \text{ else } 0.2",
        paper=ARCHER,
    ),
}
"""What is known of each built-in rule, by its name."""


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


def check_rule_name(rule: str) -> None:
    """
    Check that a text is the name of a built-in rule, or may be an import path. What the path names is not looked at.

    Args:
        rule (`str`):
            Name or import path.

    Raises:
        `ValueError`: if there is no such rule; the message names the nearest one.

    Example:
    ```python
    >>> check_rule_name("gradient_nrom")
    Traceback (most recent call last):
        ...
    ValueError: 'gradient_nrom' is not a rule: did you mean 'gradient_norm'?
    ```
    """
    if rule in FACTS or is_import_path(rule):
        return
    close = difflib.get_close_matches(rule, FACTS, n=1, cutoff=0.4)
    hint = f"did you mean {close[0]!r}?" if close else f"set one of {', '.join(FACTS)}, or an import path."
    raise ValueError(f"{rule!r} is not a rule: {hint}")


def check_rule_module(path: str) -> None:
    """
    Check that Python finds the package of a rule, without an import of it.

    Args:
        path (`str`):
            Import path.

    Raises:
        `ValueError`: if there is no such package.

    Example:
    ```python
    >>> check_rule_module("trl_forking.selection.rules.keep_high_entropy")
    >>> check_rule_module("no_such_module.rule")
    Traceback (most recent call last):
        ...
    ValueError: The token rule 'no_such_module.rule' cannot be imported (ModuleNotFoundError: No module named ...
    ```
    """
    name = path.replace(":", ".").split(".")[0]
    try:
        is_there = name in sys.modules or find_spec(name) is not None
    except (ImportError, ValueError):  # a name that no module can have
        is_there = False
    if not is_there:
        raise ValueError(
            f"The token rule {path!r} cannot be imported (ModuleNotFoundError: No module named {name!r}): set the import path of a function, "
            "such as my_rules.keep_verbs, and start where Python finds the module."
        )


def explain_sequence_level(subject: str) -> str:
    """
    Explain why a rule that weights tokens cannot have one importance ratio for each answer.

    Example:
    ```python
    >>> explain_sequence_level("it")
    "it weights or clips single tokens, and with importance_sampling_level='sequence' all tokens of an answer have ...
    ```
    """
    return (
        f"{subject} weights or clips single tokens, and with importance_sampling_level='sequence' all tokens of an answer have "
        "one ratio: set importance_sampling_level to 'token'"
    )
