r"""A forward and backward pass over chosen positions alone; the keys and values of all others are constants.

The exact gradient of a kept token flows back through every earlier position, because its attention reads their keys and
values. Here those of positions that are not chosen carry no gradient:

    pass 1, without gradient   all positions; every layer's keys and values are taken down ([`record_states`])
    pass 2, with gradient      the chosen positions, at their own position ids; every layer attends to the constants, with
                               the fresh keys and values of the chosen positions in their places ([`score_forks`])

The values of both passes are those of the full pass. The gradient is an approximation, known for fine-tuning as
[TokenTune](https://huggingface.co/papers/2501.18824): that of a full pass in which each layer detaches the keys and values of all
positions that are not chosen.

A position is chosen if it predicts a kept token, or is one of the `window` positions before it. The pass goes through
Transformers' interfaces: a `Cache` for keys and values, and the functions by which a model makes its masks. They ask whether a
query sees a key, by the numbers of both. In pass 2 the number of a query is the column of its position, so causal masks, sliding
windows and chunks stay as they are.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import CheckpointWrapper
from transformers import masking_utils
from transformers.modeling_layers import GradientCheckpointingLayer

from .fork_states import ForkStates, Recording
from .sparse_update import ScoredPositions, find_spans, put_hooks


MASKED_ATTENTION = ("sdpa", "eager", "flex_attention")
"""Attention of Transformers that takes a mask which says what each position sees. FlashAttention takes none."""

CAN_KEEP_CACHE = hasattr(GradientCheckpointingLayer, "_can_checkpoint_with_cache")
"""Whether layers of this Transformers can be told to keep their cache while they checkpoint."""

FindStates = Callable[[torch.Tensor, int], tuple[ForkStates, torch.Tensor | None]]
"""Finds the keys and values of rows `(R,)` for a number of columns; and where known, the positions of their first columns."""


class _RecordedPositions(ScoredPositions):
    """Gives every call a cache that takes down keys and values."""

    def __init__(
        self, scored: torch.Tensor, model: torch.nn.Module, multiple: int, receive: Callable, has_scores: bool
    ):
        super().__init__(scored, model, keeps_rows=False, multiple=multiple)
        self.receive, self.has_scores = receive, has_scores

    def cut_inputs(self, module, args, kwargs):
        begin, mask = self.next_row, kwargs["attention_mask"]
        args, kwargs = super().cut_inputs(module, args, kwargs)
        scored = self.scored[begin : self.next_row]
        first, end = find_spans(mask, scored, self.moves_rows)
        live = scored.any(1).nonzero().squeeze(1)
        self.recording = Recording(ForkStates(), live + begin, first[live], (end - first)[live])
        kwargs["past_key_values"] = self.recording.states
        if not self.has_scores:
            nothing = self.gathered[0].new_empty(0)
            self.gathered = self.places = (nothing, nothing)
            kwargs["shift_labels"] = kwargs["shift_labels"][:, :0]
        return args, kwargs

    def scatter_scores(self, module, args, output):
        self.receive(self.recording)
        return super().scatter_scores(module, args, output)


@contextmanager
def record_states(
    model: torch.nn.Module,
    scored: torch.Tensor,
    receive: Callable[[Recording], None],
    multiple: int = 1,
    has_scores: bool = True,
) -> Iterator[None]:
    """
    Take down the keys and values of forward calls inside, which are those of [`score_only`].

    Args:
        model (`torch.nn.Module`):
            Model or PEFT model with TRL's fused head, unwrapped from DDP or DeepSpeed.
        scored (`torch.Tensor` of shape `(B, T)`):
            Completion tokens to score.
        receive (`Callable`):
            Gets a [`Recording`] after every call.
        multiple (`int`, *optional*, defaults to `1`):
            As in [`score_only`].
        has_scores (`bool`, *optional*, defaults to `True`):
            Whether the tokens are scored. If not, all scores are zero, and no position reaches the head.

    Example:
    ```python
    >>> import torch
    >>> from trl.trainer.utils import add_fused_lm_head
    >>> from trl_forking.countdown import load_countdown_model
    >>> model = load_countdown_model()
    >>> add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    >>> ids, mask, recordings = torch.tensor([[5, 6, 7, 8]]), torch.ones(1, 4, dtype=torch.long), []
    >>> with torch.no_grad(), record_states(model, torch.tensor([[False, True]]), recordings.append):
    ...     output = model(input_ids=ids, attention_mask=mask, labels=ids, fused_lm_head=True)
    >>> recordings[0].states.keys[0].shape[2]  # all but the last token, which nothing is predicted from
    3
    ```
    """
    positions = _RecordedPositions(scored, model, multiple, receive, has_scores)
    with _without_autocast_cache(), put_hooks(model, positions):
        yield


@contextmanager
def _without_autocast_cache() -> Iterator[None]:
    """Let no weight that autocast converts without gradient be found by the pass with gradient."""
    try:
        yield
    finally:
        torch.clear_autocast_cache()


class _ForkPositions(ScoredPositions):
    """Narrows every call to the chosen positions."""

    columns: torch.Tensor | None = None
    keeps_mask = True

    def __init__(
        self, scored: torch.Tensor, model: torch.nn.Module, multiple: int, window: int, find_states: FindStates
    ):
        super().__init__(scored, model, keeps_rows=False, multiple=multiple)
        self.window, self.find_states, self.stays = window, find_states, False

    def cut_inputs(self, module, args, kwargs):
        begin = self.next_row
        args, kwargs = super().cut_inputs(module, args, kwargs)
        mask = kwargs["attention_mask"]
        chosen = choose_positions(self.gathered, mask.bool(), self.window)
        self.columns, is_real = _gather_columns(chosen)
        live = self.live if len(self.gathered[0]) else self.live[:0]
        states, first = self.find_states(live + begin, self.width)
        states.place(self.columns, is_real, self.width, self.stays)
        place = (chosen.cumsum(1) - 1)[self.gathered]  # of each scored position among the chosen ones of its row
        self.gathered = (self.gathered[0], place)
        for name in ("input_ids", "token_type_ids"):
            if kwargs.get(name) is not None:
                kwargs[name] = kwargs[name].gather(1, self.columns)
        if first is None:
            counted = torch.arange(self.width, device=mask.device).expand_as(mask)
            positions = kwargs.get("position_ids", counted).gather(1, self.columns)
        else:  # keys were turned by the positions of the pass that computed them
            positions = first.unsqueeze(1) + self.columns
        return args, kwargs | {"position_ids": positions, "past_key_values": states}


def choose_positions(places: tuple[torch.Tensor, torch.Tensor], mask: torch.Tensor, window: int) -> torch.Tensor:
    """
    Choose the positions that carry gradient.

    Args:
        places (`tuple[torch.Tensor, torch.Tensor]`):
            Rows and columns of the positions that predict a kept token.
        mask (`torch.Tensor` of shape `(B, S)`):
            Positions that are no padding.
        window (`int`):
            Number of positions before each of them that carry gradient too.

    Returns:
        `torch.Tensor` of shape `(B, S)` and type bool. If nothing is kept, it is one position, so that every layer is called.

    Example:
    ```python
    >>> import torch
    >>> places = (torch.tensor([0]), torch.tensor([3]))
    >>> choose_positions(places, torch.tensor([[False, True, True, True, True]]), window=1).int()
    tensor([[0, 0, 1, 1, 0]], dtype=torch.int32)
    ```
    """
    scored = torch.zeros_like(mask).index_put(places, torch.ones_like(mask[:1, 0]))
    # The scored column s marks the columns s - window to s: a token is chosen if a scored one follows within the window.
    counts = torch.nn.functional.pad(scored.long().cumsum(1), (1, 0))
    ends = torch.arange(1, mask.size(1) + 1, device=mask.device)
    later = counts[:, (ends + window).clamp(max=mask.size(1))] - counts[:, ends - 1]
    chosen = scored | ((later > 0) & mask)
    if not len(places[0]):
        chosen[:, 0] = True
    return chosen


def _gather_columns(chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the chosen columns of each row `(B, K)`, and which of them are no filling; each row has one or more."""
    counts = chosen.sum(1, keepdim=True)
    longest = int(counts.max())
    columns = (~chosen).byte().argsort(dim=1, stable=True)[:, :longest]
    is_real = torch.arange(longest, device=chosen.device) < counts
    # Filled up with a real position of the row: one that saw no key would have no attention.
    return torch.where(is_real, columns, columns.gather(1, counts - 1)), is_real


