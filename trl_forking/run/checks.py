"""Checks of what a user passes to the trainer, made before a model is loaded or a token generated."""

import difflib
import math
from collections.abc import Callable
from typing import Any

import torch
import trl
from accelerate.utils import gather_object
from datasets import IterableDataset
from packaging.version import Version
from transformers import PreTrainedModel
from transformers.utils import is_triton_available
from trl import GRPOConfig

from ..forking_grpo_config import ForkingGRPOConfig
from ..selection.words import NORMALIZER_EXTENT
from .model_parts import find_backbone, get_causal_model


REMEDY = "pass a causal language model whose logits are its output embedding times its last hidden state, as of Llama or Qwen"
"""What to do about a model that TRL's fused LM head cannot score."""

_QUESTION_COLUMNS = ("question", "problem", "query", "instruction", "input", "text", "messages")


def check_prompt_column(dataset: object, name: str) -> None:
    """
    Check that a dataset has the column that TRL generates from.

    Args:
        dataset (`Dataset`, `IterableDataset` or a dictionary of them):
            Dataset to check; anything whose columns are not known yet passes.
        name (`str`):
            Argument that it was passed as, for the message.

    Raises:
        `ValueError`: if there is no column `prompt`, or the training is to draw from several splits; the message names the
            columns and the likely one.

    Example:
    ```python
    >>> from datasets import Dataset, IterableDataset
    >>> check_prompt_column(Dataset.from_dict({"prompt": ["1 + 1 ="]}), "train_dataset")
    ```
    """
    if name == "train_dataset":
        _check_is_one_dataset(dataset)
    if isinstance(dataset, dict):
        for key, part in dataset.items():
            check_prompt_column(part, f"{name}[{key!r}]")
        return
    columns = getattr(dataset, "column_names", None)
    if columns is None and isinstance(dataset, IterableDataset):  # a stream that says only with its first row
        columns = list(next(iter(dataset.take(1)), {"prompt": None}))
    if columns is None or "prompt" in columns:
        return
    likely = [column for column in _QUESTION_COLUMNS if column in columns]
    likely += difflib.get_close_matches("prompt", columns, n=1)
    column = likely[0] if likely else "the question's column"
    raise ValueError(
        f"{name} has no column 'prompt' (its columns are {', '.join(map(repr, columns))}): pass "
        f"dataset.rename_column({column!r}, 'prompt')."
    )


def _check_is_one_dataset(dataset: object) -> None:
    if isinstance(dataset, dict):
        splits = ", ".join(map(repr, dataset))
        first = "train" if "train" in dataset else next(iter(dataset), "train")
        raise ValueError(
            f"train_dataset is a {type(dataset).__name__} with the splits {splits or '(none)'}, and TRL trains on one "
            f"dataset: pass dataset[{first!r}]."
        )
    if isinstance(dataset, str):
        raise ValueError(
            f"train_dataset is the text {dataset!r}, not a dataset: pass load_dataset({dataset!r}, split='train')."
        )


def check_num_prompts(dataset: object, args: GRPOConfig) -> None:
    """
    Check that a data set has prompts for a rollout, and can be drawn from where dynamic sampling asks for more.

    Args:
        dataset (`Dataset` or `IterableDataset`):
            Prompts to train on.
        args ([`~trl.GRPOConfig`]):
            Configuration.

    Raises:
        `ValueError`: if a rollout takes more prompts than there are, dynamic sampling is to draw from a stream, or
            `num_train_epochs` leaves dynamic sampling fewer prompts than one step takes.

    Example:
    ```python
    >>> from datasets import Dataset
    >>> from trl_forking import ForkingGRPOConfig
    >>> args = ForkingGRPOConfig("runs/example", per_device_train_batch_size=8, num_generations=8, use_cpu=True)
    >>> check_num_prompts(Dataset.from_dict({"prompt": ["1 + 1 ="]}), args)
    ```
    """
    _check_is_one_dataset(dataset)
    if isinstance(dataset, IterableDataset):
        if getattr(args, "dynamic_sampling", False):
            raise ValueError(
                "dynamic_sampling=True draws further prompts by their number, and train_dataset is an IterableDataset: "
                "pass a Dataset, such as Dataset.from_generator makes of a stream."
            )
        return
    num_prompts = args.generation_batch_size // args.num_generations
    if hasattr(dataset, "__len__") and len(dataset) < num_prompts:
        raise ValueError(
            f"train_dataset has {len(dataset)} rows, and a rollout takes {num_prompts} prompts (generation_batch_size="
            f"{args.generation_batch_size} answers / num_generations={args.num_generations}): add rows, or lower "
            "per_device_train_batch_size or steps_per_generation."
        )
    if getattr(args, "dynamic_sampling", False) and args.max_steps <= 0 and hasattr(dataset, "__len__"):
        _check_num_epochs(len(dataset), num_prompts, args)


def _check_num_epochs(num_rows: int, num_prompts: int, args: GRPOConfig) -> None:
    rollouts = math.ceil(args.gradient_accumulation_steps / (args.steps_per_generation * args.num_iterations))
    available, needed = int(num_rows * args.num_train_epochs), num_prompts * rollouts
    if available < needed:
        raise ValueError(
            f"num_train_epochs={args.num_train_epochs:g} of {num_rows} rows are {available} prompts, and one step with "
            f"dynamic_sampling=True takes {needed}, so nothing would be trained: set num_train_epochs to at least "
            f"{math.ceil(1000 * needed / num_rows) / 1000:g}, or set max_steps."
        )


