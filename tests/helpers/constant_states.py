"""Obvious references for the fork path: a full pass that detaches keys and values, layer by layer."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import Cache


def detach_where(states: torch.Tensor, is_constant: torch.Tensor) -> torch.Tensor:
    """The same values, without gradient at the positions `(B, S)` that are constant; positions are in dimension 1."""
    shape = (*is_constant.shape, *[1] * (states.dim() - 2))
    return torch.where(is_constant.view(shape), states.detach(), states)


@contextmanager
def detaching_projections(model: torch.nn.Module, is_constant: torch.Tensor) -> Iterator[None]:
    """Detach what `k_proj` and `v_proj` return; for models that do nothing with weights to keys and values afterwards."""
    hooks = [
        module.register_forward_hook(lambda module, args, output: detach_where(output, is_constant))
        for name, module in model.named_modules()
        if name.endswith(("k_proj", "v_proj"))
    ]
    assert hooks
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class DetachingCache(Cache):
    """Detaches keys and values as every layer hands them to its attention."""

    def __init__(self, is_constant: torch.Tensor):
        super().__init__(layers=[])
        self.is_constant = is_constant

    def update(
        self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        pair = (key_states, value_states)
        keys, values = (detach_where(states.transpose(1, 2), self.is_constant).transpose(1, 2) for states in pair)
        return keys, values

    def get_seq_length(self, *args: Any, **kwargs: Any) -> int:
        return 0

    def get_query_offset(self, *args: Any, **kwargs: Any) -> int:
        return 0


def find_constant(scored: torch.Tensor, mask: torch.Tensor, window: int) -> torch.Tensor:
    """The positions `(B, S)` that are neither within the window before a scored token nor predict one; by loops."""
    is_constant = torch.ones_like(mask, dtype=torch.bool)
    num_prompt = mask.size(1) - scored.size(1)
    for row, token in scored.nonzero().tolist():
        column = num_prompt + token - 1
        for position in range(max(column - window, 0), column + 1):
            if mask[row, position]:
                is_constant[row, position] = False
    return is_constant
