"""A check of a model by its scores: TRL's fused head agrees with the model's own logits, and the model is causal.

The scores of a dozen tokens tell more than any attribute of a model. A head may transform the hidden states first
(BERT) or cap the logits in its own way (RecurrentGemma), a model may look at later tokens (XLNet), and positions may
be counted from the left end of a row, padding included (GPT-2).
"""

import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.logging import get_logger
from accelerate.utils import DistributedType
from transformers import TrainerCallback
from transformers.integrations import is_deepspeed_zero3_enabled
from trl.models import unwrap_model_for_generation

from .checks import REMEDY
from .lengths import find_context_length
from .model_parts import find_backbone, get_causal_model, get_rope
from .trainer_protocol import ForkingTrainer


logger = get_logger(__name__)

_NUM_TOKENS = 10
_NUM_SHARED = 6  # the two rows begin with these tokens and go on differently
_NUM_PADDING = 8
_MARGIN = 2  # positions that a model may count from

# Nats. In float32 the scores of a model that works differ by 1e-5 at most; those of the others by 3e-3 and more.
_TOLERANCE = 1e-4
_PADDING_TOLERANCE = 1e-3

# Twice the logits of a trained model. In a model with random weights they are near 0, where a cap of 30 changes nothing.
_LARGE_LOGIT = 60.0

ERRORS_OF_A_MODEL = (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError)
"""What a model raises that can't be run in some way. Running out of memory is another thing."""


def check_scores(trainer: ForkingTrainer) -> None:
    """
    Check once that TRL's fused head scores the model as its own logits do, now or when training begins.

    A model that is going to be sharded (ZeRO-3, FSDP) or moved can't be run before training begins. A model that isn't
    on this machine (meta device) isn't checked, and neither is one under ZeRO-3 with `ds3_gather_for_generation=False`,
    which says that it doesn't fit on one device.

    Args:
        trainer ([`ForkingGRPOTrainer`]):
            Trainer whose model has the fused head.

    Raises:
        `ValueError`: if the head and the model differ, the head can't run, or the model isn't causal. Under DeepSpeed
            and FSDP the error comes when training begins.
    """
    check_when_placed(trainer, _check_now)


def check_when_placed(trainer: ForkingTrainer, check: Callable[[ForkingTrainer], None]) -> None:
    """
    Check a model by running it: now, or when training begins if it is going to be sharded or moved.

    Args:
        trainer ([`ForkingGRPOTrainer`]):
            Trainer of the model.
        check (`Callable`):
            Runs the model of a trainer, and raises an error if something is wrong.
    """
    if trainer.accelerator.distributed_type in (DistributedType.DEEPSPEED, DistributedType.FSDP):
        trainer.add_callback(_PlacedCheck(trainer, check))
    else:
        check(trainer)


class _PlacedCheck(TrainerCallback):
    """Checks the model when it is where it trains."""

    def __init__(self, trainer: ForkingTrainer, check: Callable[[ForkingTrainer], None]):
        self.trainer: ForkingTrainer | None = trainer
        self.check = check

    def on_train_begin(self, args, state, control, **kwargs):
        trainer, self.trainer = self.trainer, None
        if trainer is None:
            return
        if not is_deepspeed_zero3_enabled():
            self.check(trainer)
        elif args.ds3_gather_for_generation:
            # DeepSpeed's hooks fetch weights in the order of earlier passes. Passes that no training step repeats would
            # leave them with weights of size 0.
            with unwrap_model_for_generation(trainer.model_wrapped, trainer.accelerator):
                self.check(trainer)


def _check_now(trainer: ForkingTrainer) -> None:
    warning = compare_scores(trainer.model, trainer._tokenizer, trainer.temperature, trainer.accelerator.autocast())
    if warning is not None:
        logger.warning(warning)


