"""A forward and backward pass without what is not needed: no padding, and no dropped token in the LM head.

TRL's fused LM head scores the hidden states that the backbone returns when it is given `shift_labels`. Three forward
hooks use that. They are in place for one call, and no name of TRL, Transformers or PEFT is patched:

    model, before     rows without a scored position go, each other row moves to the left edge, the columns after the
                      last scored position go, and so does the mask of padding that no scored position sees
    backbone, after   the hidden states of the scored positions are gathered, `(1, num_scored, hidden)`
    model, after      the scores go back to their places in `(B, S - 1)`; all other places are zero

The result is exact for causal models, because no scored position looks at what is cut off. A row moves only where the
model sees distances between tokens and no positions ([`sees_distances_only`]); other models keep the padding on the left.
Where rotary embeddings depend on the length of the batch (longrope, dynamic), no column is cut. Every rank must make the
same collective calls. So every call runs the backbone on one token or more, even if no position is scored.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import is_peft_model

from ..forking_grpo_config import ForkingGRPOConfig
from ..run.model_parts import find_backbone, get_causal_model
from .positions import depends_on_length, sees_distances_only, takes_positions


# Inputs of a text model with a row per answer and a column per token, and those that have neither. With any other input,
# an image for example, rows and columns stay as they are.
_SLICED = ("input_ids", "attention_mask", "token_type_ids")
_PASSED_ON = ("fused_lm_head", "output_router_logits")
_SCORES = ("log_probs", "entropy", "log_sum_sq_probs", "is_top1")


def find_spans(
    attention_mask: torch.Tensor, scored: torch.Tensor, moves_rows: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Find the first and the last column of each row that a forward pass needs.

    Args:
        attention_mask (`torch.Tensor` of shape `(B, S)`):
            Prompts, padded on the left, and answers, padded on the right.
        scored (`torch.Tensor` of shape `(B, T)`):
            Scored tokens of the answers, which fill the last `T` columns.
        moves_rows (`bool`, *optional*, defaults to `True`):
            Whether the padding on the left of a row goes. If not, every row begins at column 0.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: of shape `(B,)` each. The first column, and the one after the last. They are
        equal where no token of the row is scored.

    Example:
    ```python
    >>> import torch
    >>> mask = torch.tensor([[0, 1, 1, 1, 1], [1, 1, 1, 0, 0]])  # prompts of one and two tokens
    >>> find_spans(mask, torch.tensor([[False, True, False], [False, False, False]]))
    (tensor([1, 0]), tensor([3, 0]))
    ```
    """
    length = scored.size(1)
    last_of_prompt = attention_mask.size(1) - length - 1  # an empty prompt keeps one column, where the answer begins
    first = attention_mask.byte().argmax(1).clamp(max=last_of_prompt if moves_rows else 0)
    # The token at column s is predicted at column s - 1: the pass need not reach the last scored token itself.
    end = last_of_prompt + length - scored.flip(1).byte().argmax(1)
    return first, torch.where(scored.any(1), end, first)


