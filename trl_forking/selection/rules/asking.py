"""How a rule is asked, and how its mistakes end the run on all ranks with one sentence."""

import torch

from .facts import explain_sequence_level
from .rule import Rule
from .token_plan import Choice, TokenPlan, carry_out, find_fault
from .token_stats import TokenStats


def ask_rule(
    rule: Rule, stats: TokenStats, all_tokens: torch.Tensor, importance_sampling_level: str = "token"
) -> Choice:
    """
    Ask a rule what is trained, and carry out its plan, all ranks together.

    Args:
        rule ([`Rule`]):
            Rule.
        stats ([`TokenStats`]):
            What it may look at.
        all_tokens (`torch.Tensor` of shape `(B, T)`):
            Tokens that carry loss, candidates or not.
        importance_sampling_level (`str`, *optional*, defaults to `"token"`):
            TRL's setting. With `"sequence"` an answer has one ratio, and no token of it can be weighted by itself.

    Returns:
        [`Choice`]

    Raises:
        `ValueError`: on all ranks, if the rule fails on one, returns what cannot be carried out, or keeps no token at all.

    Example:
    ```python
    >>> import torch
    >>> mask = torch.tensor([[True, True]])
    >>> stats = TokenStats(mask, torch.zeros(1, 2), torch.ones(1, 2), torch.zeros(1, 2).long())
    >>> ask_rule(Rule("keep_none", lambda stats: TokenPlan(keep=~stats.mask)), stats, mask)
    Traceback (most recent call last):
        ...
    ValueError: The token rule keep_none cannot be used: it keeps none of 2 tokens, so that nothing would be trained.
    ```
    """
    plan, fault, cause = None, None, None
    try:
        plan = rule.function(stats)
        fault = find_fault(plan, stats.mask)
    except Exception as error:  # whatever a user's rule raises
        fault, cause = f"{type(error).__name__}: {error}", error
    if fault is None and plan is not None and plan.weighs and importance_sampling_level == "sequence":
        fault = explain_sequence_level("it")
    # All ranks raise, whoever found it: one that went on would wait for the others for ever.
    if stats.reduce(torch.tensor(int(fault is not None), device=stats.mask.device)):
        fault = fault or "it failed in another process, which says why"
        raise ValueError(f"The token rule {rule.name} cannot be used: {fault}.") from cause
    assert isinstance(plan, TokenPlan)
    choice = carry_out(plan, stats, all_tokens)
    # A budget can be empty where there are few tokens, such as the complement of one: training goes on with a warning.
    has_budget = plan.scores is not None and plan.weights is None
    if not has_budget and stats.num_tokens and not stats.reduce(choice.kept.count_nonzero()):
        raise ValueError(
            f"The token rule {rule.name} cannot be used: it keeps none of {stats.num_tokens} tokens, so that nothing would be "
            "trained."
        )
    return choice
