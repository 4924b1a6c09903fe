"""Keys and values of all positions, from a pass without gradient, for a pass with gradient at some positions.

Transformers lets every attention layer read and write its keys and values through a `Cache`. Here a cache first takes down
what a pass without gradient computes. In the next pass it returns these keys and values as constants, with the fresh ones of
the chosen positions in their places.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psutil
import torch
from transformers import Cache


MEMORY_SHARE = 0.25
"""Largest share of the free memory that the keys and values of a rollout may take until it is trained."""


class ForkStates(Cache):
    """
    The keys and values of all positions of a batch, layer by layer.

    Until [`place`] is called, it takes down what a forward pass computes. From then on it is the cache of a forward pass
    over chosen positions.

    Args:
        keys, values (`dict[int, torch.Tensor]`, *optional*):
            What is known from an earlier pass, by layer, of shape `(B, H, S, D)`.

    Example:
    ```python
    >>> import torch
    >>> states = ForkStates()
    >>> _ = states.update(torch.zeros(1, 1, 4, 2), torch.zeros(1, 1, 4, 2), layer_idx=0)
    >>> states.place(torch.tensor([[1, 3]]), torch.tensor([[True, True]]), num_columns=4)
    >>> keys, values = states.update(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2), layer_idx=0)
    >>> keys[0, 0, :, 0]
    tensor([0., 1., 0., 1.])
    ```
    """

    def __init__(
        self, keys: dict[int, torch.Tensor] | None = None, values: dict[int, torch.Tensor] | None = None
    ) -> None:
        super().__init__(layers=[])
        self.keys, self.values = keys or {}, values or {}
        self._num_columns: int | None = None

    def place(self, columns: torch.Tensor, is_real: torch.Tensor, num_columns: int, stays: bool = False) -> None:
        """
        Say which positions the next forward pass computes.

        Args:
            columns (`torch.Tensor` of shape `(B, K)`):
                Column of each position.
            is_real (`torch.Tensor` of shape `(B, K)`):
                Whether it is a position. The others fill up the rows, and their keys and values go nowhere.
            num_columns (`int`):
                Number of columns of the batch.
            stays (`bool`, *optional*, defaults to `False`):
                Whether the pass reads a layer more than once, as gradient checkpointing does. If not, the constants of
                a layer are let go once they are read.
        """
        self._slots = is_real.nonzero(as_tuple=True)
        self._places = (self._slots[0], columns[is_real])
        self._num_columns, self._stays, self._has_constants = num_columns, stays, bool(self.keys)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Take down keys and values `(B, H, S, D)`, or put those of the chosen positions `(B, H, K, D)` in their places."""
        if self._num_columns is None:
            self.keys[layer_idx], self.values[layer_idx] = key_states.detach(), value_states.detach()
            return key_states, value_states
        if not self._has_constants:  # one token in place of a batch without kept ones: it sees itself
            return key_states, value_states
        keys, values = self.keys[layer_idx], self.values[layer_idx]
        if not self._stays:
            del self.keys[layer_idx], self.values[layer_idx]
        return self._put(keys, key_states), self._put(values, value_states)

    def _put(self, constant: torch.Tensor, fresh: torch.Tensor) -> torch.Tensor:
        chosen = fresh.transpose(1, 2)[self._slots].to(constant.dtype)  # (num_real, H, D)
        return constant.transpose(1, 2).index_put(self._places, chosen).transpose(1, 2)

    # What a model asks a cache for. No position is in the past of the pass: each stands at its own column.

    def get_seq_length(self, *args: Any, **kwargs: Any) -> int:
        """Return the number of positions before those of the pass."""
        return 0

    def get_query_offset(self, *args: Any, **kwargs: Any) -> int:
        """Return the column of the first position of the pass; the mask gives each its own column."""
        return 0

    def get_mask_sizes(self, query_length: int, *args: Any, **kwargs: Any) -> tuple[int, int]:
        """Return the number of columns, and the first of them."""
        return self._num_columns or query_length, 0


@dataclass(frozen=True)
class Recording:
    """
    What a pass without gradient took down.

    Attributes:
        states ([`ForkStates`]): keys and values of its rows.
        rows (`torch.Tensor` of shape `(R,)`): numbers of the rows that it computed, in the order of `states`.
        first (`torch.Tensor` of shape `(R,)`): position that the model counted for the first column of each row.
        lengths (`torch.Tensor` of shape `(R,)`): number of columns of each row that are needed.

    Example:
    ```python
    >>> import torch
    >>> one = torch.tensor([1])
    >>> Recording(ForkStates(), one, one, one).rows
    tensor([1])
    ```
    """

    states: ForkStates
    rows: torch.Tensor
    first: torch.Tensor
    lengths: torch.Tensor


