"""Judged answers in a folder of Parquet files, from where an interrupted evaluation goes on.

    folder/run.json                 settings that the answers come from, and `num_shards`
    folder/answers/00000.parquet    a shard: one row per answer, all answers to a problem in the same shard

A file gets its name when it is complete. If the writer is killed, shards may be missing, but none is broken.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from ..analysis.shards import find_missing_shards, get_shard_path, read_num_shards, write_table
from .summary import AnsweredProblem


if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True, kw_only=True)
class JudgedAnswer:
    r"""
    One answer and its verdict.

    Args:
        problem_index (`int`):
            Number of the problem in its set, from 0.
        key (`str`):
            What the problem is known by in every evaluation, see [`build_key`].
        answer_index (`int`):
            Number of the answer among the answers to that problem, from 0.
        prompt (`str`):
            Prompt as the model read it, after the template.
        solution (`str` or `None`):
            Right answer.
        completion (`str`):
            Text of the answer, without special tokens.
        num_tokens (`int`):
            Its tokens; the token that ends it is one of them.
        is_truncated (`bool`):
            Whether the length limit ended it.
        is_right (`bool`):
            Verdict.
        read (`str` or `None`):
            What the verifier read in it.
        vote (`int` or `None`):
            Number of the class of equal answers that it belongs to; `None` if the verifier could not read it.

    Example:
    ```python
    >>> from trl_forking.evaluation.records import JudgedAnswer
    >>> answer = JudgedAnswer(
    ...     problem_index=0, key="0a1b", answer_index=0, prompt="1 + 1?", solution="2", completion=r"\boxed{2}",
    ...     num_tokens=4, is_truncated=False, is_right=True, read="2", vote=0,
    ... )
    >>> answer.verdict
    'right'
    ```
    """

    problem_index: int
    key: str
    answer_index: int
    prompt: str
    solution: str | None
    completion: str
    num_tokens: int
    is_truncated: bool
    is_right: bool
    read: str | None
    vote: int | None

    @property
    def verdict(self) -> str:
        """`"right"`, `"wrong"`, or `"unreadable"` for a wrong answer in which the verifier found nothing to read."""
        return "right" if self.is_right else "unreadable" if self.vote is None else "wrong"


def _build_schema() -> "pyarrow.Schema":
    import pyarrow as pa

    types = {
        "problem_index": pa.int32(),
        "key": pa.string(),
        "answer_index": pa.int32(),
        "prompt": pa.large_string(),
        "solution": pa.large_string(),
        "completion": pa.large_string(),
        "num_tokens": pa.int32(),
        "is_truncated": pa.bool_(),
        "is_right": pa.bool_(),
        "read": pa.large_string(),
        "vote": pa.int32(),
    }
    return pa.schema(list(types.items()))


def write_answers(folder: str | Path, shard: int, answers: Sequence[JudgedAnswer]) -> None:
    """
    Write a shard, completely or not at all.

    Args:
        folder (`str` or `Path`):
            Folder of an evaluation.
        shard (`int`):
            Number of the shard, from 0.
        answers (`Sequence[JudgedAnswer]`):
            Answers of the shard.

    Example:
    ```python
    >>> from trl_forking.analysis.shards import write_settings
    >>> from trl_forking.evaluation.records import read_answers, write_answers
    >>> write_settings("evaluation", {"num_shards": 1})
    >>> write_answers("evaluation", 0, [])
    >>> read_answers("evaluation")
    []
    ```
    """
    import pyarrow as pa

    schema = _build_schema()
    columns = {name: [_replace_surrogates(getattr(answer, name)) for answer in answers] for name in schema.names}
    table = pa.table(columns, schema=schema)
    write_table(get_shard_path(folder, shard), table)


def _replace_surrogates(value: object) -> object:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def read_answers(folder: str | Path) -> list[JudgedAnswer]:
    """
    Read all answers of a finished evaluation, in the order of the problems.

    Args:
        folder (`str` or `Path`):
            Folder of an evaluation.

    Returns:
        `list[JudgedAnswer]`

    Raises:
        `ValueError`: if there is no evaluation, it is not finished, or the folder has answers of another kind.

    Example:
    ```python
    >>> from trl_forking.evaluation.records import read_answers
    >>> read_answers("no-such-folder")
    Traceback (most recent call last):
        ...
    ValueError: no-such-folder holds no collected answers: run.json is missing.
    ```
    """
    import pyarrow.parquet as pq

    missing = find_missing_shards(folder)
    num_shards = read_num_shards(folder)
    if missing:
        raise ValueError(
            f"{folder} has {num_shards - len(missing)} of {num_shards} parts: evaluate with the same settings to write "
            "the others."
        )
    answers = []
    for shard in range(num_shards):
        path = get_shard_path(folder, shard)
        table = pq.read_table(path)
        if not set(_build_schema().names) <= set(table.column_names):
            raise ValueError(f"{path} has other columns than an evaluation: give a folder of trl-forking evaluate.")
        answers += [JudgedAnswer(**row) for row in table.select(_build_schema().names).to_pylist()]
    return sorted(answers, key=lambda answer: (answer.problem_index, answer.answer_index))


def group_by_problem(answers: Sequence[JudgedAnswer]) -> list[AnsweredProblem]:
    """
    Put the answers to each problem together, for [`summarize_answers`].

    Args:
        answers (`Sequence[JudgedAnswer]`):
            Answers in the order of their problems, from [`read_answers`].

    Returns:
        `list[AnsweredProblem]`: the problems.

    Example:
    ```python
    >>> from trl_forking.evaluation.records import group_by_problem
    >>> group_by_problem([])
    []
    ```
    """
    problems = []
    for key, group in groupby(answers, lambda answer: answer.key):
        own = list(group)
        problems.append(
            AnsweredProblem(
                key=key,
                is_right=[answer.is_right for answer in own],
                votes=[answer.vote for answer in own],
                lengths=[answer.num_tokens for answer in own],
                is_truncated=[answer.is_truncated for answer in own],
            )
        )
    return problems
