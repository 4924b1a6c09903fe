"""Answers with the entropies of their tokens: in memory, and in the shards of a folder (see [`shards`])."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .shards import clear_records, find_missing_shards, get_shard_path, read_num_shards, write_settings, write_table


if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True, eq=False, kw_only=True)
class ScoredAnswer:
    r"""
    One answer, with what a model computed for each of its tokens. It has `T` tokens, `K` alternatives at each of them, and
    `P` tokens of the prompt.

    Args:
        prompt_index (`int`):
            Number of the prompt in the data, from 0.
        answer_index (`int`):
            Number of the answer among the answers to that prompt, from 0.
        prompt (`str`):
            Prompt as the model read it, after the chat template.
        token_ids (`np.ndarray` of shape `(T,)`, int32):
            Tokens of the answer. The token that ends the answer is one of them.
        tokens (`list[str]` of length `T`):
            Text that each token adds to the answer; see [`TokenTexts`].
        entropies (`np.ndarray` of shape `(T,)`, float32):
            Entropies in nats of softmax(logits / temperature) over the whole vocabulary.
        logprobs (`np.ndarray` of shape `(T,)`, float32):
            Log-probability of the drawn token, at the same temperature.
        top_tokens (`list[list[str]]` of shape `(T, K)`):
            Most probable tokens, the most probable first.
        top_logprobs (`np.ndarray` of shape `(T, K)`, float32):
            Their log-probabilities.
        prompt_ids (`np.ndarray` of shape `(P,)`, int32, *optional*):
            Tokens of the prompt, which are needed to score the answer again.
        reward (`float`, *optional*):
            Reward that the verifier gave; `None` without a verifier.
        is_truncated (`bool`, *optional*, defaults to `False`):
            Whether the length limit ended the answer.
        kept (`np.ndarray` of shape `(T,)`, bool, *optional*):
            Which tokens a trainer kept, if the answer comes from a training.
        hes (`float`, *optional*):
            Sum of the highest entropies, see [`compute_hes`].

    Raises:
        `ValueError`: if the length of a field differs from that of `token_ids`.

    Example:
    ```python
    >>> import numpy as np
    >>> from trl_forking.analysis import ScoredAnswer
    >>> sure, unsure = np.array([0.0], np.float32), np.array([1.5], np.float32)
    >>> record = ScoredAnswer(
    ...     prompt_index=0, answer_index=0, prompt="1 + 1 =", token_ids=np.array([5]), tokens=[" 2"],
    ...     entropies=unsure, logprobs=sure, top_tokens=[[]], top_logprobs=np.zeros((1, 0)), reward=1.0,
    ... )
    >>> record.completion, record.is_correct
    (' 2', True)
    ```
    """

    prompt_index: int
    answer_index: int
    prompt: str
    token_ids: np.ndarray
    tokens: list[str]
    entropies: np.ndarray
    logprobs: np.ndarray
    top_tokens: list[list[str]]
    top_logprobs: np.ndarray
    prompt_ids: np.ndarray | None = None
    reward: float | None = None
    is_truncated: bool = False
    kept: np.ndarray | None = None
    hes: float | None = None

    def __post_init__(self) -> None:
        for name in ("tokens", "entropies", "logprobs", "top_tokens", "top_logprobs", "kept"):
            value = getattr(self, name)
            if value is not None and len(value) != len(self.token_ids):
                raise ValueError(
                    f"Answer {self.answer_index} to prompt {self.prompt_index} has {len(self.token_ids)} tokens, but "
                    f"{name} has {len(value)}."
                )

    @property
    def completion(self) -> str:
        """Text of the answer, with its special tokens."""
        return "".join(self.tokens)

    @property
    def is_correct(self) -> bool | None:
        """Whether the reward is positive; `None` without a verifier."""
        return None if self.reward is None else self.reward > 0


def _build_schema() -> "pyarrow.Schema":
    import pyarrow as pa

    types = {
        "prompt_index": pa.int32(),
        "answer_index": pa.int32(),
        "prompt": pa.large_string(),
        "token_ids": pa.list_(pa.int32()),
        "tokens": pa.list_(pa.string()),
        "entropies": pa.list_(pa.float32()),
        "logprobs": pa.list_(pa.float32()),
        "top_tokens": pa.list_(pa.list_(pa.string())),
        "top_logprobs": pa.list_(pa.list_(pa.float32())),
        "prompt_ids": pa.list_(pa.int32()),
        "reward": pa.float64(),
        "is_truncated": pa.bool_(),
        "kept": pa.list_(pa.bool_()),
        "hes": pa.float64(),
    }
    return pa.schema(list(types.items()))


def write_shard(folder: str | Path, shard: int, records: Sequence[ScoredAnswer]) -> None:
    """
    Write a shard, completely or not at all.

    Args:
        folder (`str` or `Path`):
            Folder of a collection, which has its settings.
        shard (`int`):
            Number of the shard, from 0.
        records (`Sequence[ScoredAnswer]`):
            Answers of the shard.

    Example:
    ```python
    >>> from trl_forking.analysis import find_missing_shards, write_settings, write_shard
    >>> write_settings("analysis", {"num_shards": 2})
    >>> write_shard("analysis", 0, [])
    >>> find_missing_shards("analysis")
    [1]
    ```
    """
    import pyarrow as pa

    schema = _build_schema()
    columns = {name: [_to_plain(getattr(record, name)) for record in records] for name in schema.names}
    table = pa.table(columns, schema=schema)
    write_table(get_shard_path(folder, shard), table)


def _to_plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def write_records(folder: str | Path, records: Sequence[ScoredAnswer], settings: dict[str, Any] | None = None) -> None:
    """
    Write a whole collection at once. An older collection in the folder is removed.

    Args:
        folder (`str` or `Path`):
            Folder to write to.
        records (`Sequence[ScoredAnswer]`):
            Answers.
        settings (`dict`, *optional*):
            Settings to write into `run.json`.

    Example:
    ```python
    >>> from trl_forking.analysis import read_records, write_records
    >>> write_records("analysis", [], {"model": "tiny"})
    >>> read_records("analysis")
    []
    ```
    """
    clear_records(folder)
    write_settings(folder, {**(settings or {}), "num_shards": 1})
    write_shard(folder, 0, records)


def iterate_records(folder: str | Path) -> Iterator[ScoredAnswer]:
    """
    Read the answers of a finished collection one after the other, with a part of one shard in memory at a time.

    Args:
        folder (`str` or `Path`):
            Folder of a collection.

    Returns:
        `Iterator[ScoredAnswer]`: answers, in the order of their prompts.

    Raises:
        `ValueError`: if there is no collection, or shards are missing.

    Example:
    ```python
    >>> from trl_forking.analysis import iterate_records, write_settings
    >>> write_settings("analysis", {"num_shards": 3})
    >>> next(iterate_records("analysis"))
    Traceback (most recent call last):
        ...
    ValueError: analysis has 0 of 3 shards: collect with the same settings to write the others.
    ```
    """
    missing = find_missing_shards(folder)
    num_shards = read_num_shards(folder)
    if missing:
        raise ValueError(
            f"{folder} has {num_shards - len(missing)} of {num_shards} shards: collect with the same settings to write "
            "the others."
        )
    for shard in range(num_shards):
        yield from _read_shard(get_shard_path(folder, shard))


def read_records(folder: str | Path) -> list[ScoredAnswer]:
    """
    Read all answers of a finished collection.

    The arguments, the order and the errors are those of [`iterate_records`].

    Returns:
        `list[ScoredAnswer]`.

    Example:
    ```python
    >>> from trl_forking.analysis import read_records, write_records
    >>> write_records("analysis", [])
    >>> len(read_records("analysis"))
    0
    ```
    """
    return list(iterate_records(folder))


_ARRAY_TYPES: dict[str, Any] = {
    "token_ids": np.int32,
    "entropies": np.float32,
    "logprobs": np.float32,
    "prompt_ids": np.int32,
    "kept": np.bool_,
}


def _read_shard(path: Path) -> Iterator[ScoredAnswer]:
    import pyarrow.parquet as pq

    names = [field.name for field in fields(ScoredAnswer)]
    with pq.ParquetFile(path) as file:
        if not set(names) <= set(file.schema_arrow.names):
            raise ValueError(f"{path} has other columns than a collection: give a folder of trl-forking analyze.")
        for batch in file.iter_batches(batch_size=16, columns=names):
            for row in batch.to_pylist():
                yield _build_record(row)


def _build_record(row: dict[str, Any]) -> ScoredAnswer:
    for name, dtype in _ARRAY_TYPES.items():
        row[name] = None if row[name] is None else np.array(row[name], dtype)
    num_alternatives = len(row["top_tokens"][0]) if row["top_tokens"] else 0
    row["top_logprobs"] = np.array(row["top_logprobs"], np.float32).reshape(len(row["tokens"]), num_alternatives)
    return ScoredAnswer(**row)