@dataclass(frozen=True)
class _RowStates:
    first: int
    keys: dict[int, torch.Tensor]  # (H, n, D) for each layer
    values: dict[int, torch.Tensor]


class StatesStore:
    """
    Keys and values of the answers of a rollout, until they are trained or the weights change.

    Example:
    ```python
    >>> import torch
    >>> store, states, one = StatesStore(), ForkStates(), torch.tensor([1])
    >>> _ = states.update(torch.ones(1, 1, 3, 2), torch.ones(1, 1, 3, 2), layer_idx=0)
    >>> store.begin(step=0, num_columns=3)
    >>> store.add(Recording(states, rows=torch.tensor([7]), first=one, lengths=torch.tensor([2])))
    >>> store.has([7], step=0)
    True
    >>> states, first = store.take([7], num_columns=4)
    >>> states.keys[0][0, 0, :, 0], first
    (tensor([1., 1., 0., 0.]), tensor([1]))
    >>> store.has([7], step=1)  # after an optimizer step the weights are others
    False
    ```
    """

    def __init__(self) -> None:
        self._rows: dict[int, _RowStates] = {}
        self._step: int | None = None
        self._num_columns_left = 0

    def begin(self, step: int, num_columns: int) -> None:
        """Forget what there is, and get ready for the columns of a rollout at a step of the training."""
        self._rows, self._step, self._num_columns_left = {}, step, num_columns

    def add(self, recording: Recording) -> None:
        """Add the rows of a recording, unless those of the rollout take more than [`MEMORY_SHARE`] of the free memory."""
        if self._step is None:
            return
        states = recording.states
        parts = [*states.keys.values(), *states.values.values()]
        per_column = sum(part.element_size() * part.size(1) * part.size(3) for part in parts)
        device = parts[0].device if parts else torch.device("cpu")
        if per_column * self._num_columns_left > MEMORY_SHARE * measure_free_memory(device):
            self.clear()
            return
        lengths, first = recording.lengths.tolist(), recording.first.tolist()
        for index, row in enumerate(recording.rows.tolist()):
            # Copies, so that the padding of the batch is let go.
            keys, values = (
                {layer: part[index, :, : lengths[index]].clone() for layer, part in of_layers.items()}
                for of_layers in (states.keys, states.values)
            )
            self._rows[row] = _RowStates(first[index], keys, values)
        self._num_columns_left -= sum(lengths)

    def keep_only(self, rows: Sequence[int]) -> None:
        """Forget all other rows."""
        self._rows = {row: self._rows[row] for row in rows if row in self._rows}

    def clear(self) -> None:
        """Forget what there is, and take nothing until the next rollout."""
        self._rows, self._step = {}, None

    def has(self, rows: Sequence[int], step: int) -> bool:
        """Tell whether the keys and values of rows are known, at a step of the training; those of an earlier step go."""
        if self._step != step:
            self.clear()
        return self._step is not None and all(row in self._rows for row in rows)

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, rows: Sequence[int], num_columns: int) -> tuple[ForkStates, torch.Tensor]:
        """
        Take the keys and values of rows out, and put them together to a batch.

        Args:
            rows (`Sequence[int]`):
                Numbers of the rows, one or more.
            num_columns (`int`):
                Number of columns of the batch.

        Returns:
            `tuple`: a [`ForkStates`], and the position that the model counted for the first column of each row.
        """
        parts = [self._rows.pop(row) for row in rows]
        layers, device = parts[0].keys, next(iter(parts[0].keys.values())).device
        keys = {layer: _pad([part.keys[layer] for part in parts], num_columns) for layer in layers}
        values = {layer: _pad([part.values[layer] for part in parts], num_columns) for layer in layers}
        return ForkStates(keys, values), torch.tensor([part.first for part in parts], device=device)


def _pad(rows: Sequence[torch.Tensor], num_columns: int) -> torch.Tensor:
    """Stack rows `(H, n, D)` to `(B, H, num_columns, D)`; what lies behind a row is never attended to."""
    heads, _, size = rows[0].shape
    batch = rows[0].new_zeros(len(rows), heads, num_columns, size)
    for place, row in zip(batch, rows, strict=True):
        length = min(row.size(1), num_columns)
        place[:, :length] = row[:, :length]
    return batch


def measure_free_memory(device: torch.device) -> int:
    """
    Measure how many bytes are free on a device.

    Example:
    ```python
    >>> import torch
    >>> measure_free_memory(torch.device("cpu")) > 0
    True
    ```
    """
    if device.type != "cuda":
        return psutil.virtual_memory().available
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + cached
