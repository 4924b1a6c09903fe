"""Decoding with two temperatures: one for tokens with a high entropy, and another for the rest.

Shapes: `B` sequences that are continued, `V` tokens of the vocabulary. Entropies and thresholds are in nats.
"""

import math

import torch
from transformers import LogitsProcessor

from ..selection.entropies import compute_entropies


def check_fork_temperature(threshold: float, fork_temperature: float, other_temperature: float) -> None:
    """
    Check a threshold and two temperatures.

    Args:
        threshold (`float`):
            Entropy in nats, 0 or more. With infinity no token is a fork.
        fork_temperature (`float`):
            Positive and finite.
        other_temperature (`float`):
            Positive and finite.

    Raises:
        `ValueError`: if a value is not allowed. The message names the value.

    Example:
    ```python
    >>> check_fork_temperature(0.672, fork_temperature=0.0, other_temperature=1.0)
    Traceback (most recent call last):
        ...
    ValueError: fork_temperature must be a positive number, but it is 0.0: use 0.01 for nearly greedy decoding.
    ```
    """
    if not _is_number(threshold) or not threshold >= 0:
        raise ValueError(f"threshold must be an entropy in nats, 0 or more, but it is {threshold!r}.")
    for name, value in (("fork_temperature", fork_temperature), ("other_temperature", other_temperature)):
        if not _is_number(value) or not 0 < value < math.inf:
            raise ValueError(
                f"{name} must be a positive number, but it is {value!r}: use 0.01 for nearly greedy decoding."
            )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def apply_fork_temperature(
    logits: torch.Tensor, threshold: float, fork_temperature: float, other_temperature: float
) -> torch.Tensor:
    r"""
    Divide each row of logits by the temperature of its kind: fork or other token.

    \\( z' = z / T_\text{fork} \\) where \\( H \ge \tau \\), else \\( z' = z / T_\text{other} \\). \\( H \\) is the entropy of
    \\( \mathrm{softmax}(z) \\), before any temperature. A row at the threshold is a fork, like in the indicator
    \\( \mathbb{1}[H \ge \tau] \\) of the paper.

    Source: the experiment of figure 3 of [Beyond the 80/20 Rule](https://huggingface.co/papers/2506.01939).

    Args:
        logits (`torch.Tensor` of shape `(B, V)`):
            Logits \\( z \\) before any temperature. They are left as they are.
        threshold (`float`):
            Lowest entropy \\( \tau \\) of a fork, in nats.
        fork_temperature (`float`):
            Temperature of the forks.
        other_temperature (`float`):
            Temperature of all other rows.

    Returns:
        `torch.Tensor` of shape `(B, V)`: logits to sample from at temperature 1.

    Raises:
        `ValueError`: if the threshold is negative or NaN, or a temperature is not positive and finite.

    Example:
    ```python
    >>> import torch
    >>> logits = torch.tensor([[1.0, 0.0], [9.0, 0.0]])  # 0.58 and 0.001 nats
    >>> apply_fork_temperature(logits, threshold=0.5, fork_temperature=2.0, other_temperature=1.0)
    tensor([[0.5000, 0.0000],
            [9.0000, 0.0000]])
    ```
    """
    check_fork_temperature(threshold, fork_temperature, other_temperature)
    # Plain sampling divides by a Python number too. On a GPU PyTorch then multiplies by the reciprocal, so that a tensor of
    # temperatures would give another last bit than plain sampling.
    return torch.where(compute_entropies(logits) >= threshold, logits / fork_temperature, logits / other_temperature)


class ForkTemperature(LogitsProcessor):
    """
    Sample the forks at one temperature and all other tokens at another, in `model.generate`.

    Transformers calls it with logits in fp32, after its own processors that forbid tokens or change logits, so the entropy
    is that of the changed logits. Temperature, top-k, top-p and min-p of Transformers come later. Pass `temperature=1.0`,
    so that there is no third temperature. Pass `top_k=0` and `top_p=1.0` unless you want these cuts: the generation config
    of many models sets all three. Source and equation are those of [`apply_fork_temperature`].

    Args:
        threshold (`float`):
            Lowest entropy of a fork, in nats; 0.672 in the paper's experiment with Qwen3-8B.
        fork_temperature (`float`):
            Temperature of the forks, positive.
        other_temperature (`float`):
            Temperature of all other tokens, positive.

    Raises:
        `ValueError`: if the threshold is negative or NaN, or a temperature is not positive and finite.

    Example:
    ```python
    >>> from transformers import LogitsProcessorList
    >>> from trl_forking.countdown import load_countdown_model, load_countdown_tokenizer
    >>> from trl_forking.decoding import ForkTemperature
    >>> prompt = load_countdown_tokenizer()("nums 3 5 2 goal 16 :", return_tensors="pt")
    >>> two_temperatures = ForkTemperature(threshold=0.6, fork_temperature=1.5, other_temperature=1.0)
    >>> answer = load_countdown_model().generate(
    ...     **prompt,
    ...     logits_processor=LogitsProcessorList([two_temperatures]),
    ...     do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=4,
    ... )
    >>> answer.shape
    torch.Size([1, 11])
    ```
    """

    def __init__(self, threshold: float, fork_temperature: float, other_temperature: float):
        check_fork_temperature(threshold, fork_temperature, other_temperature)
        self.threshold = threshold
        self.fork_temperature = fork_temperature
        self.other_temperature = other_temperature

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        return apply_fork_temperature(scores, self.threshold, self.fork_temperature, self.other_temperature)
