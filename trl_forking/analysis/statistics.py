"""What the entropies of a collection say: pure functions of arrays, and `summarize`, which applies them to records.

Means and shares are taken in float64. A number that does not exist, such as the mean of nothing, is NaN from a function
and `None` in a table, which JSON can hold.
"""

import math
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from ..selection.tokens import compute_budget
from .forks import check_share, join_entropies, select_forks
from .records import ScoredAnswer


NEAR_ZERO = 0.01  # nats; half of the paper's tokens are below
PERCENTILES = (1, 5, 10, 25, 50, 75, 80, 90, 95, 99)
TOP_SHARES = (0.01, 0.05, 0.1, 0.2, 0.5)
MIN_COUNT = 101  # the paper lists tokens seen more than 100 times
NUM_ANSWER_PARTS = 10
SENTENCE_POSITIONS = ("first", "within", "last", "between", "end")

_SENTENCE_MARKS = tuple(".!?。！？")
_CLOSING = "\"'”’)]*_"  # may stand behind the mark that ends a sentence


def compute_percentiles(entropies: np.ndarray, percentiles: Sequence[float] = PERCENTILES) -> np.ndarray:
    r"""
    Compute percentiles by nearest rank, as the logged metrics do: the smallest entropy that p % do not exceed.

    Args:
        entropies (`np.ndarray` of shape `(N,)`):
            Entropies in nats.
        percentiles (sequence of `float`, *optional*):
            Percentiles from 0 (the minimum) to 100.

    Returns:
        `np.ndarray` of shape `(P,)`: values in nats, NaN where there are no tokens.

    Example:
    ```python
    >>> compute_percentiles(np.array([0.0, 0.1, 0.2, 3.0]), [50, 80]).tolist()
    [0.1, 3.0]
    ```
    """
    if len(entropies) == 0:
        return np.full(len(percentiles), math.nan)
    ranks = [math.ceil(Fraction(str(p)) * len(entropies) / 100) for p in percentiles]
    return np.sort(entropies)[[max(rank - 1, 0) for rank in ranks]]


def compute_share_below(entropies: np.ndarray, nats: float = NEAR_ZERO) -> float:
    """
    Compute the share of the tokens whose entropy is below a value.

    Args:
        entropies (`np.ndarray` of shape `(N,)`):
            Entropies in nats.
        nats (`float`, *optional*, defaults to `0.01`):
            The value; the paper's Qwen3-8B has 50.64 % of its tokens below 0.01.

    Returns:
        `float`: a fraction, NaN where there are no tokens.

    Example:
    ```python
    >>> compute_share_below(np.array([0.0, 0.01, 0.5, 0.002]))
    0.5
    ```
    """
    return float(np.mean(entropies < nats)) if len(entropies) else math.nan


def compute_entropy_share(entropies: np.ndarray, top_share: float) -> float:
    r"""
    Compute the share of all entropy that the \\( \lceil x N \rceil \\) tokens with the highest entropies hold.

    Args:
        entropies (`np.ndarray` of shape `(N,)`):
            Entropies in nats.
        top_share (`float`):
            Share of the tokens, \\( x \\), a fraction in (0, 1].

    Returns:
        `float`: a fraction, NaN where there is no entropy.

    Example:
    ```python
    >>> compute_entropy_share(np.array([0.0, 3.0, 0.0, 1.0]), top_share=0.25)
    0.75
    ```
    """
    ordered = np.sort(entropies.astype(np.float64))[::-1]
    budget = compute_budget(len(ordered), top_share)
    return _divide(float(ordered[:budget].sum()), float(ordered.sum()))


def compute_token_table(
    token_ids: np.ndarray, tokens: Sequence[str], entropies: np.ndarray, min_count: int = MIN_COUNT
) -> list[dict[str, Any]]:
    """
    Compute the mean entropy of every token that occurs often enough, highest first.

    A token is one entry of the vocabulary: " wait" and "Wait" are two. Its text is the one it most often adds; a token
    that never completes a character is shown by its number, as "#177".

    Source: the word lists of [Beyond the 80/20 Rule](https://huggingface.co/papers/2506.01939), of tokens seen more than
    100 times.

    Args:
        token_ids (`np.ndarray` of shape `(N,)`):
            Entries of the vocabulary.
        tokens (sequence of `str`, `N` long):
            Text that each token adds.
        entropies (`np.ndarray` of shape `(N,)`):
            Entropies in nats, of the positions where the tokens were drawn.
        min_count (`int`, *optional*, defaults to `101`):
            How often a token must have been seen at least.

    Returns:
        `list[dict]`: rows with `token`, `token_id`, `count` and `mean_entropy`.

    Example:
    ```python
    >>> rows = compute_token_table(np.array([7, 8, 7]), [" so", "4", " so"], np.array([1.0, 0.0, 2.0]), min_count=1)
    >>> rows[0]
    {'token': ' so', 'token_id': 7, 'count': 2, 'mean_entropy': 1.5}
    ```
    """
    ids, inverse, counts = np.unique(np.asarray(token_ids, dtype=np.int64), return_inverse=True, return_counts=True)
    means = np.bincount(inverse, weights=entropies, minlength=len(ids)) / np.maximum(counts, 1)
    places = np.split(np.argsort(inverse, kind="stable"), np.cumsum(counts)[:-1]) if len(ids) else []
    rows = []
    for index in np.lexsort((ids, -means)):
        if counts[index] >= min_count:
            text = Counter(tokens[place] for place in places[index]).most_common(1)[0][0]
            row = {"token": text or f"#{ids[index]}", "token_id": int(ids[index]), "count": int(counts[index])}
            rows.append(row | {"mean_entropy": float(means[index])})
    return rows


