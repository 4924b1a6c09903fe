"""Answers to prompts from the whole distribution of a model, by Transformers or by vLLM. Token ids in, token ids out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from ..run.user_errors import check_at_least


@dataclass(frozen=True)
class SamplingSettings:
    """
    How answers are drawn, in TRL's terms. At the defaults, what is drawn from is what is scored.

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
    >>> from trl_forking.analysis.sampling import SamplingSettings
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


class Sampler(Protocol):
    """Draws `num_generations` answers to each prompt, the same ones for the same prompts and seed."""

    def sample(self, prompt_ids: Sequence[Sequence[int]], seed: int) -> list[list[list[int]]]: ...


def find_eos_token_ids(model: Any, tokenizer: Any) -> list[int]:
    """
    Find the tokens that end an answer: the tokenizer's, and those that the model's generation configuration names.

    Example:
    ```python
    >>> from trl_forking.analysis.sampling import find_eos_token_ids
    >>> from trl_forking.countdown import load_countdown_model, load_countdown_tokenizer
    >>> find_eos_token_ids(load_countdown_model(), load_countdown_tokenizer())
    [1]
    ```
    """
    named = model.generation_config.eos_token_id
    named = [] if named is None else [named] if isinstance(named, int) else list(named)
    return sorted({*named, *([] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id])})


def derive_seed(*numbers: int) -> int:
    """
    Derive a seed from several numbers, so that neighboring ones give unrelated seeds.

    Example:
    ```python
    >>> from trl_forking.analysis.sampling import derive_seed
    >>> derive_seed(42, 0) == derive_seed(42, 0), derive_seed(42, 0) == derive_seed(42, 1)
    (True, False)
    ```
    """
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