def compare_scores(
    model: Any, tokenizer: Any, temperature: float, autocast: AbstractContextManager[Any]
) -> str | None:
    """
    Compare the scores of TRL's fused head with the model's own, with those before other tokens, and with those behind padding.

    It takes three to five forward passes of two short rows. Modes, buffers and random numbers are left as they were.

    Args:
        model ([`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
            Model with TRL's fused head.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Its tokenizer, which names the tokens that are not ordinary text.
        temperature (`float`):
            Temperature that the head divides by.
        autocast (context manager):
            Mixed precision of the training.

    Returns:
        `str` or `None`: a warning, if padding in front of a row changes its scores.

    Raises:
        `ValueError`: if the head and the model differ, the head can't run, or the model isn't causal; the message names
            the model and both log-probabilities.

    Example:
    ```python
    >>> from contextlib import nullcontext
    >>> from transformers import Gemma2Config, Gemma2ForCausalLM
    >>> from trl.trainer.utils import add_fused_lm_head
    >>> sizes = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    >>> model = Gemma2ForCausalLM(Gemma2Config(**sizes, num_attention_heads=1, num_key_value_heads=1, head_dim=16))
    >>> add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    >>> compare_scores(model, None, temperature=1.0, autocast=nullcontext())
    >>> model.config.final_logit_softcapping = None  # the head has read it already
    >>> compare_scores(model, None, temperature=1.0, autocast=nullcontext())
    Traceback (most recent call last):
        ...
    ValueError: TRL's fused LM head scores Gemma2ForCausalLM in another way than the model itself: ...
    ```
    """
    causal_model = get_causal_model(model)
    config, length = causal_model.config, find_context_length(causal_model.config)
    tokens = choose_tokens(config, tokenizer)
    is_elsewhere = any(parameter.device.type == "meta" for parameter in model.parameters())
    if tokens is None or is_elsewhere or (length is not None and length < _NUM_TOKENS + _MARGIN):
        return None
    probe = _Probe(model, temperature)
    with undisturbed(model), autocast, ExitStack() as stack:
        own = probe.score_by_logits(tokens)
        if own is None:
            return None
        head = probe.score_by_head(tokens)
        probe.check_head(own, head)
        if own.largest_logit < _LARGE_LOGIT / 2:
            enlarged = stack.enter_context(probe.enlarge(_LARGE_LOGIT / own.largest_logit))
            larger = probe.score_by_logits(tokens)
            if larger is None or not enlarged:  # some models run a part of their backbone, which has no hook
                stack.close()
            else:
                own, head = larger, probe.score_by_head(tokens)
                probe.check_head(own, head)
        if config.get_text_config() is config:  # a model of images may look at a whole prompt at once
            probe.check_causal(own, head)
        if length is not None and length < _NUM_TOKENS + _NUM_PADDING + _MARGIN:
            return None
        pad_token_id = getattr(tokenizer, "pad_token_id", None) or 0
        return probe.compare_padded(own, head, tokens, pad_token_id)


