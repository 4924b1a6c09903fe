"""Terms of TRL's loss for single tokens: their clip ranges, and the KL term on some of them. No line of the loss is repeated.

TRL's loss reads its clip range from two attributes of the trainer, and clamps the ratios by a number or a tensor. It reads the
reference log-probabilities from the batch after its forward pass. Where they are those of the policy itself, the KL term and its
gradient are exactly zero.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ..selection.token_selector import Selection


@contextmanager
def clip_by_token(trainer: Any, selection: Selection | None) -> Iterator[None]:
    """
    Let the clip ranges of a selection hold for TRL's loss inside.

    Args:
        trainer ([`~trl.GRPOTrainer`]):
            Trainer whose loss is computed inside.
        selection ([`Selection`], *optional*):
            Selection; `None` if it is made inside, after the forward pass, see [`set_clip_ranges`].

    Example:
    ```python
    >>> from types import SimpleNamespace
    >>> trainer = SimpleNamespace(epsilon_low=0.2, epsilon_high=0.28)
    >>> kept, ranges = torch.tensor([[True, True]]), torch.tensor([[0.2, 0.5]])
    >>> selection = Selection(kept, kept, 2, torch.tensor(1.0), {}, epsilon_low=ranges, epsilon_high=ranges)
    >>> with clip_by_token(trainer, selection):
    ...     trainer.epsilon_high
    tensor([[0.2000, 0.5000]])
    >>> trainer.epsilon_high
    0.28
    ```
    """
    before = trainer.epsilon_low, trainer.epsilon_high
    try:
        if selection is not None:
            set_clip_ranges(trainer, selection)
        yield
    finally:
        trainer.epsilon_low, trainer.epsilon_high = before


def set_clip_ranges(trainer: Any, selection: Selection) -> None:
    """
    Set the clip ranges of a selection, inside [`clip_by_token`], which takes them back.

    Example:
    ```python
    >>> from types import SimpleNamespace
    >>> trainer, kept = SimpleNamespace(epsilon_low=0.2, epsilon_high=0.28), torch.tensor([[True]])
    >>> ranges = torch.tensor([[0.1]])
    >>> set_clip_ranges(
    ...     trainer, Selection(kept, kept, 1, torch.tensor(1.0), {}, epsilon_low=ranges, epsilon_high=ranges)
    ... )
    >>> trainer.epsilon_low
    tensor([[0.1000]])
    ```
    """
    if selection.epsilon_low is not None:  # a selection has both or neither
        trainer.epsilon_low, trainer.epsilon_high = selection.epsilon_low, selection.epsilon_high


def restrict_kl(
    ref_per_token_logps: torch.Tensor, per_token_logps: torch.Tensor, kl_tokens: str, selection: Selection
) -> torch.Tensor:
    r"""
    Return reference log-probabilities with which the KL term is on some tokens only.

    TRL's term is \\( e^{d} - d - 1 \\) with \\( d = \log p_{ref} - \log p \\). Its value and its gradient \\( e^{d} - 1 \\)
    are zero at \\( d = 0 \\).

    Args:
        ref_per_token_logps (`torch.Tensor` of shape `(B, T)`):
            Log-probabilities of the reference model.
        per_token_logps (`torch.Tensor` of shape `(B, T)`):
            Those of the policy in this pass, without gradient.
        kl_tokens (`str`):
            `"all"`, `"selected"` (kept tokens) or `"dropped"` (counted tokens that are not kept).
        selection ([`Selection`]):
            Selection of the batch.

    Returns:
        `torch.Tensor` of shape `(B, T)`.

    Example:
    ```python
    >>> kept, counted = torch.tensor([[True, False]]), torch.tensor([[True, True]])
    >>> selection = Selection(counted, kept, 1, torch.tensor(2.0), {})
    >>> restrict_kl(torch.tensor([[-1.0, -2.0]]), torch.tensor([[-3.0, -4.0]]), "dropped", selection)
    tensor([[-3., -2.]])
    ```
    """
    if kl_tokens == "all":
        return ref_per_token_logps
    chosen = selection.kept if kl_tokens == "selected" else selection.counted & ~selection.kept
    return torch.where(chosen, ref_per_token_logps, per_token_logps)