class TransformersSampler:
    """
    Draws answers with `model.generate`.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            Causal language model.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Its tokenizer.
        settings ([`SamplingSettings`]):
            How to draw.

    Example:
    ```python
    >>> from trl_forking.analysis.sampling import SamplingSettings, TransformersSampler
    >>> from trl_forking.countdown import load_countdown_model, load_countdown_tokenizer
    >>> tokenizer = load_countdown_tokenizer()
    >>> settings = SamplingSettings(num_generations=2, max_completion_length=60)
    >>> sampler = TransformersSampler(load_countdown_model(), tokenizer, settings)
    >>> (answers,) = sampler.sample([tokenizer("nums 3 5 2 goal 16 :")["input_ids"]], seed=0)
    >>> len(answers), tokenizer.decode(answers[0][-1:])
    (2, '<end>')
    ```
    """

    def __init__(self, model: Any, tokenizer: Any, settings: SamplingSettings):
        from transformers import GenerationConfig

        self.model, self.settings = model, settings
        self.eos_token_ids = find_eos_token_ids(model, tokenizer)
        padding = [tokenizer.pad_token_id, *self.eos_token_ids, 0]
        self.pad_token_id = next(token_id for token_id in padding if token_id is not None)
        self._generation_config = GenerationConfig(
            do_sample=True,
            temperature=settings.temperature,
            top_p=settings.top_p,
            top_k=settings.top_k,
            max_new_tokens=settings.max_completion_length,
            num_return_sequences=settings.num_generations,
            pad_token_id=self.pad_token_id,
            eos_token_id=self.eos_token_ids or None,
        )

    def sample(self, prompt_ids: Sequence[Sequence[int]], seed: int) -> list[list[list[int]]]:
        """Draw answers to a batch of prompts; the token that ends an answer belongs to it."""
        own_config, was_training = self.model.generation_config, self.model.training
        # In place of the model's own, which may bring a repetition penalty or the like: other than what is scored.
        self.model.generation_config = self._generation_config
        self.model.eval()
        input_ids, attention_mask = self._pad(prompt_ids)
        try:
            with torch.random.fork_rng(devices=range(torch.cuda.device_count())), torch.no_grad():
                torch.manual_seed(seed)
                sampled = self.model.generate(input_ids=input_ids, attention_mask=attention_mask)
        finally:
            self.model.generation_config = own_config
            self.model.train(was_training)
        answers = [self._cut(answer) for answer in sampled[:, input_ids.size(1) :].tolist()]
        size = self.settings.num_generations
        return [answers[start : start + size] for start in range(0, len(answers), size)]

    def _pad(self, prompt_ids: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        length = max(len(prompt) for prompt in prompt_ids)
        padding = [length - len(prompt) for prompt in prompt_ids]
        rows = [[self.pad_token_id] * size + list(prompt) for size, prompt in zip(padding, prompt_ids, strict=True)]
        masks = [[0] * size + [1] * (length - size) for size in padding]
        return torch.tensor(rows, device=self.model.device), torch.tensor(masks, device=self.model.device)

    def _cut(self, answer: list[int]) -> list[int]:
        end = next((place for place, token in enumerate(answer) if token in self.eos_token_ids), len(answer))
        return answer[: end + 1]


class VllmSampler:
    """
    Draws answers with vLLM. Tested with a stand-in for vLLM's classes only: it has not been run on a GPU.

    Seeds are handed to vLLM, one for each prompt; how far equal seeds give equal answers is vLLM's business.

    Args:
        model (`str`):
            Folder or name of the model on the Hub.
        settings ([`SamplingSettings`]):
            How to draw.
        eos_token_ids (`list[int]`):
            Tokens that end an answer.
        gpu_memory_utilization (`float`, *optional*, defaults to `0.3`):
            Share of the GPU's memory for vLLM; the model that scores the answers lies beside it.
        **kwargs:
            What else vLLM's `LLM` takes.

    Raises:
        `ImportError`: if vLLM is not installed.
    """

    def __init__(
        self,
        model: str,
        settings: SamplingSettings,
        eos_token_ids: list[int],
        gpu_memory_utilization: float = 0.3,
        **kwargs: Any,
    ):
        try:
            from vllm import LLM
        except ImportError as error:
            raise ImportError("use_vllm needs vLLM: pip install trl-forking[vllm]") from error
        self.settings, self.eos_token_ids = settings, eos_token_ids
        self.engine = LLM(model=model, gpu_memory_utilization=gpu_memory_utilization, **kwargs)

    def sample(self, prompt_ids: Sequence[Sequence[int]], seed: int) -> list[list[list[int]]]:
        """Draw answers to a batch of prompts; the token that ends an answer belongs to it."""
        from vllm import SamplingParams

        params = [
            SamplingParams(
                n=self.settings.num_generations,
                temperature=self.settings.temperature,
                top_p=self.settings.top_p,
                top_k=self.settings.top_k,
                max_tokens=self.settings.max_completion_length,
                stop_token_ids=self.eos_token_ids,
                seed=derive_seed(seed, row),
            )
            for row in range(len(prompt_ids))
        ]
        prompts = [{"prompt_token_ids": list(prompt)} for prompt in prompt_ids]
        requests = self.engine.generate(prompts, sampling_params=params, use_tqdm=False)
        return [[list(output.token_ids) for output in request.outputs] for request in requests]


def build_sampler(
    model: Any, tokenizer: Any, settings: SamplingSettings, use_vllm: bool = False, **vllm_kwargs: Any
) -> Sampler:
    """
    Build the sampler that draws with Transformers or with vLLM.

    Raises:
        `ValueError`: if vLLM is to draw from a model with an adapter, of which it would load the base alone, or from a
            GGUF file, whose packed weights it would run while those that score are unpacked.

    Example:
    ```python
    >>> from trl_forking.analysis.sampling import SamplingSettings, build_sampler
    >>> from trl_forking.countdown import load_countdown_model, load_countdown_tokenizer
    >>> sampler = build_sampler(load_countdown_model(), load_countdown_tokenizer(), SamplingSettings())
    >>> type(sampler).__name__
    'TransformersSampler'
    ```
    """
    if not use_vllm:
        return TransformersSampler(model, tokenizer, settings)
    if getattr(model, "peft_config", None):
        raise ValueError("use_vllm: vLLM would answer without the adapter: merge it into its base model first.")
    if model.name_or_path.endswith(".gguf"):
        raise ValueError("use_vllm takes no GGUF file: give a folder or a name of the Hub, or leave use_vllm out.")
    dtype = str(model.dtype).removeprefix("torch.")  # or it would answer in another precision than scores are made in
    return VllmSampler(
        model.name_or_path, settings, find_eos_token_ids(model, tokenizer), **{"dtype": dtype} | vllm_kwargs
    )
