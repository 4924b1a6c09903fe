"""The answers of a page as compact JSON: one vocabulary of texts, and base64 arrays over the tokens of all answers."""

import base64
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .forks import rank_tokens
from .records import ScoredAnswer


# Entropies (nats) at which the next darker shade begins. They are the same on every page, so that pages can be compared.
SHADE_BOUNDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 1.5, 2, 3)

_UNKNOWN = 0xFFFF
_MAX_ALTERNATIVES = 255
_UNSAFE = re.compile("[<>&\u2028\u2029\ud800-\udfff]")


def dump_json(value: Any) -> str:
    """
    Write JSON that UTF-8 can hold and that an HTML parser does not read as markup.

    Args:
        value (`Any`):
            A value that JSON can hold. NaN is not allowed.

    Returns:
        `str`: JSON without `<`, `>`, `&`, lone surrogates and the two line separators of JavaScript.

    Example:
    ```python
    >>> print(dump_json({"token": "</script>"}))
    {"token":"\\u003c/script\\u003e"}
    ```
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def build_report_data(
    records: Sequence[ScoredAnswer], scores: Sequence[np.ndarray] = (), marked_by: str = "the trainer"
) -> dict[str, Any]:
    """
    Build the part of a page's data that holds the answers.

    Entropies are exact (float32), and their order is that of [`rank_tokens`]. Log-probabilities are in whole thousandths
    of a nat.

    Args:
        records (sequence of [`ScoredAnswer`]):
            Answers on the page.
        scores (sequence of `np.ndarray` of shape `(T_i,)`, *optional*):
            What a rule ranks the tokens of each answer by.
        marked_by (`str`, *optional*, defaults to `"the trainer"`):
            Who kept the tokens that the records have as kept.

    Returns:
        `dict`: `answers`, `prompts`, `vocabulary`, `num_alternatives`, `bounds` and the arrays under `tokens`.

    Raises:
        `ValueError`: if an entropy is NaN.

    Example:
    ```python
    >>> build_report_data([])["answers"]
    []
    ```
    """
    vocabulary: dict[str, int] = {"": 0}
    prompts: dict[str, int] = {}
    num_alternatives = max((np.shape(record.top_logprobs)[-1] for record in records if len(record.tokens)), default=0)
    num_alternatives = min(num_alternatives, _MAX_ALTERNATIVES)
    ranks = _join(rank_tokens([record.entropies for record in records]), np.int64)
    ids = _number([token for record in records for token in record.tokens], vocabulary)
    top_ids = _join([_number_alternatives(record, num_alternatives, vocabulary) for record in records], np.int64)
    top_logprobs = _join([_pad_alternatives(record, num_alternatives) for record in records], np.float64)
    is_kept_known = any(record.kept is not None for record in records)
    id_type = "<u4" if len(vocabulary) > 0xFFFF else "<u2"
    arrays = {
        "entropies": (_join([record.entropies for record in records], np.float64), "<f4"),
        "order": (np.argsort(ranks), "<u4"),
        "ids": (ids, id_type),
        "surprisals": (_to_surprisals(_join([record.logprobs for record in records], np.float64)), "<u2"),
        "top_ids": (top_ids, id_type),
        "top_surprisals": (_to_surprisals(top_logprobs), "<u2"),
        "drawn": (_join([_find_drawn(record, num_alternatives) for record in records], np.int64), "u1"),
        "trained": (_join([_get_kept(record) for record in records] if is_kept_known else [], bool), "u1"),
        "scores": (_join(list(scores), np.float64), "<f4"),
    }
    return {
        "bounds": SHADE_BOUNDS,
        "marked_by": marked_by,
        "num_alternatives": num_alternatives,
        "answers": [_describe_answer(record, prompts) for record in records],
        "tokens": {name: _encode(values, dtype) for name, (values, dtype) in arrays.items()},
        "prompts": list(prompts),
        "vocabulary": list(vocabulary),
    }


def _describe_answer(record: ScoredAnswer, prompts: dict[str, int]) -> dict[str, Any]:
    verdicts = {True: "right", False: "wrong", None: "unknown"}
    return {
        "prompt": prompts.setdefault(record.prompt, len(prompts)),
        "prompt_index": int(record.prompt_index),
        "answer_index": int(record.answer_index),
        "length": len(record.tokens),
        "mean": float(np.mean(record.entropies, dtype=np.float64)) if len(record.tokens) else None,
        "verdict": verdicts[None if record.is_correct is None else bool(record.is_correct)],
        "reward": None if record.reward is None else float(record.reward),
        "hes": None if record.hes is None else float(record.hes),
        "truncated": bool(record.is_truncated),
        "trained": record.kept is not None,
    }


def _join(arrays: Sequence[np.ndarray], dtype: Any) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype), *(np.asarray(values).reshape(-1) for values in arrays)]).astype(dtype)


def _number(texts: Iterable[str], vocabulary: dict[str, int]) -> np.ndarray:
    return np.array([vocabulary.setdefault(text, len(vocabulary)) for text in texts], dtype=np.int64)


def _number_alternatives(record: ScoredAnswer, num_alternatives: int, vocabulary: dict[str, int]) -> np.ndarray:
    ids: np.ndarray = np.zeros((len(record.tokens), num_alternatives), dtype=np.int64)
    for row, texts in zip(ids, record.top_tokens, strict=True):
        texts = texts[:num_alternatives]
        row[: len(texts)] = _number(texts, vocabulary)
    return ids


def _pad_alternatives(record: ScoredAnswer, num_alternatives: int) -> np.ndarray:
    padded = np.full((len(record.tokens), num_alternatives), np.nan)
    if len(record.tokens):
        logprobs = np.asarray(record.top_logprobs)[:, :num_alternatives]
        padded[:, : logprobs.shape[1]] = logprobs
    return padded


def _find_drawn(record: ScoredAnswer, num_alternatives: int) -> np.ndarray:
    """Find the place of the drawn token among the alternatives; 255 if it is none of them."""
    # A record has no ids of the alternatives, and the text of a part of a character differs from the text in the answer.
    # So the probability tells which alternative was drawn. The text decides between two that are equally probable.
    is_equal = np.isclose(_pad_alternatives(record, num_alternatives), np.asarray(record.logprobs)[:, None], 0, 1e-6)
    places = np.where(is_equal.any(1), is_equal.argmax(1), 255) if num_alternatives else np.full(len(is_equal), 255)
    for row in np.flatnonzero(is_equal.sum(1) > 1):
        texts = record.top_tokens[row]
        places[row] = next((k for k in np.flatnonzero(is_equal[row]) if texts[k] == record.tokens[row]), places[row])
    return places


def _get_kept(record: ScoredAnswer) -> np.ndarray:
    return np.zeros(len(record.tokens), bool) if record.kept is None else np.asarray(record.kept, bool)


def _to_surprisals(logprobs: np.ndarray) -> np.ndarray:
    thousandths = np.clip(np.round(-1000 * logprobs), 0, _UNKNOWN - 1)
    return np.where(np.isnan(logprobs), _UNKNOWN, thousandths)


def _encode(values: np.ndarray, dtype: str) -> str:
    return base64.b64encode(values.astype(dtype).tobytes()).decode("ascii")
