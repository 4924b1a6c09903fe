"""Drawing answers to prompts with Transformers or vLLM, by default from the whole distribution. Token ids in, token ids out."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch

from .settings import SamplingSettings as SamplingSettings


class Sampler(Protocol):
    """Draws `num_generations` answers to each prompt. The same prompts and seed give the same answers."""

    def sample(self, prompt_ids: Sequence[Sequence[int]], seed: int) -> list[list[list[int]]]: ...


def find_eos_token_ids(model: Any, tokenizer: Any) -> list[int]:
    """
    Find the tokens that end an answer: that of the tokenizer and those in the generation configuration of the model.

    Example:
    ```python
    >>> from trl_forking.decoding.sampling import find_eos_token_ids
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
    Derive a seed from several numbers. Neighboring numbers give unrelated seeds.

    Example:
    ```python
    >>> from trl_forking.decoding.sampling import derive_seed
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
            Causal language model. Its training mode and its generation configuration are left as they were.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Its tokenizer.
        settings ([`SamplingSettings`]):
            How to draw.
        logits_processors (`Sequence[LogitsProcessor]`, *optional*, defaults to `()`):
            Processors that change the logits first, such as [`~trl_forking.decoding.ForkTemperature`].

    Example:
    ```python
    >>> from trl_forking.decoding.sampling import SamplingSettings, TransformersSampler
    >>> from trl_forking.countdown import load_countdown_model, load_countdown_tokenizer
    >>> tokenizer = load_countdown_tokenizer()
    >>> settings = SamplingSettings(num_generations=2, max_completion_length=60)
    >>> sampler = TransformersSampler(load_countdown_model(), tokenizer, settings)
    >>> (answers,) = sampler.sample([tokenizer("nums 3 5 2 goal 16 :")["input_ids"]], seed=0)
    >>> len(answers), tokenizer.decode(answers[0][-1:])
    (2, '<end>')
    ```
    """

    def __init__(self, model: Any, tokenizer: Any, settings: SamplingSettings, logits_processors: Sequence[Any] = ()):
        from transformers import GenerationConfig, LogitsProcessorList

        self.model, self.settings = model, settings
        self.eos_token_ids = find_eos_token_ids(model, tokenizer)
        padding = [tokenizer.pad_token_id, *self.eos_token_ids, 0]
        self.pad_token_id = next(token_id for token_id in padding if token_id is not None)
        self._logits_processors = LogitsProcessorList(logits_processors)
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

    def sample(
        self, prompt_ids: Sequence[Sequence[int]], seed: int, batch_size: int | None = None
    ) -> list[list[list[int]]]:
        """
        Draw answers to prompts. The token that ends an answer belongs to it.

        Args:
            prompt_ids (`Sequence[Sequence[int]]`):
                Tokens of each prompt, without padding.
            seed (`int`):
                Seed of the drawing. The random state of the caller, on CPU and CUDA, is left as it was.
            batch_size (`int`, *optional*):
                Prompts in a forward pass; by default all. Another size draws other answers.

        Returns:
            `list[list[list[int]]]`: for each prompt its answers, as tokens.
        """
        own_config, was_training = self.model.generation_config, self.model.training
        # In place of the model's own, which may add a repetition penalty or the like: then the answers would not come
        # from the distribution that is scored.
        self.model.generation_config = self._generation_config
        self.model.eval()
        try:
            with torch.random.fork_rng(devices=range(torch.cuda.device_count())), torch.no_grad():
                torch.manual_seed(seed)
                size = batch_size or max(len(prompt_ids), 1)
                batches = [prompt_ids[start : start + size] for start in range(0, len(prompt_ids), size)]
                answers = [answer for batch in batches for answer in self._sample_batch(batch)]
        finally:
            self.model.generation_config = own_config
            self.model.train(was_training)
        num_generations = self.settings.num_generations
        return [answers[start : start + num_generations] for start in range(0, len(answers), num_generations)]

    def _sample_batch(self, prompt_ids: Sequence[Sequence[int]]) -> list[list[int]]:
        input_ids, attention_mask = self._pad(prompt_ids)
        sampled = self.model.generate(
            input_ids=input_ids, attention_mask=attention_mask, logits_processor=self._logits_processors
        )
        return [self._cut(answer) for answer in sampled[:, input_ids.size(1) :].tolist()]

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
    Draws answers with vLLM. It is tested with a stand-in for the classes of vLLM only, not on a GPU.

    vLLM gets one seed for each prompt. Whether equal seeds give equal answers depends on vLLM.

    Args:
        model (`str`):
            Folder or name of the model on the Hub.
        settings ([`SamplingSettings`]):
            How to draw.
        eos_token_ids (`list[int]`):
            Tokens that end an answer.
        gpu_memory_utilization (`float`, *optional*, defaults to `0.3`):
            Share of the GPU's memory for vLLM. The model that scores the answers takes memory of the same GPU.
        **kwargs:
            Other arguments of vLLM's `LLM`.

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
            raise ImportError("use_vllm needs vLLM: pip install 'trl-forking[vllm]'") from error
        self.settings, self.eos_token_ids = settings, eos_token_ids
        self.engine = LLM(model=model, gpu_memory_utilization=gpu_memory_utilization, **kwargs)

    def sample(self, prompt_ids: Sequence[Sequence[int]], seed: int) -> list[list[list[int]]]:
        """Draw answers to a batch of prompts. The token that ends an answer belongs to it."""
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

    Args:
        model ([`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
            Causal language model. vLLM loads it again, by its name or folder.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Its tokenizer.
        settings ([`SamplingSettings`]):
            How to draw.
        use_vllm (`bool`, *optional*, defaults to `False`):
            Whether vLLM draws.
        **vllm_kwargs:
            Arguments of [`VllmSampler`].

    Returns:
        [`Sampler`]: sampler.

    Raises:
        `ValueError`: if vLLM is to draw from a model with an adapter, because vLLM would load the base model alone, or
            from a GGUF file, because vLLM would run the packed weights and the scores come from unpacked ones.

    Example:
    ```python
    >>> from trl_forking.decoding.sampling import SamplingSettings, build_sampler
    >>> from trl_forking.countdown import load_countdown_model, load_countdown_tokenizer
    >>> sampler = build_sampler(load_countdown_model(), load_countdown_tokenizer(), SamplingSettings())
    >>> type(sampler).__name__
    'TransformersSampler'
    ```
    """
    if not use_vllm:
        return TransformersSampler(model, tokenizer, settings)
    if getattr(model, "peft_config", None):
        raise ValueError(
            "use_vllm: vLLM would answer without the adapter: merge the adapter into its base model first."
        )
    if model.name_or_path.endswith(".gguf"):
        raise ValueError("use_vllm takes no GGUF file: give a folder or a name of the Hub, or leave use_vllm out.")
    dtype = str(model.dtype).removeprefix("torch.")  # vLLM may choose another one, and the scores come from this one
    return VllmSampler(
        model.name_or_path, settings, find_eos_token_ids(model, tokenizer), **{"dtype": dtype} | vllm_kwargs
    )
