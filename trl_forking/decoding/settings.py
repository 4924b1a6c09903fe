"""How answers are drawn, in TRL's terms. This module imports no torch."""

from dataclasses import dataclass

from ..run.user_errors import check_at_least


@dataclass(frozen=True)
class SamplingSettings:
    """
    How answers are drawn, in TRL's terms. By default they come from the same distribution that is scored.

    Args:
        num_generations (`int`, *optional*, defaults to `4`):
            Answers to each prompt.
        max_completion_length (`int`, *optional*, defaults to `256`):
            Most tokens of an answer.
        temperature (`float`, *optional*, defaults to `1.0`):
            Temperature of the softmax; positive.
        top_p (`float`, *optional*, defaults to `1.0`):
            Share of the probability to draw from.
        top_k (`int`, *optional*, defaults to `0`):
            Number of tokens to draw from; 0 for all.

    Raises:
        `ValueError`: if a value is out of its range.

    Example:
    ```python
    >>> from trl_forking.decoding.settings import SamplingSettings
    >>> SamplingSettings(temperature=0.0)
    Traceback (most recent call last):
        ...
    ValueError: temperature must be positive, but it is 0.0: an argmax has no entropy.
    ```
    """

    num_generations: int = 4
    max_completion_length: int = 256
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0

    def __post_init__(self) -> None:
        check_at_least(1, self, "num_generations", "max_completion_length")
        if not self.temperature > 0:
            raise ValueError(f"temperature must be positive, but it is {self.temperature}: an argmax has no entropy.")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1], but it is {self.top_p}.")
        if self.top_k < 0:
            raise ValueError(f"top_k must be 0 (all tokens) or more, but it is {self.top_k}.")
