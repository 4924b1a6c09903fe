"""A collection in figures, [`summarize`], and in sentences, [`describe`]."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..selection.share import check_share
from ..writing.numbers import format_percent
from .forks import join_entropies, select_forks
from .positions import NUM_ANSWER_PARTS, SENTENCE_POSITIONS, find_answer_parts, find_sentence_positions
from .records import ScoredAnswer
from .statistics import (
    MIN_COUNT,
    NEAR_ZERO,
    PERCENTILES,
    compute_entropy_share,
    compute_group_table,
    compute_percentiles,
    compute_share_below,
    compute_token_table,
    divide,
    to_json_number,
)
from .words import rank_words


TOP_SHARES = (0.01, 0.05, 0.1, 0.2, 0.5)


def summarize(
    records: Sequence[ScoredAnswer],
    top_entropy_quantile: float = 0.2,
    min_count: int = MIN_COUNT,
    num_listed_tokens: int = 100,
) -> dict[str, Any]:
    r"""
    Summarize a collection: all numbers that `analyze` shows, ready for JSON.

    Args:
        records (sequence of [`ScoredAnswer`]):
            Answers.
        top_entropy_quantile (`float`, *optional*, defaults to `0.2`):
            Share of forks, \\( \rho \\), a fraction in (0, 1].
        min_count (`int`, *optional*, defaults to `101`):
            Smallest number of times that a listed token must occur. The default is the paper's "more than 100 times".
        num_listed_tokens (`int`, *optional*, defaults to `100`):
            Largest length of the two lists of tokens.

    Returns:
        `dict`: entropies are in nats, shares are fractions, and a number that does not exist is `None`.

        - `num_prompts`, `num_answers`, `num_truncated`, `num_tokens`, `num_forks`
        - `top_entropy_quantile`; `threshold`, the lowest entropy of a fork; `fork_entropy_share`, the share of all entropy
          that the forks hold
        - `mean_entropy`; `near_zero_share`, the share of the tokens below `near_zero`; `percentiles`, with keys such as
          `"50"`; `entropy_shares`, the share of all entropy that the top share of the tokens holds, with keys such as
          `"0.2"`
        - `min_count`; `num_common_tokens`, the number of tokens seen at least that often; `top_tokens` and
          `bottom_tokens`, rows of [`compute_token_table`] with the highest and the lowest means. No token is in both.
        - `by_answer_part` (tenths of each answer), `by_correctness`, `by_sentence_position`: rows of
          [`compute_group_table`]. The rows by correctness also have `num_answers`.

    Raises:
        `ValueError`: if the share is not in (0, 1] or an entropy is NaN.

    Example:
    ```python
    >>> summarize([])["num_tokens"], summarize([])["threshold"]
    (0, None)
    ```
    """
    check_share(top_entropy_quantile)
    per_answer = [record.entropies for record in records]
    entropies = join_entropies(per_answer)
    forks = np.concatenate([np.zeros(0, dtype=bool), *select_forks(per_answer, top_entropy_quantile)])
    return {
        "num_prompts": len({record.prompt_index for record in records}),
        "num_answers": len(records),
        "num_truncated": sum(record.is_truncated for record in records),
        "num_tokens": len(entropies),
        "num_forks": int(forks.sum()),
        "top_entropy_quantile": top_entropy_quantile,
        "threshold": float(entropies[forks].min()) if forks.any() else None,
        "fork_entropy_share": to_json_number(divide(entropies[forks].sum(), entropies.sum())),
        **_summarize_distribution(entropies),
        **_summarize_tokens(records, entropies, min_count, num_listed_tokens),
        "by_answer_part": _tabulate_answer_parts(per_answer, entropies, forks),
        "by_correctness": _tabulate_correctness(records, entropies, forks),
        "by_sentence_position": _tabulate_sentence_positions(records, entropies, forks),
    }


def _summarize_distribution(entropies: np.ndarray) -> dict[str, Any]:
    values = compute_percentiles(entropies)
    return {
        "mean_entropy": to_json_number(divide(entropies.sum(), len(entropies))),
        "near_zero": NEAR_ZERO,
        "near_zero_share": to_json_number(compute_share_below(entropies)),
        "percentiles": {str(p): to_json_number(value) for p, value in zip(PERCENTILES, values, strict=True)},
        "entropy_shares": {
            str(share): to_json_number(compute_entropy_share(entropies, share)) for share in TOP_SHARES
        },
    }


def _summarize_tokens(
    records: Sequence[ScoredAnswer], entropies: np.ndarray, min_count: int, num_listed_tokens: int
) -> dict[str, Any]:
    token_ids = np.concatenate([np.zeros(0, dtype=np.int64), *(record.token_ids for record in records)])
    tokens = [token for record in records for token in record.tokens]
    rows = compute_token_table(token_ids, tokens, entropies, min_count)
    num_top = min(num_listed_tokens, (len(rows) + 1) // 2)
    num_bottom = min(num_listed_tokens, len(rows) - num_top)
    return {
        "min_count": min_count,
        "num_common_tokens": len(rows),
        "top_tokens": rows[:num_top],
        "bottom_tokens": rows[::-1][:num_bottom],
    }


def _tabulate_answer_parts(
    per_answer: Sequence[np.ndarray], entropies: np.ndarray, forks: np.ndarray
) -> list[dict[str, Any]]:
    parts = [part for values in per_answer for part in find_answer_parts(len(values)).tolist()]
    width = 100 // NUM_ANSWER_PARTS
    names = [f"{part * width} to {(part + 1) * width} %" for part in range(NUM_ANSWER_PARTS)]
    return compute_group_table(np.array(parts, dtype=np.int64), names, entropies, forks)


def _tabulate_correctness(
    records: Sequence[ScoredAnswer], entropies: np.ndarray, forks: np.ndarray
) -> list[dict[str, Any]]:
    kinds = {True: "right", False: "wrong", None: "unknown"}
    correctness = [record.is_correct for record in records]
    present = [kind for kind in kinds if kind in correctness]
    groups = [present.index(kind) for record, kind in zip(records, correctness, strict=True) for _ in record.tokens]
    rows = compute_group_table(np.array(groups, dtype=np.int64), [kinds[kind] for kind in present], entropies, forks)
    return [row | {"num_answers": correctness.count(kind)} for row, kind in zip(rows, present, strict=True)]


def _tabulate_sentence_positions(
    records: Sequence[ScoredAnswer], entropies: np.ndarray, forks: np.ndarray
) -> list[dict[str, Any]]:
    positions = [
        position for record in records for position in find_sentence_positions(record.tokens, record.is_truncated)
    ]
    groups = [SENTENCE_POSITIONS.index(position) for position in positions]
    return compute_group_table(np.array(groups, dtype=np.int64), SENTENCE_POSITIONS, entropies, forks)


def describe(summary: dict[str, Any]) -> str:
    """
    Describe a collection in a few sentences with its numbers.

    Args:
        summary (`dict`):
            Return value of [`summarize`].

    Returns:
        `str`: one paragraph.

    Example:
    ```python
    >>> describe(summarize([]))
    'No answer has a token, so there is nothing to describe.'
    ```
    """
    if not summary["num_tokens"]:
        return "No answer has a token, so there is nothing to describe."
    near_zero = format_percent(summary["near_zero_share"])
    sentences = [
        f"{near_zero} of the {summary['num_tokens']:,} tokens have an entropy under {summary['near_zero']} nats.",
        _describe_forks(summary),
        _describe_correctness(summary["by_correctness"]),
        _describe_words(summary),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _describe_forks(summary: dict[str, Any]) -> str:
    share = format_percent(summary["top_entropy_quantile"])
    if summary["fork_entropy_share"] is None:
        return f"No token has any entropy, so the rule for ties alone decides which {share} are forks."
    held = format_percent(summary["fork_entropy_share"])
    return (
        f"The {share} with the highest entropies, from {summary['threshold']:.3g} nats up, hold {held} of all entropy."
    )


def _describe_correctness(rows: list[dict[str, Any]]) -> str:
    means = {row["group"]: row["mean_entropy"] for row in rows}
    if means.get("right") is None or means.get("wrong") is None:
        return ""
    return (
        f"The mean entropy is {means['right']:.3g} nats in right answers and {means['wrong']:.3g} nats in wrong ones."
    )


def _describe_words(summary: dict[str, Any]) -> str:
    words, kind = rank_words(summary["top_tokens"])
    if not words:
        return ""
    texts = ", ".join(word.text for word in words[:5])
    return f"The {kind} with the highest mean entropy, of those seen at least {summary['min_count']:,} times: {texts}."
