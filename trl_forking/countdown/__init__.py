"""Countdown search: the built-in task, whose forking tokens are known by construction, and a model for it."""

from .evaluation import CountdownEvaluation, evaluate_countdown
from .model import ASSETS, load_countdown_model, load_countdown_tokenizer
from .problems import (
    END_TOKEN,
    FORK_OFFSETS,
    LARGEST_NUMBER,
    LARGEST_VALUE,
    MAX_ATTEMPTS,
    MAX_COMPLETION_LENGTH,
    NUM_PROBLEMS,
    OPERATIONS,
    PAD_TOKEN,
    SMALLEST_NUMBER,
    VOCABULARY,
    WORDS_PER_ATTEMPT,
    format_prompt,
    is_held_out,
    list_attempts,
    list_goals,
    make_countdown_dataset,
)
from .verifier import countdown_reward, mark_forks, verify_countdown


__all__ = [
    "ASSETS",
    "END_TOKEN",
    "FORK_OFFSETS",
    "LARGEST_NUMBER",
    "LARGEST_VALUE",
    "MAX_ATTEMPTS",
    "MAX_COMPLETION_LENGTH",
    "NUM_PROBLEMS",
    "OPERATIONS",
    "PAD_TOKEN",
    "SMALLEST_NUMBER",
    "VOCABULARY",
    "WORDS_PER_ATTEMPT",
    "CountdownEvaluation",
    "countdown_reward",
    "evaluate_countdown",
    "format_prompt",
    "is_held_out",
    "list_attempts",
    "list_goals",
    "load_countdown_model",
    "load_countdown_tokenizer",
    "make_countdown_dataset",
    "mark_forks",
    "verify_countdown",
]
