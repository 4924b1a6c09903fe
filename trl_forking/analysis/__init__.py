"""Looking at the forks: what a model answers, and how sure it is at every token."""

from ..data.prompts import load_prompts, verify_solution
from ..writing.token_texts import TokenTexts
from .collect import collect
from .hes import compute_hes
from .models import load_model
from .records import ScoredAnswer, iterate_records, read_records, write_records, write_shard
from .report import write_report
from .scoring import TokenScores, compute_token_scores
from .shards import clear_records, find_missing_shards, read_settings, write_settings
from .summary import summarize


__all__ = [
    "ScoredAnswer",
    "TokenScores",
    "TokenTexts",
    "clear_records",
    "collect",
    "compute_hes",
    "compute_token_scores",
    "find_missing_shards",
    "iterate_records",
    "load_model",
    "load_prompts",
    "read_records",
    "read_settings",
    "summarize",
    "verify_solution",
    "write_records",
    "write_report",
    "write_settings",
    "write_shard",
]
