"""The parts of a model that scoring depends on."""

from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel


def get_causal_model(model: torch.nn.Module) -> Any:
    """
    Return the causal language model that an adapter is on, or the model itself where there is none.

    Example:
    ```python
    >>> from trl_forking.countdown import load_countdown_model
    >>> model = load_countdown_model()
    >>> get_causal_model(model) is model
    True
    ```
    """
    # Not by accelerate's is_peft_model, which reads the metadata of two packages from the disk at every call.
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def find_backbone(causal_model: PreTrainedModel) -> torch.nn.Module:
    """
    Return the module that TRL's fused head runs for the hidden states; the model itself where there is none.

    Example:
    ```python
    >>> from trl_forking.countdown import load_countdown_model
    >>> type(find_backbone(load_countdown_model())).__name__
    'Qwen3Model'
    ```
    """
    backbone = getattr(causal_model, "base_model", causal_model)
    # Vision-language models of Transformers 4 name it `model` and have no prefix.
    return getattr(causal_model, "model", backbone) if backbone is causal_model else backbone


# Parts of the names of what is drawn at random in training: dropout, `layerdrop`, `resid_pdrop`, `drop_path_rate`,
# `router_jitter_noise`, `moe_jitter_eps`, and NEFTune's `neftune_noise_alpha`.
_RANDOM = ("drop", "jitter", "noise")


def get_rope(config: Any) -> list[dict[str, Any]]:
    """
    Return the parameters of the rotary embeddings; models with several kinds of layers have them for each.

    Args:
        config ([`~transformers.PreTrainedConfig`]):
            Configuration of the model.

    Returns:
        `list[dict]`: at least one; all are empty if the model has no rotary embeddings.

    Example:
    ```python
    >>> from transformers import GPT2Config
    >>> get_rope(GPT2Config())
    [{}]
    ```
    """
    config = config.get_text_config()
    parameters = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    if not parameters and getattr(config, "rope_theta", None):  # Transformers 4
        parameters = {"rope_theta": config.rope_theta}
    return [part for part in parameters.values() if isinstance(part, dict)] or [parameters]


def has_dropout(model: torch.nn.Module) -> bool:
    """
    Tell whether a model draws random numbers in training, so that no two forward passes agree.

    Dropout does, of units, attention weights, paths or whole layers (LayerDrop), and so does noise on the embeddings
    (NEFTune) or on the inputs of a router.

    Args:
        model (`torch.nn.Module`):
            Model, with its adapter if it has one.

    Returns:
        `bool`

    Example:
    ```python
    >>> import torch
    >>> has_dropout(torch.nn.Sequential(torch.nn.Dropout(0.1))), has_dropout(torch.nn.Sequential(torch.nn.Dropout(0.0)))
    (True, False)
    ```
    """
    for module in model.modules():
        if isinstance(module, torch.nn.modules.dropout._DropoutNd) and module.p > 0:
            return True
        # Attention and LayerDrop draw in a function, by a number that a module keeps.
        if _has_random_setting(vars(module)):
            return True
    config = getattr(get_causal_model(model), "config", None)
    return config is not None and any(_has_random_setting(vars(part)) for part in _list_configs(config))


def _has_random_setting(settings: dict[str, Any]) -> bool:
    named = (value for name, value in settings.items() if any(part in name for part in _RANDOM))
    return any(isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0 for value in named)


def _list_configs(config: PreTrainedConfig) -> list[PreTrainedConfig]:
    """List a configuration and those inside of it, such as the one of a vision tower."""
    parts = [part for part in vars(config).values() if isinstance(part, PreTrainedConfig)]
    return [config, *(inner for part in parts for inner in _list_configs(part))]
