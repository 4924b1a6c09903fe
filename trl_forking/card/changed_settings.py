"""The settings of a run that differ from their defaults, as plain data without secrets."""

import dataclasses
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..settings.plain import make_plain
from ..settings.secrets import remove_secrets


if TYPE_CHECKING:
    from ..forking_grpo_config import ForkingGRPOConfig


# These settings say where a run is written, pushed and logged. They do not change what is trained.
_NOT_OF_TRAINING = re.compile(
    r"(push_to_hub|hub_|report_to|run_name|project$|trackio_|logging_dir|log_level|disable_tqdm|output_dir"
    r"|resume_from_checkpoint|local_rank|ddp_|dry_run|overwrite_output_dir)"
)


def find_changed_settings(args: "ForkingGRPOConfig") -> dict[str, Any]:
    """
    Find the settings of training that differ from their defaults.

    Args:
        args ([`ForkingGRPOConfig`]):
            Settings of a run. They are compared with the defaults of their class.

    Returns:
        `dict[str, Any]`: names and values, in the order of the class. With them the class makes the same run again. They
        have no token, and nothing about where the run is written, pushed and logged.

    Example:
    ```python
    >>> from trl_forking import ForkingGRPOConfig
    >>> args = ForkingGRPOConfig("runs/example", learning_rate=1e-5, use_cpu=True, hub_token="hf_secret")
    >>> find_changed_settings(args)
    {'learning_rate': 1e-05, 'use_cpu': True}
    ```
    """
    changed = {}
    for entry in dataclasses.fields(args):
        value, default = getattr(args, entry.name), _get_default(entry)
        if (
            entry.init
            and not _is_resolved_default(args, entry.name, value)
            and make_plain(value) != make_plain(default)
        ):
            changed[entry.name] = make_plain(value)
    return clean_settings(changed)


def _get_default(entry: dataclasses.Field) -> Any:
    return entry.default_factory() if callable(entry.default_factory) else entry.default


def _is_resolved_default(args: "ForkingGRPOConfig", name: str, value: Any) -> bool:
    """Return whether `__post_init__` made the value from the default. Within a run the class cannot be built again."""
    if name == "generation_batch_size":  # it follows from steps_per_generation, and TRL accepts only one of the two
        return True
    resolved = {
        "bf16": False,
        "dataloader_pin_memory": not args.use_cpu,
        "steps_per_generation": args.gradient_accumulation_steps,
        "activation_checkpointing": args.gradient_checkpointing,  # the old name, which both versions accept
        "activation_checkpointing_kwargs": args.gradient_checkpointing_kwargs,
        "pad_to_multiple_of": None,
        "debug": [],
    }
    return name in resolved and value == resolved[name]


def clean_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """
    Remove from settings what must not or need not be published.

    Args:
        settings (`dict[str, Any]`):
            Names and plain values.

    Returns:
        `dict[str, Any]`: settings without secrets at any depth, and without those that say where the run is written,
        pushed and logged. Of an absolute path the last part stays.

    Example:
    ```python
    >>> clean_settings({"hub_token": "hf_secret", "model_init_kwargs": {"token": "hf_secret"}, "deepspeed": "/home/me/z.json"})
    {'model_init_kwargs': {}, 'deepspeed': 'z.json'}
    ```
    """
    named = {name: value for name, value in settings.items() if not _NOT_OF_TRAINING.match(name)}
    return _shorten_paths(remove_secrets(named))


def _shorten_paths(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _shorten_paths(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_shorten_paths(item) for item in value]
    return shorten_path(value) if isinstance(value, str) else value


def shorten_path(name: str) -> str:
    """
    Take the last part of an absolute path. It says nothing about the machine.

    Example:
    ```python
    >>> shorten_path("/home/me/models/tiny"), shorten_path("Qwen/Qwen3-8B-Base")
    ('tiny', 'Qwen/Qwen3-8B-Base')
    ```
    """
    return Path(name).name if os.path.isabs(name) else name
