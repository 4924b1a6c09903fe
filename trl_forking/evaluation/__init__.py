"""What evaluations come to: avg@k, pass@k, maj@k and shares of right answers, with their intervals."""

import importlib
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
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


# The trainer needs one of these modules. The others are imported when a name of theirs is asked for.
_PLACES = {
    **dict.fromkeys(("Estimate", "estimate_difference", "estimate_mean"), "bootstrap"),
    **dict.fromkeys(("compute_difference_interval", "compute_share_interval", "compute_standard_error"), "intervals"),
    **dict.fromkeys(("compute_average", "compute_majority_at_k", "compute_pass_at_k"), "metrics"),
    **dict.fromkeys(
        (
            "AnsweredProblem",
            "EvaluationSummary",
            "PairedDifference",
            "compare_summaries",
            "format_estimate",
            "summarize_answers",
        ),
        "summary",
    ),
    **dict.fromkeys(("group_answers",), "votes"),
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_PLACES[name]}", __name__), name)
