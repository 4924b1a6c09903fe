"""
The facts of a run as plain data, from which its card is made.

They have no token, no absolute path, and no row of the data unless the tokenizer can read nothing else.
"""

import math
import os
import platform
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from itertools import zip_longest
from typing import Any

import torch

from ..forking_grpo_config import ForkingGRPOConfig
from ..run.code_version import find_code_version
from ..run.trainer_protocol import ForkingTrainer
from ..settings.plain import make_plain
from ..writing.markdown import is_repo_id
from .changed_settings import find_changed_settings, shorten_path
from .example_prompt import find_example_prompt
from .logged_evaluations import collect_evaluations
from .run_files import FORMAT


NUM_TOKENS = 20
_COLUMNS = (
    *("reward", "reward_std", "entropy", "loss", "grad_norm", "frac_reward_zero_std", "num_tokens"),
    *("completions/mean_length", "completions/clipped_ratio", "forking/generated_tokens"),
    *("forking/threshold", "forking/kept_fraction", "forking/counted_fraction", "forking/entropy_share"),
    *("forking/zero_variance_groups", "forking/informative_groups", "forking/sampled_reward"),
    *("forking/clip_fraction", "forking/repeated_answers"),
)
_PACKAGES = ("trl-forking", "trl", "transformers", "torch", "accelerate", "datasets", "tokenizers")


def collect_run(trainer: ForkingTrainer, earlier: dict[str, Any] | None = None, **names: Any) -> dict[str, Any]:
    """
    Collect the facts of a run.

    Args:
        trainer ([`ForkingGRPOTrainer`]):
            Trainer, before, during or after training. The processes exchange nothing.
        earlier (`dict[str, Any]`, *optional*):
            Earlier record of the run. Names that are not given now are taken from it.
        **names:
            `model_name`, `dataset_name`, `tags` and `example_prompt` as in [`~trl_forking.card.model_card.create_card`].

    Returns:
        `dict[str, Any]`: plain data.
    """
    args, state = trainer.args, trainer.state
    given = {**(earlier or {}).get("names", {}), **{name: value for name, value in names.items() if value is not None}}
    if "dataset_name" in given:
        given["dataset_name"] = _hide_folders(given["dataset_name"])
    if "example_prompt" not in given:
        example = find_example_prompt(trainer.processing_class, trainer.train_dataset)
        given |= {} if example is None else {"example_prompt": example}
    has_adapter = _find_adapter(trainer.model) is not None
    return {
        "format": FORMAT,
        "method": {"name": trainer._name, "paper": dict(trainer._paper)},
        "tags": _find_tags(trainer),
        "names": {name: make_plain(value) for name, value in given.items()} | _find_hub_name(trainer),
        "model": _describe_model(trainer),
        "data": {"num_prompts": _count_rows(trainer.train_dataset)},
        "rewards": [
            {"name": name, "weight": weight}
            for name, weight in zip(trainer.reward_func_names, trainer.reward_weights.tolist(), strict=True)
        ],
        "dapo": find_dapo_parts(args, trainer.reward_funcs),
        "forking": {name: getattr(args, name) for name in ForkingGRPOConfig.__annotations__},
        "settings": find_changed_settings(args),
        "batch": {
            "num_processes": args.world_size,
            "answers": args.generation_batch_size,
            "num_generations": args.num_generations,
            "max_completion_length": args.max_completion_length,
            "temperature": args.temperature,
        },
        "progress": {
            "step": state.global_step,
            "max_steps": state.max_steps,
            "resumed_at": list(trainer.resumed_at),
            "device": _name_device(args.device),
            **({"best_step": state.best_global_step} if args.load_best_model_at_end else {}),
        },
        "history": collect_history(state.log_history),
        "evaluations": collect_evaluations(state.log_history),
        "kept_tokens": _name_tokens(trainer),
        "links": _find_links(),
        "versions": _find_versions([*(["peft"] if has_adapter else []), *(["vllm"] if args.use_vllm else [])]),
    }


def find_dapo_parts(args: ForkingGRPOConfig, reward_funcs: Iterable[Any]) -> dict[str, bool]:
    """
    Find the techniques of [DAPO](https://huggingface.co/papers/2503.14476) that a run uses.

    Args:
        args ([`ForkingGRPOConfig`]):
            Settings.
        reward_funcs (`Iterable`):
            Reward functions. That of [`~trl.rewards.get_soft_overlong_punishment`] counts if its cache and its weight are
            not 0.

    Returns:
        `dict[str, bool]`: for `dynamic sampling`, `clip-higher` and `overlong shaping`, whether it is used.

    Example:
    ```python
    >>> from trl.rewards import get_soft_overlong_punishment
    >>> from trl_forking import ForkingGRPOConfig
    >>> find_dapo_parts(ForkingGRPOConfig("runs/example"), [get_soft_overlong_punishment(256, 64)])
    {'dynamic sampling': False, 'clip-higher': True, 'overlong shaping': True}
    ```
    """
    return {
        "dynamic sampling": args.dynamic_sampling,
        "clip-higher": args.epsilon_high is not None and args.epsilon_high > args.epsilon,
        "overlong shaping": any(
            getattr(function, "soft_punish_cache", 0) > 0 and weight != 0
            for function, weight in zip_longest(reward_funcs, args.reward_weights or [])
        ),
    }