@contextmanager
def score_forks(
    model: torch.nn.Module, scored: torch.Tensor, window: int, find_states: FindStates, multiple: int = 1
) -> Iterator[None]:
    """
    Make forward calls that score tokens as in [`score_only`], with gradient through few positions.

    Args:
        model (`torch.nn.Module`):
            Model or PEFT model with TRL's fused head, unwrapped from DDP or DeepSpeed.
        scored (`torch.Tensor` of shape `(B, T)`):
            Completion tokens to score.
        window (`int`):
            Number of positions before each scored one that carry gradient too.
        find_states (`Callable`):
            Takes the numbers of rows, and the number of columns. Returns their [`ForkStates`], and the position that was
            counted for the first column of each row, or `None` if the pass that recorded them had the same inputs.
        multiple (`int`, *optional*, defaults to `1`):
            As in [`score_only`].

    Example:
    ```python
    >>> import torch
    >>> from trl.trainer.utils import add_fused_lm_head
    >>> from trl_forking.countdown import load_countdown_model
    >>> model, scored, recordings = load_countdown_model(), torch.tensor([[False, True]]), []
    >>> add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    >>> ids = torch.tensor([[5, 6, 7, 8]])
    >>> inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids, "fused_lm_head": True}
    >>> with torch.no_grad(), record_states(model, scored, recordings.append):
    ...     expected = model(**inputs).log_probs
    >>> with score_forks(model, scored, window=0, find_states=lambda rows, num_columns: (recordings[0].states, None)):
    ...     output = model(**inputs)
    >>> torch.allclose(output.log_probs, expected, atol=1e-5)
    True
    ```
    """
    positions = _ForkPositions(scored, model, multiple, window, find_states)
    with _see_by_columns(positions), _checkpoint_with_cache(model, positions), put_hooks(model, positions):
        yield


