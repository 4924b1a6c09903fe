"""The model and the tokenizer of the built-in task."""

from pathlib import Path
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM


# The last part of the path is the name of the model on model cards.
ASSETS = Path(__file__).parent / "assets" / "countdown"


def load_countdown_tokenizer() -> "PreTrainedTokenizerFast":
    """
    Load the tokenizer of the built-in task.

    Returns:
        [`~transformers.PreTrainedTokenizerFast`]: tokenizer with 65 words and padding on the left. It has no unknown word.

    Example:
    ```python
    >>> from trl_forking.countdown import load_countdown_tokenizer
    >>> load_countdown_tokenizer()("5 + 3")["input_ids"]
    [7, 53, 5]
    ```
    """
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(ASSETS)


def load_countdown_model() -> "Qwen3ForCausalLM":
    """
    Load the model of the built-in task. It writes legal attempts and searches at random.

    The model is a starting point for reinforcement learning. `python -m trl_forking.countdown.warm_start` made it.

    Returns:
        [`~transformers.Qwen3ForCausalLM`]: model on the CPU, in fp32 and in evaluation mode.

    Example:
    ```python
    >>> from trl_forking.countdown import load_countdown_model
    >>> load_countdown_model().dtype
    torch.float32
    ```
    """
    import torch
    from transformers import Qwen3ForCausalLM

    return Qwen3ForCausalLM.from_pretrained(ASSETS, dtype=torch.float32)