def collect_history(log_history: list[dict[str, Any]]) -> dict[str, list]:
    """
    Collect the logged numbers of the training steps as columns.

    Args:
        log_history (`list[dict[str, Any]]`):
            Logs of a [`~transformers.TrainerState`]. Evaluations and the summary at the end are left out.

    Returns:
        `dict[str, list]`: column `step` and the other columns that were logged. A step without a number has `None`.

    Example:
    ```python
    >>> collect_history([{"step": 1, "reward": 0.5, "loss": float("nan")}, {"step": 1, "train_runtime": 9.0}])
    {'step': [1], 'reward': [0.5], 'loss': [None]}
    ```
    """
    # The steps between two rollouts have no reward.
    rows = [row for row in log_history if ("loss" in row or "reward" in row) and "step" in row]
    columns = [name for name in _COLUMNS if any(name in row for row in rows)]
    return {"step": [row["step"] for row in rows]} | {
        name: [_round(row.get(name)) for row in rows] for name in columns
    }


def _hide_folders(names: Any) -> Any:
    if isinstance(names, (list, tuple)):
        return [_hide_folders(name) for name in names]
    # With the dots the rest is not taken for a name of the Hub.
    return f".../{shorten_path(names)}" if isinstance(names, str) and os.path.isabs(names) else names


def _round(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and math.isfinite(value)
    return float(f"{value:.6g}") if is_number else None


def _find_adapter(model: Any) -> Any:
    config = getattr(model, "peft_config", None)
    return next(iter(config.values())) if isinstance(config, dict) and config else None


def _describe_model(trainer: ForkingTrainer) -> dict[str, Any]:
    model, processor = trainer.accelerator.unwrap_model(trainer.model), trainer.processing_class
    adapter = _find_adapter(model)
    name = (adapter and adapter.base_model_name_or_path) or getattr(model.config, "_name_or_path", "") or None
    is_local = name is not None and (os.path.exists(name) or not is_repo_id(name))
    sizes = [(getattr(p, "ds_numel", p.numel()), p.requires_grad) for p in model.parameters()]
    described: dict[str, Any] = {
        "base_model": name and shorten_path(name),
        "is_local": is_local,
        "architecture": next(iter(model.config.architectures or []), None),
        "takes_images": hasattr(processor, "image_processor"),
        "num_parameters": sum(size for size, _ in sizes),
        "num_trained": sum(size for size, is_trained in sizes if is_trained),
        "has_chat_template": bool(getattr(processor, "chat_template", None)),
        "adapter": None,
        "quantization": _describe_quantization(model.config),
    }
    if adapter is not None:
        names = ("r", "lora_alpha", "lora_dropout", "target_modules")
        chosen = {key: make_plain(getattr(adapter, key)) for key in names if getattr(adapter, key, None) is not None}
        if isinstance(chosen.get("target_modules"), list):
            chosen["target_modules"].sort()
        described["adapter"] = {"type": make_plain(adapter.peft_type), "settings": chosen}
    return described


def _describe_quantization(config: Any) -> str | None:
    quantization = getattr(config, "quantization_config", None)
    if quantization is None:
        return None
    settings = quantization if isinstance(quantization, dict) else quantization.to_dict()
    bits = [name for name in ("load_in_4bit", "load_in_8bit") if settings.get(name)]
    return " ".join([str(make_plain(settings.get("quant_method", "unknown method"))), *bits])


def _find_tags(trainer: ForkingTrainer) -> list[str]:
    """Find the tags that TRL gives a model."""
    tags = ["generated_from_trainer", *trainer._tag_names]
    if hasattr(trainer.model.config, "unsloth_version"):
        tags.append("unsloth")
    return [*tags, "hf_jobs"] if "JOB_ID" in os.environ else tags


def _find_hub_name(trainer: ForkingTrainer) -> dict[str, str]:
    name = getattr(trainer, "hub_model_id", None) or trainer.args.hub_model_id
    return {"hub_model_id": name} if name else {}


def _count_rows(dataset: Any) -> int | None:
    return len(dataset) if hasattr(dataset, "__len__") else None


def _name_device(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()


def _name_tokens(trainer: ForkingTrainer) -> dict[str, Any] | None:
    """List the forking tokens that were kept most often. Other selections have no forking tokens."""
    if not trainer.args.drops_tokens or trainer.args.token_rule or trainer.args.token_selection != "high_entropy":
        return None
    tokenizer, counts = trainer._tokenizer, trainer.selector.token_counts

    def name(token_id: int) -> str:
        text = tokenizer.decode([token_id])
        # A token that is a part of a character has no text of its own.
        return text if text and "�" not in text else str(tokenizer.convert_ids_to_tokens(token_id))

    rows = [
        {"token_id": token_id, "text": name(token_id), "kept": kept, "counted": counted}
        for token_id, kept, counted in counts.find_most_frequent(NUM_TOKENS)
    ]
    return {"num_kept": counts.num_kept, "tokens": rows}


def _find_links() -> dict[str, str]:
    from trl.trainer.utils import get_comet_experiment_url, get_trackio_space_url

    wandb = sys.modules.get("wandb")  # without an import there is no run of wandb
    run = getattr(wandb, "run", None)
    links = {
        "Weights & Biases": getattr(run, "url", None),
        "Trackio": get_trackio_space_url(),
        "Comet": get_comet_experiment_url(),
    }
    return {name: url for name, url in links.items() if url}


def _find_versions(others: list[str]) -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in (*_PACKAGES, *others):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    code = find_code_version()
    return versions if code is None else versions | {"git": code}
