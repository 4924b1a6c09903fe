"""What evaluations come to: avg@k, pass@k, maj@k and shares of right answers, with their intervals."""

from .bootstrap import Estimate, estimate_difference, estimate_mean
from .intervals import compute_difference_interval, compute_share_interval, compute_standard_error
from .metrics import compute_average, compute_majority_at_k, compute_pass_at_k
from .summary import (
    AnsweredProblem,
    EvaluationSummary,
    PairedDifference,
    compare_summaries,
    format_estimate,
    summarize_answers,
)
from .votes import group_answers


__all__ = [
    "AnsweredProblem",
    "Estimate",
    "EvaluationSummary",
    "PairedDifference",
    "compare_summaries",
    "compute_average",
    "compute_difference_interval",
    "compute_majority_at_k",
    "compute_pass_at_k",
    "compute_share_interval",
    "compute_standard_error",
    "estimate_difference",
    "estimate_mean",
    "format_estimate",
    "group_answers",
    "summarize_answers",
]
