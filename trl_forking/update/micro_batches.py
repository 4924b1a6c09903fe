"""The rows of micro-batches: how they are taken out of TRL's parts of a rollout and put together again."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from trl.trainer.utils import pad


Row = dict[str, torch.Tensor]
"""What a batch holds of one answer, by the names of the batch, without padding on the right."""

# What stands behind an answer: as TRL pads, and a ratio of 1, because the loss sums logarithms of ratios over all columns.
_PADDING = {"tool_mask": 1, "importance_sampling_ratio": 1, "row_ids": -1}


def take_rows(part: Mapping[str, Any]) -> list[Row]:
    """
    Take the rows out of a part of a rollout, without a copy.

    Args:
        part (`Mapping[str, Any]`):
            Part as TRL buffers it: tensors with a row per answer, and scalars that all answers share.

    Returns:
        `list[Row]`: one per answer.

    Example:
    ```python
    >>> import torch
    >>> part = {"completion_mask": torch.tensor([[1, 1, 0], [1, 1, 1]]), "advantages": torch.tensor([0.5, -0.5])}
    >>> take_rows(part)[0]
    {'completion_mask': tensor([1, 1]), 'advantages': tensor(0.5000)}
    ```
    """
    num_columns = part["completion_mask"].size(1)
    lengths = part["completion_mask"].sum(1).clamp(min=1).tolist()
    rows: list[Row] = [{} for _ in lengths]
    for name, value in part.items():
        if value is not None and value.dim() > 0:
            is_cut = is_of_answer(name, value, num_columns)
            for row, of_row, length in zip(rows, value, lengths, strict=True):
                row[name] = of_row[:length] if is_cut else of_row
    return rows


def is_of_answer(name: str, value: torch.Tensor, num_columns: int) -> bool:
    """
    Tell whether a tensor of a batch has a column for each token of the answers.

    Example:
    ```python
    >>> import torch
    >>> is_of_answer("kept", torch.ones(2, 3), 3), is_of_answer("prompt_ids", torch.ones(2, 3), 3)
    (True, False)
    ```
    """
    return value.dim() == 2 and value.size(1) == num_columns and not name.startswith("prompt_")


def build_micro_batch(
    rows: Sequence[Row], num_rows: int, example: Mapping[str, Any], pad_token_id: int
) -> dict[str, Any]:
    """
    Put rows together to a micro-batch that has no more columns than its longest answer.

    TRL gathers a number for each row over the ranks, so all ranks must have the same number of rows. Rows that are
    missing are empty: they have no token, and neither a loss nor a metric has a part of them.

    Args:
        rows (`Sequence[Row]`):
            Rows.
        num_rows (`int`):
            Number of rows of the micro-batch, at least 1.
        example (`Mapping[str, Any]`):
            A part of the rollout, for the scalars and the types of the tensors.
        pad_token_id (`int`):
            Token that pads prompts and answers.

    Returns:
        `dict[str, Any]`: batch as TRL's loss takes it.

    Example:
    ```python
    >>> import torch
    >>> part = {"completion_mask": torch.tensor([[1, 1, 0], [1, 1, 1]]), "advantages": torch.tensor([0.5, -0.5])}
    >>> build_micro_batch(take_rows(part)[:1], 2, part, pad_token_id=0)
    {'completion_mask': tensor([[1, 1],
            [0, 0]]), 'advantages': tensor([0.5000, 0.0000])}
    ```
    """
    num_columns = example["completion_mask"].size(1)
    paddings = {**_PADDING, "prompt_ids": pad_token_id, "completion_ids": pad_token_id}
    batch: dict[str, Any] = {}
    for name, value in example.items():
        if value is None or value.dim() == 0:
            batch[name] = value
            continue
        padding = paddings.get(name, 0)
        is_prompt, is_answer = name.startswith("prompt_"), is_of_answer(name, value, num_columns)
        is_padded = is_prompt or is_answer
        empty = value.new_full((1,) if is_padded else value.shape[1:], padding)
        values = [row[name] for row in rows] + [empty] * (num_rows - len(rows))
        side = "left" if is_prompt else "right"
        batch[name] = pad(values, padding, side) if is_padded else torch.stack(values)
    return batch
