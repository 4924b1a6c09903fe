"""The rule that a run was trained with."""

from collections.abc import Mapping
from typing import Any

from ..selection.rules import RULES, Rule, TokenPlan


def find_trained_rule(forking: Mapping[str, Any]) -> Rule | None:
    """
    Find the rule of a run by its settings. Of a user's own rule only the name is known.

    Args:
        forking (`Mapping[str, Any]`):
            Settings of the run, as its record has them.

    Returns:
        [`Rule`] or `None`: `None` if all tokens were trained.

    Example:
    ```python
    >>> find_trained_rule({"token_selection": "gradient_norm", "top_entropy_quantile": 0.2}).name
    'gradient_norm'
    >>> find_trained_rule({"token_selection": "gradient_norm", "top_entropy_quantile": 1.0}) is None
    True
    ```
    """
    name = forking.get("token_rule") or forking["token_selection"]
    rule = RULES.get(name)
    if rule is None:
        return Rule(name, lambda stats: TokenPlan(keep=stats.mask))
    shares = (forking["top_entropy_quantile"], forking.get("top_entropy_quantile_end") or 1.0)
    return rule if min(shares) < 1.0 or not rule.facts.uses_share else None
