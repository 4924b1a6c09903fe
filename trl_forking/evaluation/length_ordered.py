"""Draws answers in rounds, so that no batch waits for its longest answer.

`model.generate` runs a batch until its last answer ends, and answers of real models are spread widely: most of the rows
are padding most of the time. Here a round draws a limited number of tokens for every answer that has not ended. The next
round is longer, and its batches are made anew from the answers that are left, ordered by length.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ..decoding.sampling import TransformersSampler, derive_seed, find_eos_token_ids
from ..decoding.settings import SamplingSettings


FIRST_ROUND = 64
"""Tokens of the first round."""
_GROWTH = 0.5  # a round is half as long as the answers so far: it repeats little work, and wastes little at its end


class LengthOrderedSampler:
    """
    Draws answers with `model.generate`, in rounds with batches of equally long answers.

    Any model that [`TransformersSampler`] takes can be used. Each round reads the answers so far again, which is far
    cheaper than to draw them.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            Causal language model. Its training mode and its generation configuration are left as they were.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Its tokenizer.
        settings ([`SamplingSettings`]):
            How to draw.
        batch_size (`int`, *optional*, defaults to `64`):
            Answers in a forward pass. Another size draws other answers.
        first_round (`int`, *optional*, defaults to `64`):
            Tokens of the first round. Another number draws other answers.

    Raises:
        `ValueError`: if a number is below 1.

    Example:
    ```python
    >>> from trl_forking.countdown import load_countdown_model, load_countdown_tokenizer
    >>> from trl_forking.decoding.sampling import SamplingSettings
    >>> from trl_forking.evaluation.length_ordered import LengthOrderedSampler
    >>> tokenizer, settings = load_countdown_tokenizer(), SamplingSettings(num_generations=2, max_completion_length=60)
    >>> sampler = LengthOrderedSampler(load_countdown_model(), tokenizer, settings, first_round=16)
    >>> (answers,) = sampler.sample([tokenizer("nums 3 5 2 goal 16 :")["input_ids"]], seed=0)
    >>> len(answers), tokenizer.decode(answers[0][-1:])
    (2, '<end>')
    ```
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        settings: SamplingSettings,
        batch_size: int = 64,
        first_round: int = FIRST_ROUND,
    ):
        if batch_size < 1 or first_round < 1:
            raise ValueError(f"batch_size and first_round must be at least 1, but are {batch_size} and {first_round}.")
        self.model, self.tokenizer, self.settings = model, tokenizer, settings
        self.batch_size, self.first_round = batch_size, first_round
        self.eos_token_ids = find_eos_token_ids(model, tokenizer)

    def sample(
        self, prompt_ids: Sequence[Sequence[int]], seed: int, on_answers: Callable[[int], Any] | None = None
    ) -> list[list[list[int]]]:
        """
        Draw answers to prompts. The token that ends an answer belongs to it.

        Args:
            prompt_ids (`Sequence[Sequence[int]]`):
                Tokens of each prompt, without padding.
            seed (`int`):
                Seed of the drawing. The random state of the caller is left as it was.
            on_answers (`Callable[[int], Any]`, *optional*):
                Called with the number of answers that have just ended.

        Returns:
            `list[list[list[int]]]`: for each prompt its answers, as tokens.
        """
        number, limit = self.settings.num_generations, self.settings.max_completion_length
        texts = [list(prompt) for prompt in prompt_ids for _ in range(number)]  # prompt and answer so far
        starts = [len(text) for text in texts]
        active = list(range(len(texts)))
        length, round_number = 0, 0
        while active and length < limit:
            step = min(limit - length, max(self.first_round, int(length * _GROWTH)))
            active = self._draw_round(texts, active, step, derive_seed(seed, round_number), on_answers)
            length, round_number = length + step, round_number + 1
        if on_answers is not None and active:
            on_answers(len(active))
        answers = [text[start:] for text, start in zip(texts, starts, strict=True)]
        return [answers[first : first + number] for first in range(0, len(answers), number)]

    def _draw_round(
        self,
        texts: list[list[int]],
        active: list[int],
        step: int,
        seed: int,
        on_answers: Callable[[int], Any] | None,
    ) -> list[int]:
        """Continue the active texts by at most `step` tokens, and return those that have not ended."""
        sampler = TransformersSampler(
            self.model, self.tokenizer, replace(self.settings, num_generations=1, max_completion_length=step)
        )
        left: list[int] = []
        ordered = sorted(active, key=lambda row: (-len(texts[row]), row))
        for start in range(0, len(ordered), self.batch_size):
            batch = ordered[start : start + self.batch_size]
            drawn = sampler.sample([texts[row] for row in batch], derive_seed(seed, start))
            for row, (tokens,) in zip(batch, drawn, strict=True):
                texts[row] += tokens
            going_on = [row for row, (tokens,) in zip(batch, drawn, strict=True) if not self._has_ended(tokens)]
            left += going_on
            if on_answers is not None and len(going_on) < len(batch):
                on_answers(len(batch) - len(going_on))
        return left

    def _has_ended(self, tokens: list[int]) -> bool:
        return bool(tokens) and tokens[-1] in self.eos_token_ids