def find_answer_parts(num_tokens: int) -> np.ndarray:
    r"""
    Find the tenth of the answer that each token stands in, \\( \lfloor 10 t / T \rfloor \\).

    Args:
        num_tokens (`int`):
            Length of the answer, \\( T \\).

    Returns:
        `np.ndarray` of shape `(T,)`: 0 for the first tenth; a token that stands in two belongs to the earlier one.

    Example:
    ```python
    >>> find_answer_parts(4).tolist()
    [0, 2, 5, 7]
    ```
    """
    return np.arange(num_tokens) * NUM_ANSWER_PARTS // max(num_tokens, 1)


def find_sentence_positions(tokens: Sequence[str], is_truncated: bool = False) -> list[str]:
    r"""
    Find where in its sentence each token of an answer stands.

    A sentence ends with a token that holds a line break, or whose last mark is one of `. ! ?` (also full-width) with
    white space or the end of the answer behind it: "3.14" is not cut, "1. First" is. `"first"` is the first token of a
    sentence that is more than white space (also where it is the only one), `"last"` the one that ends it, `"within"` any
    other. `"between"` is white space behind an end, such as the empty line after a full stop. `"end"` is the token that
    ends an answer, which the model chose to do.

    Args:
        tokens (sequence of `str`, `T` long):
            Text that each token of one answer adds.
        is_truncated (`bool`, *optional*, defaults to `False`):
            Whether the length limit ended the answer, so that no token did.

    Returns:
        `list[str]` of length `T`: names out of `SENTENCE_POSITIONS`.

    Example:
    ```python
    >>> find_sentence_positions(["We", " get", " 3", ".", "1", ".", " So", "<|endoftext|>"])
    ['first', 'within', 'within', 'within', 'within', 'last', 'first', 'end']
    ```
    """
    if tokens and not is_truncated:
        return [*find_sentence_positions(tokens[:-1], is_truncated=True), "end"]
    positions, starts = [], True
    for token, following in zip(tokens, _find_following_characters(tokens), strict=True):
        ends = "\n" in token or (token.rstrip().rstrip(_CLOSING).endswith(_SENTENCE_MARKS) and following.isspace())
        if starts:
            positions.append("between" if token.isspace() else "first")
            starts = ends or token.isspace()
        else:
            positions.append("last" if ends else "within")
            starts = ends
    return positions


def _find_following_characters(tokens: Sequence[str]) -> list[str]:
    """The character behind the visible text of each token; white space behind the last one."""
    characters, following = [], " "
    for token in reversed(tokens):
        characters.append(" " if token[-1:].isspace() else following)
        following = token[:1] or following  # a part of a character adds no text
    return characters[::-1]


def compute_group_table(
    groups: np.ndarray, names: Sequence[str], entropies: np.ndarray, forks: np.ndarray
) -> list[dict[str, Any]]:
    """
    Compute the mean entropy and the share of forks in each group of tokens.

    Args:
        groups (`np.ndarray` of shape `(N,)`):
            Index of each token's group.
        names (sequence of `str`):
            Names of the groups.
        entropies (`np.ndarray` of shape `(N,)`):
            Entropies in nats.
        forks (`np.ndarray` of shape `(N,)`):
            Which tokens are forks.

    Returns:
        `list[dict]`: for each group `group` (its name), `num_tokens`, `mean_entropy` (nats) and `fork_share` (fraction);
        the last two are `None` for a group without tokens.

    Example:
    ```python
    >>> compute_group_table(np.array([0, 0]), ["right"], np.array([0.5, 1.5]), np.array([False, True]))
    [{'group': 'right', 'num_tokens': 2, 'mean_entropy': 1.0, 'fork_share': 0.5}]
    ```
    """
    counts = np.bincount(groups, minlength=len(names))
    entropy_sums = np.bincount(groups, weights=entropies, minlength=len(names))
    fork_sums = np.bincount(groups, weights=forks, minlength=len(names))
    return [
        {
            "group": name,
            "num_tokens": int(count),
            "mean_entropy": to_json_number(_divide(entropy_sum, count)),
            "fork_share": to_json_number(_divide(fork_sum, count)),
        }
        for name, count, entropy_sum, fork_sum in zip(names, counts, entropy_sums, fork_sums, strict=True)
    ]


