"""What a model's positions depend on, and so which padding can be cut off without a change of the scores."""

import inspect
from typing import Any

import torch

from ..run.model_parts import find_backbone, get_causal_model, get_rope


ATTENTION_LAYERS = {"full_attention", "sliding_attention"}
"""Layers in which a token attends to earlier ones. State-space and linear layers carry a state over padding too."""


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
    return any(part.get("rope_type", part.get("type")) in ("dynamic", "longrope") for part in get_rope(config))


def sees_distances_only(model: torch.nn.Module) -> bool:
    """
    Tell whether a model sees distances between tokens and no positions, so that a row can move to the left.

    TRL passes no positions, and most models count them from the left end of the batch, padding included. Rotary
    embeddings use differences of positions only. The answer is `False` for learned positions (GPT-2), for layers that
    carry a state along the row (Mamba, linear attention, short convolutions), for a temperature that depends on the
    position (Llama 4, Ministral 3), and for anything that the configuration does not tell.

    Args:
        model (`torch.nn.Module`):
            Model, with its adapter if it has one.

    Returns:
        `bool`

    Example:
    ```python
    >>> from transformers import GPT2Config, GPT2LMHeadModel
    >>> from trl_forking.countdown import load_countdown_model
    >>> sees_distances_only(load_countdown_model())
    True
    >>> sees_distances_only(GPT2LMHeadModel(GPT2Config(vocab_size=8, n_embd=8, n_layer=1, n_head=1)))
    False
    ```
    """
    config = get_causal_model(model).config
    rope = get_rope(config)
    is_rotary = any(rope) and not depends_on_length(config)
    is_scaled = any(part.get("llama_4_scaling_beta") for part in rope)
    has_states = any(isinstance(module, torch.nn.Conv1d) for module in model.modules())
    return is_rotary and not is_scaled and not has_states and set(find_layer_types(config)) <= ATTENTION_LAYERS


def find_layer_types(config: Any) -> list[str]:
    """
    Find the kind of each layer, as far as a configuration tells it.

    Args:
        config ([`~transformers.PreTrainedConfig`]):
            Configuration of the model.

    Returns:
        `list[str]`: a name for each layer; nothing if the configuration names none.

    Example:
    ```python
    >>> from transformers import Qwen3Config
    >>> find_layer_types(Qwen3Config(num_hidden_layers=2))
    ['full_attention', 'full_attention']
    ```
    """
    return list(getattr(config.get_text_config(), "layer_types", None) or [])


def takes_positions(model: torch.nn.Module) -> bool:
    """
    Tell whether a model takes the position of each token from its caller. Models that see images compute their own.

    Args:
        model (`torch.nn.Module`):
            Model, with its adapter if it has one.

    Returns:
        `bool`

    Example:
    ```python
    >>> from trl_forking.countdown import load_countdown_model
    >>> takes_positions(load_countdown_model())
    True
    ```
    """
    causal_model = get_causal_model(model)
    is_text_only = causal_model.config.get_text_config() is causal_model.config
    return is_text_only and "position_ids" in inspect.signature(find_backbone(causal_model).forward).parameters
