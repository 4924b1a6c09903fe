"""Which tokens are trained: exact selection over all processes. Pure torch, apart from [`token_selector`]."""

import importlib
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from .kth_largest import compute_order_statistics, find_kth_largest, select_largest
    from .metrics import compute_selection_metrics
    from .token_counts import TokenCounts
    from .tokens import (
        compute_budget,
        compute_loss_weights,
        compute_tie_keys,
        round_entropies,
        select_tokens,
        select_tokens_per_sequence,
    )
    from .words import LOSS_NORMALIZERS, NORMALIZER_EXTENT, SELECTION_SCOPES, TOKEN_SELECTIONS


__all__ = [
    "LOSS_NORMALIZERS",
    "NORMALIZER_EXTENT",
    "SELECTION_SCOPES",
    "TOKEN_SELECTIONS",
    "TokenCounts",
    "compute_budget",
    "compute_loss_weights",
    "compute_order_statistics",
    "compute_selection_metrics",
    "compute_tie_keys",
    "find_kth_largest",
    "round_entropies",
    "select_largest",
    "select_tokens",
    "select_tokens_per_sequence",
]


# Imported when a name is asked for: a command that answers a mistake needs the names of the rules, and not torch.
_PLACES = {
    **dict.fromkeys(("compute_order_statistics", "find_kth_largest", "select_largest"), "kth_largest"),
    **dict.fromkeys(("compute_selection_metrics",), "metrics"),
    **dict.fromkeys(("TokenCounts",), "token_counts"),
    **dict.fromkeys(
        (
            "compute_budget",
            "compute_loss_weights",
            "compute_tie_keys",
            "round_entropies",
            "select_tokens",
            "select_tokens_per_sequence",
        ),
        "tokens",
    ),
    **dict.fromkeys(("LOSS_NORMALIZERS", "NORMALIZER_EXTENT", "SELECTION_SCOPES", "TOKEN_SELECTIONS"), "words"),
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_PLACES[name]}", __name__), name)
