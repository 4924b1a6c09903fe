"""Rules: which tokens are trained, and with what weight. A rule is a function `(TokenStats) -> TokenPlan`."""

from .asking import ask_rule, explain_sequence_level
from .built_in import RULES, find_rule, is_import_path, name_function
from .papers import SCHEDULE
from .rule import Paper, Rule, RuleFunction, token_rule
from .token_plan import Choice, TokenPlan, carry_out, compute_effective_sample_size, find_fault
from .token_stats import COSTLY_STATISTICS, TokenStats


__all__ = [
    "COSTLY_STATISTICS",
    "RULES",
    "SCHEDULE",
    "Choice",
    "Paper",
    "Rule",
    "RuleFunction",
    "TokenPlan",
    "TokenStats",
    "ask_rule",
    "carry_out",
    "compute_effective_sample_size",
    "explain_sequence_level",
    "find_fault",
    "find_rule",
    "is_import_path",
    "name_function",
    "token_rule",
]
