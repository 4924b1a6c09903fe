"""A rule with what is known of it, and the decorator that says what a user's own rule needs."""

from collections.abc import Callable
from typing import NamedTuple

from .facts import RuleFacts
from .token_plan import TokenPlan
from .token_stats import COSTLY_STATISTICS, TokenStats


RuleFunction = Callable[[TokenStats], TokenPlan]
"""A rule: it sees the statistics of the tokens and decides what is trained."""


class Rule(NamedTuple):
    r"""
    A rule and what is known of it.

    Attributes:
        name (`str`): what `token_selection` calls it, or where a user's own function stands.
        function (`Callable`): the rule.
        needs (`tuple[str]`): statistics that are computed for it, of [`COSTLY_STATISTICS`].
        facts ([`RuleFacts`]): what it selects, where it comes from and what it costs. A user's own rule has the defaults.

    Example:
    ```python
    >>> def keep_all(stats):
    ...     return TokenPlan(keep=stats.mask)
    >>> Rule("keep_all", keep_all).needs
    ()
    ```
    """

    name: str
    function: RuleFunction
    needs: tuple[str, ...] = ()
    facts: RuleFacts = RuleFacts()


def token_rule(needs: tuple[str, ...] = ()) -> Callable[[RuleFunction], RuleFunction]:
    """
    Say what a rule needs beside the entropies. It is computed for this rule, and for no other.

    Args:
        needs (`tuple[str]`, *optional*):
            Names among `"log_prob"`, `"sum_sq_probs"` and `"is_top1"`.

    Returns:
        `Callable`: a decorator.

    Raises:
        `ValueError`: if there is no such statistic.

    Example:
    ```python
    >>> @token_rule(needs=("log_prob",))
    ... def keep_surprising(stats):
    ...     return TokenPlan(scores=-stats.log_prob)
    >>> keep_surprising.needs
    ('log_prob',)
    ```
    """
    needs = (needs,) if isinstance(needs, str) else tuple(needs)
    for name in needs:
        if name not in COSTLY_STATISTICS:
            raise ValueError(
                f"A token rule needs {name!r}, which is not one of {', '.join(map(repr, COSTLY_STATISTICS))}: name "
                "one of these. All other statistics are always there."
            )

    def decorate(function: RuleFunction) -> RuleFunction:
        function.needs = needs  # type: ignore[attr-defined]
        return function

    return decorate
