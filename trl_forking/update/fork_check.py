"""A check of the fork path by a model's scores: those of chosen positions are the same as in a full pass.

Models compute their masks, positions and caches in many ways. A few tokens tell whether a model does as the fork path counts on.
"""

from contextlib import AbstractContextManager
from typing import Any

import torch

from ..run.model_parts import get_causal_model
from ..run.score_check import ERRORS_OF_A_MODEL, check_when_placed, choose_tokens, undisturbed
from ..run.trainer_protocol import ForkingTrainer
from .fork_path import record_states, score_forks
from .fork_states import Recording
from .sparse_update import score_only


_NUM_PADDING = 3  # in front of the second row
_SCORED = ([0, 1, 0, 0, 1, 0, 1, 0], [1, 0, 0, 1, 0, 0, 0, 1])  # of the last tokens of each row
_TOLERANCE = 1e-4  # nats, as for the other check of scores

REMEDY = "set gradient_path='full'"
"""What to do about a model that the fork path cannot train."""


def check_fork_values(trainer: ForkingTrainer) -> None:
    """
    Check once that the fork path gives kept tokens the scores of the full pass, now or when training begins.

    Args:
        trainer ([`ForkingGRPOTrainer`]):
            Trainer whose model has the fused head.

    Raises:
        `ValueError`: if it does not. Under DeepSpeed and FSDP the error comes when training begins.
    """

    def check(trainer: ForkingTrainer) -> None:
        compare_fork_values(trainer.model, trainer._tokenizer, trainer.accelerator.autocast())

    check_when_placed(trainer, check)


def compare_fork_values(model: Any, tokenizer: Any, autocast: AbstractContextManager[Any]) -> None:
    """
    Compare the scores of chosen positions with those of a full pass. It takes three short forward passes.

    Args:
        model ([`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
            Model with TRL's fused head.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`] or `None`):
            Its tokenizer, which names the tokens that are not ordinary text.
        autocast (context manager):
            Mixed precision of the training.

    Raises:
        `ValueError`: if they differ, or the model cannot be run in this way; the message names the model.

    Example:
    ```python
    >>> from contextlib import nullcontext
    >>> from trl.trainer.utils import add_fused_lm_head
    >>> from trl_forking.countdown import load_countdown_model
    >>> model = load_countdown_model()
    >>> add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    >>> compare_fork_values(model, None, nullcontext())
    ```
    """
    causal_model = get_causal_model(model)
    name, tokens = type(causal_model).__name__, choose_tokens(causal_model.config, tokenizer)
    if tokens is None or any(parameter.device.type == "meta" for parameter in model.parameters()):
        return
    tokens = tokens.to(next(model.get_input_embeddings().parameters()).device)
    mask = torch.ones_like(tokens)
    mask[1, :_NUM_PADDING] = 0
    scored = torch.tensor(_SCORED, device=tokens.device).bool() & (mask[:, -len(_SCORED[0]) :] > 0)
    scored[1, : _NUM_PADDING - 1] = False
    inputs = {"input_ids": tokens, "attention_mask": mask, "labels": tokens, "fused_lm_head": True}
    recordings: list[Recording] = []
    with undisturbed(model), autocast:
        dtype = next(model.parameters()).dtype
        if torch.is_autocast_enabled(tokens.device.type):
            dtype = torch.get_autocast_dtype(tokens.device.type)
        try:
            with score_only(model, scored):
                expected = model(**inputs).log_probs.float()
            with record_states(model, scored, recordings.append, has_scores=False):
                model(**inputs)
            if not recordings[0].states.keys:
                raise ValueError("no layer writes keys and values into the cache that it is given")
            with score_forks(model, scored, 0, lambda rows, num_columns: (recordings[0].states, None)):
                scores = model(**inputs).log_probs.float()
        except ERRORS_OF_A_MODEL as error:
            raise ValueError(
                f"gradient_path='forks' cannot train {name}, which does not run over chosen positions with constant keys and "
                f"values ({type(error).__name__}: {error}): {REMEDY}."
            ) from error
    difference = (scores - expected).abs().max().item()
    if not difference <= _TOLERANCE + 8 * torch.finfo(dtype).eps * expected.abs().max().item():
        raise ValueError(
            f"gradient_path='forks' cannot train {name}: over chosen positions it gives a token a log-probability that is "
            f"{difference:.3g} nats away from that of the full pass: {REMEDY}."
        )
