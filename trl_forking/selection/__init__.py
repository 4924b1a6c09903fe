"""Which tokens are trained: exact selection over all processes. Pure torch, apart from [`token_selector`]."""

from .kth_largest import compute_order_statistics, find_kth_largest, select_largest
from .metrics import compute_selection_metrics
from .token_counts import TokenCounts
from .tokens import (
    LOSS_NORMALIZERS,
    NORMALIZER_EXTENT,
    SELECTION_SCOPES,
    TOKEN_SELECTIONS,
    compute_budget,
    compute_loss_weights,
    compute_tie_keys,
    round_entropies,
    select_tokens,
    select_tokens_per_sequence,
)


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