def _divide(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else math.nan


def to_json_number(value: float) -> float | None:
    """
    Turn a number into one that JSON can hold: NaN becomes `None`.

    Example:
    ```python
    >>> to_json_number(np.float32(0.5)), to_json_number(math.nan)
    (0.5, None)
    ```
    """
    return None if math.isnan(value) else float(value)


def summarize(
    records: Sequence[ScoredAnswer],
    top_entropy_quantile: float = 0.2,
    min_count: int = MIN_COUNT,
    num_listed_tokens: int = 100,
) -> dict[str, Any]:
    r"""
    Summarize a collection: all figures of `analyze`, ready for JSON.

    Args:
        records (sequence of [`ScoredAnswer`]):
            Answers.
        top_entropy_quantile (`float`, *optional*, defaults to `0.2`):
            Share of forks, \\( \rho \\), a fraction in (0, 1].
        min_count (`int`, *optional*, defaults to `101`):
            How often a token must have been seen to be listed; the paper's "more than 100 times".
        num_listed_tokens (`int`, *optional*, defaults to `100`):
            Length of the two lists of tokens at most.

    Returns:
        `dict`: entropies in nats, shares as fractions, `None` for a number that does not exist.

        - `num_prompts`, `num_answers`, `num_truncated`, `num_tokens`, `num_forks`
        - `top_entropy_quantile`; `threshold`, the lowest entropy of a fork; `fork_entropy_share`, the share of all entropy
          that the forks hold
        - `mean_entropy`; `near_zero_share`, the share of the tokens below `near_zero`; `percentiles`, by `"50"` and so
          on; `entropy_shares`, the share of all entropy in the top share of the tokens, by `"0.2"` and so on
        - `min_count`, `num_common_tokens` (seen often enough), `top_tokens` and `bottom_tokens`: rows of
          [`compute_token_table`], the highest and the lowest mean first; no token is in both
        - `by_answer_part` (tenths of each answer's length), `by_correctness`, `by_sentence_position`: rows of
          [`compute_group_table`]; the rows by correctness have `num_answers` too

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
        "fork_entropy_share": to_json_number(_divide(entropies[forks].sum(), entropies.sum())),
        **_summarize_distribution(entropies),
        **_summarize_tokens(records, entropies, min_count, num_listed_tokens),
        "by_answer_part": _tabulate_answer_parts(per_answer, entropies, forks),
        "by_correctness": _tabulate_correctness(records, entropies, forks),
        "by_sentence_position": _tabulate_sentence_positions(records, entropies, forks),
    }


def _summarize_distribution(entropies: np.ndarray) -> dict[str, Any]:
    values = compute_percentiles(entropies)
    return {
        "mean_entropy": to_json_number(_divide(entropies.sum(), len(entropies))),
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
    Describe a collection in plain sentences, from its own figures.

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
    sentences = [
        f"{format_percent(summary['near_zero_share'])} of the {summary['num_tokens']:,} tokens are under "
        f"{summary['near_zero']} nats.",
        _describe_forks(summary),
        _describe_correctness(summary["by_correctness"]),
        _describe_words(summary),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _describe_forks(summary: dict[str, Any]) -> str:
    share = format_percent(summary["top_entropy_quantile"])
    if summary["fork_entropy_share"] is None:
        return f"None has any entropy: which {share} are called forks is decided by the rule for ties alone."
    held = format_percent(summary["fork_entropy_share"])
    return f"The top {share} hold {held} of the entropy, from {summary['threshold']:.3g} nats up."


def _describe_correctness(rows: list[dict[str, Any]]) -> str:
    means = {row["group"]: row["mean_entropy"] for row in rows}
    if means.get("right") is None or means.get("wrong") is None:
        return ""
    return f"The mean is {means['right']:.3g} nats in right answers and {means['wrong']:.3g} in wrong ones."


def _describe_words(summary: dict[str, Any]) -> str:
    words = list(dict.fromkeys(row["token"].strip() for row in summary["top_tokens"] if is_word(row["token"])))
    if not words:
        return ""
    return f"Least certain among tokens seen at least {summary['min_count']:,} times: {', '.join(words[:5])}."


def is_word(token: str) -> bool:
    """
    Check that a token shows as a word: printable, with a letter in it.

    Example:
    ```python
    >>> is_word(" wait"), is_word("\\n"), is_word(" =")
    (True, False, False)
    ```
    """
    text = token.strip()
    return text.isprintable() and any(character.isalpha() for character in text)


def format_percent(share: float) -> str:
    """
    Write a fraction as a percentage that is not rounded to nothing or to all.

    Example:
    ```python
    >>> format_percent(0.2), format_percent(0.125), format_percent(0.9996), format_percent(0.0004)
    ('20 %', '12.5 %', '99.96 %', '0.04 %')
    ```
    """
    return f"{100 * share:.{4 if share > 0.99 else 3}g} %"
