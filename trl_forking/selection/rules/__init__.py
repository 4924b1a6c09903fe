"""Rules: which tokens are trained, and with what weight. A rule is a function `(TokenStats) -> TokenPlan`."""

import importlib
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from .asking import ask_rule
    from .built_in import RULES, find_rule, name_function
    from .facts import FACTS, RuleFacts, check_rule_module, check_rule_name, explain_sequence_level, is_import_path
    from .papers import SCHEDULE, Paper
    from .rule import Rule, RuleFunction, token_rule
    from .token_plan import Choice, TokenPlan, carry_out, compute_effective_sample_size, find_fault
    from .token_stats import COSTLY_STATISTICS, TokenStats


__all__ = [
    "COSTLY_STATISTICS",
    "FACTS",
    "RULES",
    "SCHEDULE",
    "Choice",
    "Paper",
    "Rule",
    "RuleFacts",
    "RuleFunction",
    "TokenPlan",
    "TokenStats",
    "ask_rule",
    "carry_out",
    "check_rule_module",
    "check_rule_name",
    "compute_effective_sample_size",
    "explain_sequence_level",
    "find_fault",
    "find_rule",
    "is_import_path",
    "name_function",
    "token_rule",
]


# Imported when a name is asked for: a command that answers a mistake needs the names of the rules, and not torch.
_PLACES = {
    **dict.fromkeys(("ask_rule",), "asking"),
    **dict.fromkeys(("RULES", "find_rule", "name_function"), "built_in"),
    **dict.fromkeys(
        ("FACTS", "RuleFacts", "check_rule_module", "check_rule_name", "explain_sequence_level", "is_import_path"),
        "facts",
    ),
    **dict.fromkeys(("SCHEDULE", "Paper"), "papers"),
    **dict.fromkeys(("Rule", "RuleFunction", "token_rule"), "rule"),
    **dict.fromkeys(("Choice", "TokenPlan", "carry_out", "compute_effective_sample_size", "find_fault"), "token_plan"),
    **dict.fromkeys(("COSTLY_STATISTICS", "TokenStats"), "token_stats"),
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_PLACES[name]}", __name__), name)