def check_entropies(
    batch: dict[str, Any],
    invalid: torch.Tensor,
    tokenizer: Any,
    step: int,
    reduce: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    """
    Check that no counted token of any rank has a NaN entropy.

    Args:
        batch (`dict[str, Any]`):
            Rollout batch with `prompt_ids` and `prompt_mask`.
        invalid (`torch.Tensor` of shape `(B, T)`):
            Counted tokens whose entropy is NaN.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer that decodes the prompt for the message.
        step (`int`):
            Step that the message names.
        reduce (`Callable[[torch.Tensor], torch.Tensor]`):
            Sums a tensor over all ranks.

    Raises:
        `FloatingPointError`: in every rank, if there is one in any.

    Example:
    ```python
    >>> import torch
    >>> check_entropies({}, torch.zeros(2, 3, dtype=torch.bool), None, step=1, reduce=lambda tensor: tensor)
    ```
    """
    if not reduce(invalid.count_nonzero()):
        return
    found = []
    if invalid.any():
        row, position = invalid.nonzero()[0].tolist()
        prompt = tokenizer.decode(batch["prompt_ids"][row][batch["prompt_mask"][row].bool()])
        found = [f"position {position} of the answer to the prompt {prompt[:200]!r}"]
    # All ranks raise, whoever found it: one that went on would wait for the others for ever.
    raise FloatingPointError(
        f"Step {step}: the entropy at {gather_object(found)[0]} is NaN, so the model's logits are not finite there. Lower "
        "the learning rate or resume from an earlier checkpoint."
    )


def check_fused_head(model: PreTrainedModel) -> None:
    """
    Check that TRL's fused LM head, which all entropies come from, can score the model.

    The head runs the backbone (`model.base_model`) and projects its hidden states with `model.get_output_embeddings()`.

    Args:
        model (`PreTrainedModel` or `PeftModel`):
            Model to train.

    Raises:
        `ValueError`: if the model is an encoder-decoder, has no backbone apart from itself, no output embedding or an adapter on it, or this
            TRL's head cannot run on this machine; the message names which.

    Example:
    ```python
    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> config = LlamaConfig(vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    >>> check_fused_head(LlamaForCausalLM(config))
    ```
    """
    causal_model = get_causal_model(model)
    name = type(causal_model).__name__
    if Version(trl.__version__) < Version("1.16") and not is_triton_available():
        raise ValueError(
            f"The fused LM head of TRL {trl.__version__} runs on Triton only, which is not installed: pip install "
            "'trl>=1.16'."
        )
    if causal_model.config.is_encoder_decoder:
        raise ValueError(
            f"{name} is an encoder-decoder, and TRL scores prompt and answer as one row of tokens of a decoder: {REMEDY}."
        )
    if find_backbone(causal_model) is causal_model:
        raise ValueError(f"{name} has no backbone of its own for TRL's fused LM head to run: {REMEDY}.")
    embeddings = causal_model.get_output_embeddings()
    if getattr(embeddings, "weight", None) is None:
        raise ValueError(f"{name} has no output embedding for TRL's fused LM head to score with: {REMEDY}.")
    if hasattr(embeddings, "base_layer"):  # TRL looks for it in a PeftModel only
        raise ValueError(
            f"The adapter on the output embedding (lm_head) of {name} is left out by TRL's fused LM head, which reads "
            "the plain weight: take lm_head out of target_modules, or put it into modules_to_save."
        )
    if hasattr(embeddings, "token_adapter"):
        raise ValueError(
            f"The output embedding of {name} is trained by trainable_token_indices, which TRL's fused LM head cannot "
            "read: put the embedding into modules_to_save."
        )


def check_trainable(model: torch.nn.Module) -> None:
    """
    Check that there is something to train.

    Args:
        model (`torch.nn.Module`):
            Model with its adapter, if any.

    Raises:
        `ValueError`: if no parameter requires a gradient, as in an adapter that was loaded for inference.

    Example:
    ```python
    >>> import torch
    >>> check_trainable(torch.nn.Linear(2, 2))
    ```
    """
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(
            "No parameter of the model requires a gradient, so there is nothing to train: load an adapter with "
            "PeftModel.from_pretrained(..., is_trainable=True)."
        )


def find_idle_settings(args: ForkingGRPOConfig) -> list[str]:
    """
    Find settings that are allowed and do not do what their name says.

    Args:
        args ([`ForkingGRPOConfig`]):
            Configuration.

    Returns:
        `list[str]`: a sentence for each.

    Example:
    ```python
    >>> from trl_forking import ForkingGRPOConfig
    >>> find_idle_settings(ForkingGRPOConfig("runs/example", use_cpu=True))
    []
    ```
    """
    found = []
    if args.drops_tokens and args.loss_normalizer == "kept" and NORMALIZER_EXTENT[args.loss_type] is None:
        found.append(
            f"loss_type={args.loss_type!r} divides by no number of tokens, so loss_normalizer='kept' changes nothing."
        )
    if args.loss_type == "cispo" and args.epsilon_high is not None and args.epsilon_high < 1.0:
        found.append(
            f"loss_type='cispo' caps every ratio at epsilon_high={args.epsilon_high}, which is below 1, the ratio of "
            "an unchanged policy: set epsilon_high to about 5.0."
        )
    return found
