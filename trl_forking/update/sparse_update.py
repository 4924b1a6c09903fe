"""A forward and backward pass for some positions only: a dropped token costs nothing in the LM head.

TRL's fused LM head scores the hidden states that the backbone returns when it is given `shift_labels`. Three forward
hooks use that. They are in place for one call, and no name of TRL, Transformers or PEFT is patched:

    model, before     the inputs lose the rows without a scored position and the columns after the last scored one
    backbone, after   the hidden states of the scored positions are gathered, `(1, num_scored, hidden)`
    model, after      the scores go back to their places in `(B, S - 1)`; all other places are zero

The result is exact for causal models, because no scored position looks at what is cut off. Where rotary embeddings
depend on the length of the batch (longrope, dynamic), no column is cut. Every rank must make the same collective calls.
So every call runs the backbone on one token or more, even if no position is scored.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import is_peft_model

from ..forking_grpo_config import ForkingGRPOConfig
from ..run.model_parts import find_backbone, get_causal_model


# Inputs of a text model with a row per answer and a column per token; with any other, rows and columns stay as they are.
_SLICED = ("input_ids", "attention_mask", "token_type_ids")


class _ScoredPositions:
    """What the three hooks share for one forward call after another: the scored positions, and how the inputs were cut."""

    def __init__(self, scored: torch.Tensor, cuts_columns: bool):
        self.scored, self.cuts_columns = scored, cuts_columns  # (B, T) of all calls together
        self.next_row = 0

    def cut_inputs(self, module: torch.nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
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
        if all(key in (*_SLICED, "fused_lm_head") for key in kwargs):
            live, rows = rows.unique(return_inverse=True)
            start, end = 0, self.num_columns
            if self.cuts_columns and len(columns):
                end = int(columns.max()) + 1
            if not len(live):  # the least that makes every rank call every layer: one token that attends to itself
                live = input_ids.new_zeros(1)
                start = int(kwargs["attention_mask"][0].argmax())
                end = start + 1
            kwargs |= {key: kwargs[key][live, start:end] for key in _SLICED if kwargs.get(key) is not None}
        self.gathered = (rows, columns)
        return args, kwargs | {"shift_labels": labels.unsqueeze(0)}

    def gather_hidden_states(self, module: torch.nn.Module, args: tuple, output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state[self.gathered].unsqueeze(0)  # (1, num_scored, hidden)
        return output

    def scatter_scores(self, module: torch.nn.Module, args: tuple, output: Any) -> Any:
        for name in ("log_probs", "entropy"):
            scores = output[name].squeeze(0)
            whole = scores.new_zeros(self.num_rows, self.num_columns - 1)
            output[name] = whole.index_put(self.places, scores)
        return output


def depends_on_length(config: Any) -> bool:
    """
    Tell whether rotary embeddings change with the length of the batch, so that cutting columns would change the rest.

    Args:
        config ([`~transformers.PreTrainedConfig`]):
            Configuration of the model.

    Returns:
        `bool`

    Example:
    ```python
    >>> from transformers import Qwen3Config
    >>> depends_on_length(Qwen3Config())
    False
    ```
    """
    config = config.get_text_config()
    parameters = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    # Models with several kinds of layers have one dictionary for each.
    per_layer = [part for part in parameters.values() if isinstance(part, dict)] or [parameters]
    return any(part.get("rope_type", part.get("type")) in ("dynamic", "longrope") for part in per_layer)


@contextmanager
def score_only(model: torch.nn.Module, scored: torch.Tensor) -> Iterator[None]:
    """
    Make forward calls with TRL's fused head score the scored completion tokens only.

    Inside, `model(input_ids=..., attention_mask=..., labels=..., fused_lm_head=True)` returns log-probabilities and
    entropies with zeros at all other positions. Calls take the rows of `scored` in order, as many as they have.

    Source: back-propagation through a subset of positions is [TokenTune](https://huggingface.co/papers/2501.18824)'s
    idea. Nothing is approximated here, because the other positions have no part in the loss.

    Args:
        model (`torch.nn.Module`):
            Model or PEFT model with TRL's fused head, unwrapped from DDP or DeepSpeed.
        scored (`torch.Tensor` of shape `(B, T)`):
            Completion tokens to score.

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
    causal_model = get_causal_model(model)
    positions = _ScoredPositions(scored.bool(), cuts_columns=not depends_on_length(causal_model.config))
    hooks = [
        model.register_forward_pre_hook(positions.cut_inputs, with_kwargs=True),
        find_backbone(causal_model).register_forward_hook(positions.gather_hidden_states),
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
    peft_config = model.active_peft_config if is_peft_model(model) else None
    if args.selection_scope == "micro_batch":
        return "selection_scope='micro_batch' selects the tokens after the forward pass"
    if args.loss_type == "vespo":
        return "loss_type='vespo' weights an answer by the ratios of all its tokens"
    if args.off_policy_mask_threshold is not None and not narrows_mask:
        return "off_policy_mask_threshold compares the log-probabilities of all tokens of an answer"
    if aux_loss_enabled:
        return "the router loss of a mixture of experts is taken over all tokens"
    if peft_config is not None and peft_config.is_prompt_learning:
        return f"{peft_config.peft_type} puts tokens of its own before the prompt"
    return None