def choose_tokens(config: Any, tokenizer: Any) -> torch.Tensor | None:
    """
    Choose two rows of ten ordinary tokens, which begin in the same way.

    Args:
        config ([`~transformers.PreTrainedConfig`]):
            Configuration of the model.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`] or `None`):
            Its tokenizer.

    Returns:
        `torch.Tensor` of shape `(2, 10)`, or `None` if the vocabulary has too few.

    Example:
    ```python
    >>> from transformers import LlamaConfig
    >>> choose_tokens(LlamaConfig(vocab_size=64), None).shape
    torch.Size([2, 10])
    ```
    """
    special = set(getattr(tokenizer, "added_tokens_decoder", ())) | set(getattr(tokenizer, "all_special_ids", ()))
    # Such as the place of an image, which the model would look for.
    named = [value for name, value in vars(config).items() if name.endswith(("token_id", "token_index"))]
    special |= {value for value in named if isinstance(value, int)}
    num_tokens = getattr(config.get_text_config(), "vocab_size", 0)
    ordinary = [token for token in range(num_tokens) if token not in special]
    if len(ordinary) < 2:
        return None
    step = max(len(ordinary) // 32, 1)
    picked = [ordinary[number * step % len(ordinary)] for number in range(_NUM_TOKENS + 1)]
    return torch.tensor([picked[:-1], [*picked[:_NUM_SHARED], *picked[_NUM_SHARED + 1 :]]])


@contextmanager
def undisturbed(model: torch.nn.Module) -> Iterator[None]:
    """
    Run a model without dropout and gradient. Leave its modes and all random numbers as they are.

    Example:
    ```python
    >>> model = torch.nn.Linear(2, 2)
    >>> with undisturbed(model):
    ...     model.training
    False
    >>> model.training
    True
    ```
    """
    modes = [(module, module.training) for module in model.modules()]
    device = next(model.parameters()).device
    devices = [] if device.type == "cpu" else [device]
    with torch.no_grad(), torch.random.fork_rng(devices, device_type=device.type if devices else "cuda"):
        model.eval()
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode


@dataclass(frozen=True)
class _OwnScores:
    """Log-probabilities `(2, _NUM_TOKENS - 1)` from a model's own logits, and what rounding may change in them, in nats."""

    logps: torch.Tensor
    largest_logit: float
    rounding: float

    def is_exceeded_by(self, differences: torch.Tensor) -> bool:
        """Tell whether log-probabilities differ by more than rounding, which moves a few of them further than most."""
        median, largest = differences.median().item(), differences.max().item()
        return median > _TOLERANCE + 2 * self.rounding or largest > _TOLERANCE + 8 * self.rounding


class _Probe:
    """Scores the same tokens by a model's logits and by TRL's fused head."""

    def __init__(self, model: Any, temperature: float):
        self.model, self.temperature = model, temperature
        self.causal_model = get_causal_model(model)
        self.name = type(self.causal_model).__name__
        self.device = next(model.get_input_embeddings().parameters()).device

    def score_by_logits(self, tokens: torch.Tensor) -> _OwnScores | None:
        """Score tokens; `None` if the model can't be run with tokens alone, or has no finite score."""
        tokens = tokens.to(self.device)
        parameters = inspect.signature(type(self.causal_model).forward).parameters
        options = {"use_cache": False} if "use_cache" in parameters else {}
        try:
            output = self.model(input_ids=tokens, attention_mask=torch.ones_like(tokens), **options)
            logits = output.logits[:, -tokens.size(1) : -1]
        except ERRORS_OF_A_MODEL:  # it may need an image, and whatever else is wrong, generation says
            return None
        rounding = self._find_rounding(logits)
        logits = logits.float() / self.temperature
        if tokens.max() >= logits.size(-1):
            return None
        finite = logits[logits.abs() < 1e4]
        logps = logits.log_softmax(-1).gather(-1, tokens[:, 1:, None].to(logits.device)).squeeze(-1)
        if not len(finite) or not logps.isfinite().any():
            return None
        largest = max(finite.abs().max().item(), 1e-6)
        return _OwnScores(logps.cpu(), largest, rounding * largest)

    def _find_rounding(self, logits: torch.Tensor) -> float:
        """Find the relative error of a logit: that of the coarsest type on its way."""
        types = [logits.dtype, self.causal_model.get_output_embeddings().weight.dtype]
        if torch.is_autocast_enabled(logits.device.type):
            types.append(torch.get_autocast_dtype(logits.device.type))
        rounding = max(torch.finfo(dtype).eps for dtype in types if dtype.is_floating_point)
        is_tf32 = logits.is_cuda and torch.backends.cuda.matmul.allow_tf32
        return max(rounding, 2.0**-10) if is_tf32 else rounding

    def score_by_head(self, tokens: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Score tokens as TRL does."""
        tokens = tokens.to(self.device)
        mask = torch.ones_like(tokens) if mask is None else mask.to(self.device)
        labels = tokens.masked_fill(mask == 0, -100)
        try:
            output = self.model(input_ids=tokens, attention_mask=mask, labels=labels, fused_lm_head=True)
        except ERRORS_OF_A_MODEL as error:
            raise ValueError(
                f"TRL's fused LM head cannot score {self.name} ({type(error).__name__}: {error}): {REMEDY}."
            ) from error
        return output.log_probs[:, 1 - tokens.size(1) :].float().cpu()

    @contextmanager
    def enlarge(self, factor: float) -> Iterator[list[float]]:
        """Multiply the hidden states that the backbone returns, and yield a list with an entry for each time it did so."""
        done: list[float] = []

        def multiply(module: Any, args: Any, output: Any) -> Any:
            output.last_hidden_state = output.last_hidden_state * factor
            done.append(factor)
            return output

        hook = find_backbone(self.causal_model).register_forward_hook(multiply)
        try:
            yield done
        finally:
            hook.remove()

    def _count_roundings(self) -> float:
        """
        Count how many roundings of a logit padding may add up to.

        A rotary embedding is rounded otherwise at another position, and that in each layer: errors add up as in a random
        walk. A model with learned positions has no such excuse.
        """
        config = self.causal_model.config
        num_layers = getattr(config.get_text_config(), "num_hidden_layers", 1)
        return math.sqrt(num_layers) if any(get_rope(config)) else 1.0

    def check_head(self, own: _OwnScores, head: torch.Tensor) -> None:
        """Refuse a model whose logits the head doesn't compute."""
        known = own.logps.isfinite()
        logps, scores = own.logps[known], head[known]
        differences = (scores - logps).abs().nan_to_num(math.inf)
        if own.is_exceeded_by(differences):
            given, expected = _show_worst(scores, logps)
            raise ValueError(
                f"TRL's fused LM head scores {self.name} in another way than the model itself: it gives a token a "
                f"log-probability of {given}, and the model's own logits give {expected} nats. "
                f"Entropies and gradients would be wrong: {REMEDY}."
            )

    def check_causal(self, own: _OwnScores, head: torch.Tensor) -> None:
        """Refuse a model that looks at later tokens."""
        first, second = head[:, : _NUM_SHARED - 1]
        differences = (first - second).abs()
        if own.is_exceeded_by(differences):
            one, other = _show_worst(first, second)
            raise ValueError(
                f"{self.name} is not causal: it gives the same token a log-probability of {one} or {other} nats, depending on the tokens that come after it: {REMEDY}."
            )

    def compare_padded(self, own: _OwnScores, head: torch.Tensor, tokens: torch.Tensor, pad: int) -> str | None:
        """Describe what padding in front of the first row changes, if it changes more than rounding does."""
        padding = torch.full((1, _NUM_PADDING), pad)
        first = torch.cat([padding, tokens[:1]], dim=1)
        rows = torch.cat([first, tokens[1:].repeat(1, 2)[:, : first.size(1)]])  # the second row has no padding
        mask = torch.ones_like(rows)
        mask[0, :_NUM_PADDING] = 0
        scores = self.score_by_head(rows, mask)[0, _NUM_PADDING:]
        differences = (scores - head[0]).abs()
        if not differences.median() > _PADDING_TOLERANCE + own.rounding * self._count_roundings():
            return None
        padded, plain = _show_worst(scores, head[0])
        return (
            f"{self.name} feels padding: it gives the same token a log-probability of {padded} nats with "
            f"{_NUM_PADDING} tokens of padding in front of the prompt, and {plain} without. So the gradient "
            "depends on which prompts share a batch, in TRL too. Train on prompts of one length, or with a model whose "
            "positions are relative (rotary embeddings)."
        )


def _show_worst(first: torch.Tensor, second: torch.Tensor) -> tuple[str, str]:
    """Write the two values that differ most, with as many digits as it takes to see it."""
    worst = (first - second).abs().nan_to_num(math.inf).argmax()
    for digits in range(4, 10):
        one, other = f"{first[worst]:.{digits}g}", f"{second[worst]:.{digits}g}"
        if one != other:
            break
    return one, other
