"""How often a run kept each token of the vocabulary, over all ranks. Pure torch."""

import torch

from .kth_largest import Reduce, keep_local


class TokenCounts:
    r"""
    Counts for every token of the vocabulary how often it competed for the budget and how often it was kept.

    The counts are exact over all ranks and the same on each rank. Each selection sums two vectors of the vocabulary's
    size over the ranks.

    Example:
    ```python
    >>> import torch
    >>> tokens = TokenCounts()
    >>> ids = torch.tensor([[7, 3, 7], [3, 7, 0]])
    >>> counted = torch.tensor([[True, True, True], [True, True, False]])
    >>> kept = torch.tensor([[True, False, False], [False, True, False]])
    >>> tokens.add(ids, counted, kept, vocabulary_size=8)
    >>> tokens.find_most_frequent(20), tokens.num_kept  # token id, kept, counted
    ([(7, 2, 3)], 2)
    ```
    """

    def __init__(self) -> None:
        self._counts = torch.zeros(2, 0, dtype=torch.long)  # kept, counted

    def add(
        self,
        token_ids: torch.Tensor,
        counted: torch.Tensor,
        kept: torch.Tensor,
        vocabulary_size: int,
        reduce: Reduce = keep_local,
    ) -> None:
        """
        Count the tokens of one selection.

        Args:
            token_ids (`torch.Tensor` of shape `(B, T)`):
                This rank's token ids.
            counted (`torch.Tensor` of shape `(B, T)`):
                Tokens that competed for the budget.
            kept (`torch.Tensor` of shape `(B, T)`):
                Tokens of `counted` that are trained.
            vocabulary_size (`int`):
                A number larger than every token id. It is the same on all ranks.
            reduce (`Callable`, *optional*):
                Sums a tensor over the ranks.
        """
        of_batch = [torch.bincount(token_ids[mask.bool()], minlength=vocabulary_size) for mask in (kept, counted)]
        counts = reduce(torch.stack(of_batch)).cpu()
        missing = counts.size(1) - self._counts.size(1)
        self._counts = torch.nn.functional.pad(self._counts, (0, missing)) + counts

    @property
    def num_kept(self) -> int:
        """Number of kept tokens of all selections."""
        return int(self._counts[0].sum())

    def find_most_frequent(self, number: int) -> list[tuple[int, int, int]]:
        """
        Find the tokens that were kept most often.

        Args:
            number (`int`):
                Largest number of tokens to return.

        Returns:
            `list[tuple[int, int, int]]`: token id, times it was kept, times it was counted. Among equal counts the
            lower id comes first.
        """
        order = self._counts[0].argsort(descending=True, stable=True)[:number].tolist()
        return [(token, *self._counts[:, token].tolist()) for token in order if self._counts[0, token] > 0]

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the counts that are not zero, for a checkpoint."""
        token_ids = self._counts[1].nonzero().squeeze(1)
        return {"token_ids": token_ids, "counts": self._counts[:, token_ids]}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Load the counts of a checkpoint."""
        size = int(state["token_ids"].max()) + 1 if state["token_ids"].numel() else 0
        self._counts = torch.zeros(2, size, dtype=torch.long)
        self._counts[:, state["token_ids"]] = state["counts"]