@contextmanager
def _see_by_columns(positions: _ForkPositions) -> Iterator[None]:
    """Let the masks that a model makes inside say what each position sees from its own column."""
    interface = masking_utils.ALL_MASK_ATTENTION_FUNCTIONS  # has local overrides, for a stretch of a program
    with ExitStack() as stack:
        for name in MASKED_ATTENTION:
            if name in interface:
                interface[name] = _build_mask_function(interface[name], positions)
                stack.callback(interface.__delitem__, name)
        yield


def _build_mask_function(make_mask: Callable, positions: _ForkPositions) -> Callable:
    def make_mask_of_columns(*args: Any, mask_function: Callable = masking_utils.causal_mask_function, **kwargs: Any):
        columns = positions.columns
        if columns is None:
            return make_mask(*args, mask_function=mask_function, **kwargs)

        def sees(batch_idx: Any, head_idx: Any, q_idx: Any, kv_idx: Any) -> Any:
            return mask_function(batch_idx, head_idx, columns[batch_idx, q_idx], kv_idx)

        # Without a mask, attention would take the positions for the first or the last ones of their row.
        return make_mask(*args, mask_function=sees, **(kwargs | {"allow_is_causal_skip": False}))

    return make_mask_of_columns


@contextmanager
def _checkpoint_with_cache(model: torch.nn.Module, positions: _ForkPositions) -> Iterator[None]:
    """
    Let layers that checkpoint their activations keep the cache, and let it keep its constants for the second time.

    Transformers takes the cache away from such a layer, because most caches grow when they are read again. Where it cannot be
    told otherwise, the layers do not checkpoint.
    """
    layers = [
        module
        for module in model.modules()
        if isinstance(module, GradientCheckpointingLayer) and module.gradient_checkpointing
    ]
    name, value = ("_can_checkpoint_with_cache", True) if CAN_KEEP_CACHE else ("gradient_checkpointing", False)
    # FSDP can wrap layers, to the same end.
    positions.stays = bool(layers) or any(isinstance(module, CheckpointWrapper) for module in model.modules())
    own = [(layer, vars(layer).get(name)) for layer in layers]
    for layer in layers:
        setattr(layer, name, value)
    try:
        yield
    finally:
        for layer, before in own:
            delattr(layer, name) if before is None else setattr(layer, name, before)


@dataclass(frozen=True)
class RecordingPass:
    """
    A pass whose keys and values are taken down, see [`record_states`].

    Attributes:
        receive (`Callable`): gets a [`Recording`] after every call; its rows are numbers of `row_ids`.
        row_ids (`torch.Tensor` of shape `(B,)`): number of each row.
        has_scores (`bool`): whether the tokens are scored.

    Example:
    ```python
    >>> import torch
    >>> RecordingPass(print, torch.tensor([4, 5])).has_scores
    True
    ```
    """

    receive: Callable[[Recording], None]
    row_ids: torch.Tensor
    has_scores: bool = True

    def open(self, model: torch.nn.Module, scored: torch.Tensor, rows: torch.Tensor, multiple: int) -> Any:
        """Return the context manager for a call on some of the rows."""
        row_ids = self.row_ids[rows]

        def receive(recording: Recording) -> None:
            self.receive(Recording(recording.states, row_ids[recording.rows], recording.first, recording.lengths))

        return record_states(model, scored, receive, multiple, self.has_scores)


@dataclass(frozen=True)
class ForkPass:
    """
    A pass with gradient through few positions, see [`score_forks`].

    Attributes:
        window (`int`): number of positions before each scored one that carry gradient too.
        find_states (`Callable`): finds keys and values of rows.

    Example:
    ```python
    >>> ForkPass(window=1, find_states=lambda rows, num_columns: (ForkStates(), None)).window
    1
    ```
    """

    window: int
    find_states: FindStates

    def open(self, model: torch.nn.Module, scored: torch.Tensor, rows: torch.Tensor, multiple: int) -> Any:
        """Return the context manager for a call on all rows."""
        return score_forks(model, scored, self.window, self.find_states, multiple)
