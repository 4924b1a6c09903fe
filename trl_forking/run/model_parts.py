"""The parts of a model that scoring depends on."""

from typing import Any

import torch
from accelerate.utils import is_peft_model
from transformers import PreTrainedModel


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
    return model.get_base_model() if is_peft_model(model) else model


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


def has_dropout(model: torch.nn.Module) -> bool:
    """
    Tell whether a model draws a dropout mask in training, so that no two forward passes agree.

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
    dropouts = (module.p for module in model.modules() if isinstance(module, torch.nn.modules.dropout._DropoutNd))
    config = getattr(get_causal_model(model), "config", None)
    # Attention drops weights in a function, by a number that is in the configuration only.
    settings = vars(config.get_text_config()) if config is not None else {}
    named = (value for name, value in settings.items() if name.endswith(("dropout", "_pdrop")))
    return any(isinstance(p, (int, float)) and p > 0 for p in (*dropouts, *named))