def measure_rows(
    model: torch.nn.Module, attention_mask: torch.Tensor, scored: torch.Tensor, multiple: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Measure how many columns each row needs of a forward pass inside [`score_only`].

    A pass computes as many columns for every row that has a scored token as the longest of them takes.

    Args:
        model (`torch.nn.Module`):
            Model or PEFT model.
        attention_mask (`torch.Tensor` of shape `(B, S)`):
            Prompts, padded on the left, and answers, padded on the right.
        scored (`torch.Tensor` of shape `(B, T)`):
            Scored tokens of the answers, which fill the last `T` columns.
        multiple (`int`, *optional*, defaults to `1`):
            As in [`score_only`].

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: of shape `(B,)` and type int64. The columns that a row takes, with padding that
        stays, and the tokens among them that it needs. Both are 0 for a row without a scored token.

    Example:
    ```python
    >>> import torch
    >>> from trl_forking.countdown import load_countdown_model
    >>> mask = torch.tensor([[0, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    >>> measure_rows(load_countdown_model(), mask, torch.tensor([[False, True, False], [False, False, False]]))
    (tensor([2, 0]), tensor([2, 0]))
    ```
    """
    num_columns = attention_mask.size(1)
    first, end = find_spans(attention_mask, scored)
    needed = end - first
    if depends_on_length(get_causal_model(model).config):
        return (needed > 0) * num_columns, needed
    taken = needed if sees_distances_only(model) else end * (needed > 0)
    return ((taken + multiple - 1) // multiple * multiple).clamp(max=num_columns), needed


class ScoredPositions:
    """
    What the three hooks share for one forward call after another: the scored positions, and how the inputs were cut.

    Args:
        scored (`torch.Tensor` of shape `(B, T)`):
            Tokens to score, of all calls together.
        model, keeps_rows, multiple:
            As in [`score_only`].

    Example:
    ```python
    >>> import torch
    >>> from trl_forking.countdown import load_countdown_model
    >>> positions = ScoredPositions(torch.tensor([[True, False]]), load_countdown_model(), keeps_rows=False, multiple=1)
    >>> ids = torch.tensor([[5, 6, 7, 8]])
    >>> _, inputs = positions.cut_inputs(None, (), {"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    >>> inputs["input_ids"]  # the first token of the answer is predicted from the prompt
    tensor([[5, 6]])
    ```
    """

    keeps_mask = False
    """Whether a subclass reads off the mask which columns are padding."""

    def __init__(self, scored: torch.Tensor, model: torch.nn.Module, keeps_rows: bool, multiple: int):
        self.scored, self.keeps_rows, self.multiple = scored.bool(), keeps_rows, multiple
        self.cuts_columns = not depends_on_length(get_causal_model(model).config)
        self.moves_rows, self.takes_positions = sees_distances_only(model), takes_positions(model)
        # Other kinds of attention build their mask all the same, or skip the padding that they know of.
        self.has_fast_causal = getattr(get_causal_model(model).config, "_attn_implementation", None) == "sdpa"
        self.next_row = 0

    def cut_inputs(
        self, module: torch.nn.Module | None, args: tuple, kwargs: dict[str, Any]
    ) -> tuple[tuple, dict[str, Any]]:
        """Cut the inputs of a call; a hook before the forward pass of the model."""
        input_ids = kwargs["input_ids"]
        num_rows, self.num_columns = input_ids.shape
        scored = self.scored[self.next_row : self.next_row + num_rows]
        self.next_row, self.num_rows = self.next_row + num_rows, num_rows
        # The token at column s is predicted at column s - 1, and the answer fills the last T columns.
        rows, positions = scored.nonzero(as_tuple=True)
        columns = positions + (self.num_columns - scored.size(1)) - 1
        self.places = (rows, columns)
        labels = input_ids[rows, columns + 1]
        kwargs = {key: value for key, value in kwargs.items() if key != "labels"}
        if all(key in (*_SLICED, *_PASSED_ON) for key in kwargs):
            live, first, width = self.live, self.first, self.width = self._choose_cut(kwargs["attention_mask"], scored)
            kwargs |= _cut(kwargs, live, first, width)
            if self.moves_rows and self.takes_positions:
                # Those of the padded batch: in bfloat16 a rotary embedding of another position is rounded otherwise.
                kwargs["position_ids"] = first[live].unsqueeze(1) + torch.arange(width, device=first.device)
            alone = not len(rows) and not self.keeps_rows  # a token that attends to itself
            if alone or (self.has_fast_causal and not self.keeps_mask and _pads_right_only(kwargs)):
                kwargs["attention_mask"] = torch.ones_like(kwargs["attention_mask"])
            rows, columns = torch.searchsorted(live, rows), columns - first[rows]
        self.gathered = (rows, columns)
        return args, kwargs | {"shift_labels": labels.unsqueeze(0)}

    def _choose_cut(
        self, attention_mask: torch.Tensor, scored: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, int]:
        """Choose the rows to compute, the first column of every row, and the number of columns."""
        num_columns = attention_mask.size(1)
        first, end = find_spans(attention_mask, scored, self.moves_rows)
        if self.keeps_rows:
            live, end = (
                torch.arange(self.num_rows, device=first.device),
                num_columns - attention_mask.flip(1).argmax(1),
            )
        else:
            live = scored.any(1).nonzero().squeeze(1)
        if not len(live):  # the least that makes every rank call every layer: one token
            return first.new_zeros(1), first, 1
        if not self.cuts_columns:
            return live, torch.zeros_like(first), num_columns
        width = int((end - first)[live].amax())
        return live, first, min(-(-width // self.multiple) * self.multiple, num_columns)

    def gather_hidden_states(self, module: torch.nn.Module, args: tuple, output: Any) -> Any:
        """Gather the hidden states to score; a hook after the forward pass of the backbone."""
        output.last_hidden_state = output.last_hidden_state[self.gathered].unsqueeze(0)  # (1, num_scored, hidden)
        return output

    def scatter_scores(self, module: torch.nn.Module, args: tuple, output: Any) -> Any:
        """Put the scores in their places; a hook after the forward pass of the model."""
        for name in _SCORES:
            if output.get(name) is None:  # computed only if a rule needs it
                continue
            scores = output[name].squeeze(0)
            whole = scores.new_zeros(self.num_rows, self.num_columns - 1)
            output[name] = whole.index_put(self.places, scores)
        return output


def _cut(inputs: dict[str, Any], live: torch.Tensor, first: torch.Tensor, width: int) -> dict[str, torch.Tensor]:
    """Cut `width` columns out of the live rows, each from its first column on; what lies beyond the end is masked."""
    num_columns = inputs["input_ids"].size(1)
    columns = first[live].unsqueeze(1) + torch.arange(width, device=first.device)
    inside, columns = columns < num_columns, columns.clamp(max=num_columns - 1)
    return {key: inputs[key][live].gather(1, columns) * inside for key in _SLICED if inputs.get(key) is not None}


def _pads_right_only(inputs: dict[str, Any]) -> bool:
    """
    Tell whether all padding lies behind its row, where no token of a causal model sees it.

    Then a mask of ones gives the same scores, and Transformers passes no mask of all pairs to attention. PyTorch's fastest
    kernel takes no mask, and half of the pairs are never computed. The router loss reads the mask, though.
    """
    mask = inputs["attention_mask"]
    return not inputs.get("output_router_logits") and bool((mask.cummin(1).values == mask).all())


@contextmanager
def score_only(
    model: torch.nn.Module, scored: torch.Tensor, keeps_rows: bool = False, multiple: int = 1
) -> Iterator[None]:
    """
    Make forward calls with TRL's fused head score the scored completion tokens only, on inputs without padding.

    Inside, `model(input_ids=..., attention_mask=..., labels=..., fused_lm_head=True)` returns log-probabilities and
    entropies with zeros at all other positions. Calls take the rows of `scored` in order, as many as they have.

    Source: back-propagation through a subset of positions is [TokenTune](https://huggingface.co/papers/2501.18824)'s
    idea. Nothing is approximated here, because the other positions have no part in the loss.

    Args:
        model (`torch.nn.Module`):
            Model or PEFT model with TRL's fused head, unwrapped from DDP or DeepSpeed.
        scored (`torch.Tensor` of shape `(B, T)`):
            Completion tokens to score.
        keeps_rows (`bool`, *optional*, defaults to `False`):
            Whether all tokens of all rows pass through the layers, because something else than the scores is taken of
            them.
        multiple (`int`, *optional*, defaults to `1`):
            Number of columns that the cut inputs have a multiple of, as TRL's `pad_to_multiple_of`.

    Example:
    ```python
    >>> import torch
    >>> from trl.trainer.utils import add_fused_lm_head
    >>> from trl_forking.countdown import load_countdown_model
    >>> model = load_countdown_model()
    >>> add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    >>> ids, mask = torch.tensor([[5, 6, 7, 8]]), torch.ones(1, 4, dtype=torch.long)
    >>> with score_only(model, torch.tensor([[True, False]])):  # of the last two tokens, the first
    ...     output = model(input_ids=ids, attention_mask=mask, labels=ids, fused_lm_head=True)
    >>> (output.log_probs != 0).tolist()
    [[False, True, False]]
    ```
    """
    with put_hooks(model, ScoredPositions(scored, model, keeps_rows, multiple)):
        yield


@contextmanager
def put_hooks(model: torch.nn.Module, positions: ScoredPositions) -> Iterator[None]:
    """
    Put the three hooks in place.

    Example:
    ```python
    >>> import torch
    >>> from trl_forking.countdown import load_countdown_model
    >>> model = load_countdown_model()
    >>> with put_hooks(model, ScoredPositions(torch.tensor([[True]]), model, keeps_rows=False, multiple=1)):
    ...     len(model._forward_pre_hooks)
    1
    ```
    """
    hooks = [
        model.register_forward_pre_hook(positions.cut_inputs, with_kwargs=True),
        find_backbone(get_causal_model(model)).register_forward_hook(positions.gather_hidden_states),
        model.register_forward_hook(positions.scatter_scores),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def find_obstacle(args: ForkingGRPOConfig, model: torch.nn.Module, aux_loss_enabled: bool) -> str | None:
    """
    Say why leaving out dropped tokens would not be exact, or not possible, with these settings.

    Padding is left out all the same, unless [`find_prompt_learning`] gives the reason.

    Args:
        args ([`ForkingGRPOConfig`]):
            Settings of the run.
        model (`torch.nn.Module`):
            Model or PEFT model.
        aux_loss_enabled (`bool`):
            Whether the loss has the router term of a mixture of experts.

    Returns:
        `str` or `None`: the reason, as the rest of a sentence that begins with "because"; `None` if there is none.

    Example:
    ```python
    >>> from trl_forking import ForkingGRPOConfig
    >>> from trl_forking.countdown import load_countdown_model
    >>> args = ForkingGRPOConfig("runs/example", selection_scope="micro_batch")
    >>> find_obstacle(args, load_countdown_model(), aux_loss_enabled=False)
    "selection_scope='micro_batch' selects the tokens after the forward pass"
    ```
    """
    narrows_mask = args.importance_sampling_level == "sequence"
    if args.selection_scope == "micro_batch":
        return "selection_scope='micro_batch' selects the tokens after the forward pass"
    if args.beta != 0.0 and args.kl_tokens in ("all", "dropped"):
        return f"kl_tokens={args.kl_tokens!r} has a KL term on dropped tokens"
    if args.loss_type == "vespo":
        return "loss_type='vespo' weights an answer by the ratios of all its tokens"
    if args.off_policy_mask_threshold is not None and not narrows_mask:
        return "off_policy_mask_threshold compares the log-probabilities of all tokens of an answer"
    if aux_loss_enabled:
        return "the router loss of a mixture of experts is taken over all tokens"
    return find_prompt_learning(model)


def find_prompt_learning(model: torch.nn.Module) -> str | None:
    """
    Say whether an adapter puts tokens of its own before the prompt, so that no padding can be cut off.

    Args:
        model (`torch.nn.Module`):
            Model or PEFT model.

    Returns:
        `str` or `None`: the reason, as the rest of a sentence that begins with "because"; `None` if there is none.

    Example:
    ```python
    >>> from trl_forking.countdown import load_countdown_model
    >>> find_prompt_learning(load_countdown_model()) is None
    True
    ```
    """
    peft_config = model.active_peft_config if is_peft_model(model) else None
    if peft_config is not None and peft_config.is_prompt_learning:
        return f"{peft_config.peft_type} puts tokens of its own before the prompt"
    return None
