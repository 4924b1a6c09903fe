"""What is put right in a model before training."""

import torch
from transformers import PreTrainedModel

from .model_parts import get_causal_model


def make_bias_finite(model: PreTrainedModel) -> None:
    """
    Replace an output bias of minus infinity, which masks a vocabulary entry, by a finite one that masks it as well.

    The entropy of such a distribution is finite, but TRL's fused head computes `0 * -inf` on the way to it.

    Args:
        model (`PreTrainedModel` or `PeftModel`):
            Model to train; changed in place.

    Example:
    ```python
    >>> import torch
    >>> from transformers import PhiConfig, PhiForCausalLM
    >>> sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    >>> model = PhiForCausalLM(PhiConfig(vocab_size=8, **sizes))
    >>> model.lm_head.bias.data[0] = -torch.inf
    >>> make_bias_finite(model)
    >>> bool(model.lm_head.bias.isfinite().all())
    True
    ```
    """
    causal_model = get_causal_model(model)
    bias = getattr(causal_model.get_output_embeddings(), "bias", None)
    if bias is not None:
        # Half of the lowest number leaves room to add a logit to it without reaching infinity again.
        bias.data.masked_fill_(torch.isneginf(bias.data), torch.finfo(bias.dtype).min / 2)


def keep_4_bit_weights(model: torch.nn.Module) -> None:
    """
    Stop bitsandbytes from repacking 4-bit weights on a CPU at the first evaluation: no gradient comes through after.

    Args:
        model (`torch.nn.Module`):
            Model to train; without such weights it stays as it is.

    Example:
    ```python
    >>> import torch
    >>> keep_4_bit_weights(torch.nn.Linear(2, 2))
    ```
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
