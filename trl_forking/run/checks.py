"""Checks of what a user passes to the trainer, made before a model is loaded or a token generated."""

import difflib
import inspect
import logging
import numbers
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import trl
from accelerate.utils import gather_object
from datasets import Dataset, IterableDataset
from packaging.version import Version
from transformers import PreTrainedModel, TrainerState
from transformers.utils import is_triton_available
from trl import GRPOConfig, is_conversational

from ..forking_grpo_config import ForkingGRPOConfig
from ..selection.tokens import NORMALIZER_EXTENT
from .model_parts import find_backbone, get_causal_model


logger = logging.getLogger(__name__)

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
        `ValueError`: if there is no column `prompt`; the message names the columns and the likely one.

    Example:
    ```python
    >>> from datasets import Dataset, IterableDataset
    >>> check_prompt_column(Dataset.from_dict({"prompt": ["1 + 1 ="]}), "train_dataset")
    ```
    """
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


def check_num_prompts(dataset: object, args: GRPOConfig) -> None:
    """
    Check that a data set has prompts for a rollout, and can be drawn from where dynamic sampling asks for more.

    Args:
        dataset (`Dataset` or `IterableDataset`):
            Prompts to train on.
        args ([`~trl.GRPOConfig`]):
            Configuration.

    Raises:
        `ValueError`: if a rollout takes more prompts than there are, or dynamic sampling is to draw from a stream.

    Example:
    ```python
    >>> from datasets import Dataset
    >>> from trl_forking import ForkingGRPOConfig
    >>> args = ForkingGRPOConfig("runs/example", per_device_train_batch_size=8, num_generations=8, use_cpu=True)
    >>> check_num_prompts(Dataset.from_dict({"prompt": ["1 + 1 ="]}), args)
    ```
    """
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


def check_rewards(reward_funcs: Any, train_dataset: object) -> None:
    """
    Call each reward function with an empty answer to the first two prompts and check what it returns.

    Models, asynchronous functions and streamed datasets are left out: calling them costs too much for a check.

    Args:
        reward_funcs (`Callable`, `str`, `PreTrainedModel` or a list of them):
            Reward functions as passed to the trainer.
        train_dataset (`Dataset`):
            Dataset whose columns the functions receive.

    Raises:
        `ValueError`: if a function does not return one number or `None` per answer; the message names it and the value.

    Example:
    ```python
    >>> from datasets import Dataset, IterableDataset
    >>> def short(completions, **kwargs):
    ...     return [-len(completion) for completion in completions]
    >>> check_rewards(short, Dataset.from_dict({"prompt": ["1 + 1 ="]}))
    ```
    """
    if not isinstance(train_dataset, Dataset) or len(train_dataset) == 0:
        return
    rows = [train_dataset[index] for index in range(min(2, len(train_dataset)))]
    for reward_func in reward_funcs if isinstance(reward_funcs, list) else [reward_funcs]:
        is_plain_function = callable(reward_func) and not isinstance(reward_func, torch.nn.Module)
        if is_plain_function and not inspect.iscoroutinefunction(reward_func):
            _check_reward(reward_func, rows)


def _check_reward(reward_func: Callable, rows: list[dict[str, Any]]) -> None:
    name = getattr(reward_func, "__name__", type(reward_func).__name__)
    answer = [{"role": "assistant", "content": ""}] if is_conversational(rows[0]) else ""
    columns = {key: [row[key] for row in rows] for key in rows[0] if key not in ("prompt", "completion")}
    try:
        rewards = reward_func(
            prompts=[row["prompt"] for row in rows],
            completions=[answer] * len(rows),
            completion_ids=[[0]] * len(rows),
            **columns,
            trainer_state=TrainerState(),
            log_extra=lambda column, values: None,
            log_metric=lambda metric, value: None,
        )
    except ImportError as error:
        is_bare = "math" in str(error) and "pip install" not in str(error)
        extra = ": pip install 'trl-forking[math]'" if is_bare else ""
        raise ImportError(f"Reward function {name!r} cannot run: {error}{extra}") from error
    except Exception as error:
        # Not fatal: a function may rely on what only training has. But a model can give an empty answer too.
        logger.warning("Reward function %r failed on an empty answer: %s: %s", name, type(error).__name__, error)
        return
    if not hasattr(rewards, "__len__") or isinstance(rewards, (str, dict)):
        raise ValueError(
            f"Reward function {name!r} returned {rewards!r} for {len(rows)} answers: return a list with one number "
            "(or None) per answer."
        )
    if len(rewards) != len(rows):
        raise ValueError(
            f"Reward function {name!r} returned {len(rewards)} values for {len(rows)} answers: return one number (or "
            "None) per answer."
        )
    for row, reward in enumerate(rewards):
        if not _is_reward(reward):
            raise ValueError(
                f"Reward function {name!r} returned {reward!r} for the answer to row {row} of train_dataset: return a "
                "number, or None where it cannot judge."
            )


def _is_reward(value: object) -> bool:
    if isinstance(value, torch.Tensor):
        return value.numel() == 1
    return value is None or isinstance(value, (numbers.Real, np.bool_))


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
        `ValueError`: if the model has no backbone apart from itself, no output embedding or an adapter on it, or this
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
    remedy = "pass a causal language model such as the ones AutoModelForCausalLM loads"
    if find_backbone(causal_model) is causal_model:
        raise ValueError(f"{name} has no backbone of its own for TRL's fused LM head to run: {remedy}.")
    embeddings = causal_model.get_output_embeddings()
    if getattr(embeddings, "weight", None) is None:
        raise ValueError(f"{name} has no output embedding for TRL's fused LM head to score with: {remedy}.")
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
