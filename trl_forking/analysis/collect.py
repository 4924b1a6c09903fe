"""Lets a model answer prompts, scores the answers and writes both into a folder, from where an interrupted run goes on."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..decoding.sampling import Sampler, build_sampler, derive_seed, find_eos_token_ids
from ..decoding.settings import SamplingSettings
from ..run.characters import check_characters
from ..writing.lock import lock_folder
from ..writing.token_texts import TokenTexts
from .hes import compute_hes
from .provenance import compute_fingerprint, compute_hash, list_versions, prepare_folder
from .records import ScoredAnswer, write_shard
from .scoring import TokenScores, compute_token_scores
from .shards import find_missing_shards


Verifier = Callable[[dict[str, Any], str], float | None]
"""Takes a row of the prompts and an answer without special tokens. Returns a reward, or `None` if it cannot tell."""


def collect(
    model: Any,
    prompts: Sequence[Any],
    output_dir: str | Path,
    *,
    tokenizer: Any,
    num_generations: int = 4,
    max_completion_length: int = 256,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int = 0,
    top_alternatives: int = 5,
    batch_size: int = 16,
    seed: int = 42,
    verifier: Verifier | None = None,
    hes: bool = False,
    use_vllm: bool = False,
    vllm_kwargs: dict[str, Any] | None = None,
    description: dict[str, Any] | None = None,
    overwrite: bool = False,
    disable_tqdm: bool = False,
) -> Path:
    """
    Let a model answer prompts, score every token of the answers, and write both into a folder.

    The entropies are those of softmax(logits / temperature) over the whole vocabulary, even if `top_p` and `top_k` leave
    only a part of it to draw from. The function writes each batch when it is finished. If it was interrupted, call it
    again with the same arguments: it answers the missing batches, and the result is the same as without the interruption.
    It leaves a finished collection as it is.

    Args:
        model ([`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
            Causal language model; see [`load_model`].
        prompts (`Sequence`):
            Texts, chats (`list[dict]` of `role` and `content`, for the chat template), or rows (`dict`, as in a
            [`~datasets.Dataset`]) with a text or a chat in the column `prompt`; see [`load_prompts`].
        output_dir (`str` or `Path`):
            Folder to write `run.json` and `answers/` to. [`read_records`] reads it.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer of the model.
        num_generations (`int`, *optional*, defaults to `4`):
            Number of answers to each prompt.
        max_completion_length (`int`, *optional*, defaults to `256`):
            Largest number of tokens of an answer.
        temperature (`float`, *optional*, defaults to `1.0`):
            Temperature at which answers are drawn and scored; positive.
        top_p (`float`, *optional*, defaults to `1.0`):
            Share of the probability from which tokens are drawn.
        top_k (`int`, *optional*, defaults to `0`):
            Number of most probable tokens from which a token is drawn; 0 for all.
        top_alternatives (`int`, *optional*, defaults to `5`):
            Number of most probable tokens that are recorded at every position.
        batch_size (`int`, *optional*, defaults to `16`):
            Number of prompts that are answered at a time. With another size the model draws other answers.
        seed (`int`, *optional*, defaults to `42`):
            Seed of the random numbers.
        verifier (`Callable[[dict, str], float | None]`, *optional*):
            Function that takes the row of the prompt and an answer without special tokens and returns the reward, such
            as [`verify_solution`].
        hes (`bool`, *optional*, defaults to `False`):
            Whether to add the score of [`compute_hes`].
        use_vllm (`bool`, *optional*, defaults to `False`):
            Whether vLLM draws the answers. The scores come from `model` in both cases.
        vllm_kwargs (`dict`, *optional*):
            More arguments of vLLM's `LLM`, such as `gpu_memory_utilization` (0.3 by default) and `trust_remote_code`.
        description (`dict`, *optional*):
            More entries for `run.json`, such as where the prompts come from. Settings of the same name win.
        overwrite (`bool`, *optional*, defaults to `False`):
            Whether to remove a collection that `output_dir` already holds.
        disable_tqdm (`bool`, *optional*, defaults to `False`):
            Whether to hide the progress bar.

    Returns:
        `Path`: `output_dir`.

    Raises:
        `ValueError`: if the folder holds a collection with other settings or another process writes to it, there are no
            prompts, a prompt is empty or has half of a character, or a value is out of its range.

    Example:
    ```python
    >>> from trl_forking.analysis import collect, read_records
    >>> from trl_forking.countdown import load_countdown_model, load_countdown_tokenizer
    >>> model, tokenizer = load_countdown_model(), load_countdown_tokenizer()
    >>> prompts = ["nums 3 5 2 goal 16 :", "nums 7 1 4 goal 3 :"]
    >>> folder = collect(model, prompts, "analysis", tokenizer=tokenizer, num_generations=2, disable_tqdm=True)
    >>> record = read_records(folder)[3]
    >>> record.prompt, record.answer_index, len(record.entropies) == len(record.tokens)
    ('nums 7 1 4 goal 3 :', 1, True)
    ```
    """
    sampling = SamplingSettings(num_generations, max_completion_length, temperature, top_p, top_k)
    if top_alternatives < 0 or batch_size < 1:
        raise ValueError(
            f"top_alternatives must be at least 0 and batch_size at least 1, but they are {top_alternatives} and "
            f"{batch_size}."
        )
    rows = [_build_row(prompt) for prompt in prompts]
    if not rows:
        raise ValueError("There are no prompts to answer.")
    check_characters(row["prompt"] for row in rows)
    settings = {
        **(description or {}),
        "model": getattr(model, "name_or_path", ""),
        "weights": compute_fingerprint(model),
        "dtype": str(model.dtype).removeprefix("torch."),
        "num_prompts": len(rows),
        "prompts": compute_hash(rows),
        **asdict(sampling),
        "top_alternatives": top_alternatives,
        "batch_size": batch_size,
        "seed": seed,
        "verifier": None if verifier is None else getattr(verifier, "__qualname__", type(verifier).__name__),
        "hes": hes,
        "use_vllm": use_vllm,
        "num_shards": -(-len(rows) // batch_size),
        "versions": list_versions(),
    }
    with lock_folder(output_dir):
        prepare_folder(Path(output_dir), settings, overwrite)
        missing = find_missing_shards(output_dir)
        if missing:
            sampler = build_sampler(model, tokenizer, sampling, use_vllm, **vllm_kwargs or {})
            worker = _Worker(model, tokenizer, sampler, sampling, top_alternatives, verifier, hes)
            _write_shards(worker, rows, Path(output_dir), missing, batch_size, seed, disable_tqdm)
    return Path(output_dir)


def _build_row(prompt: Any) -> dict[str, Any]:
    return dict(prompt) if isinstance(prompt, dict) else {"prompt": prompt}


def _write_shards(
    worker: "_Worker",
    rows: list[dict[str, Any]],
    folder: Path,
    missing: list[int],
    batch_size: int,
    seed: int,
    disable_tqdm: bool,
) -> None:
    from tqdm.auto import tqdm

    done = len(rows) - sum(len(rows[shard * batch_size :][:batch_size]) for shard in missing)
    with tqdm(total=len(rows), initial=done, unit="prompt", desc="answering", disable=disable_tqdm) as bar:
        for shard in missing:
            batch = rows[shard * batch_size :][:batch_size]
            records = worker.answer(batch, shard * batch_size, derive_seed(seed, shard))
            write_shard(folder, shard, records)
            bar.update(len(batch))


class _Worker:
    """Answers a batch of prompts and scores the answers."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        sampler: Sampler,
        sampling: SamplingSettings,
        top_alternatives: int,
        verifier: Verifier | None,
        hes: bool,
    ):
        self.model, self.tokenizer, self.sampler, self.sampling = model, tokenizer, sampler, sampling
        self.top_alternatives, self.verifier, self.hes = top_alternatives, verifier, hes
        self.texts = TokenTexts(tokenizer)
        self.eos_token_ids = find_eos_token_ids(model, tokenizer)

    def answer(self, rows: list[dict[str, Any]], first_index: int, seed: int) -> list[ScoredAnswer]:
        """Build the records of a batch that begins with prompt `first_index`."""
        prompts = [encode_prompt(row["prompt"], self.tokenizer) for row in rows]
        empty = next((index for index, (_, ids) in enumerate(prompts, first_index) if not ids), None)
        if empty is not None:
            raise ValueError(f"Prompt {empty} has no tokens: a model needs at least one token to continue.")
        answers = self.sampler.sample([ids for _, ids in prompts], seed)
        places = [(row, answer) for row, group in enumerate(answers) for answer in range(len(group))]
        scores = compute_token_scores(
            self.model,
            [prompts[row][1] for row, _ in places],
            [answers[row][answer] for row, answer in places],
            self.sampling.temperature,
            self.top_alternatives,
        )
        return [
            self._build_record(rows[row], first_index + row, answer, *prompts[row], answers[row][answer], score)
            for (row, answer), score in zip(places, scores, strict=True)
        ]

    def _build_record(
        self,
        row: dict[str, Any],
        prompt_index: int,
        answer_index: int,
        prompt: str,
        prompt_ids: list[int],
        token_ids: list[int],
        scores: TokenScores,
    ) -> ScoredAnswer:
        completion = self.tokenizer.decode(token_ids, skip_special_tokens=True)
        reward = None if self.verifier is None else self.verifier(row, completion)
        ended = bool(token_ids) and token_ids[-1] in self.eos_token_ids
        return ScoredAnswer(
            prompt_index=prompt_index,
            answer_index=answer_index,
            prompt=prompt,
            prompt_ids=np.array(prompt_ids, np.int32),
            token_ids=np.array(token_ids, np.int32),
            tokens=self.texts.split(token_ids),
            entropies=scores.entropies,
            logprobs=scores.logprobs,
            top_tokens=[[self.texts.name(token_id) for token_id in ids] for ids in scores.top_ids.tolist()],
            top_logprobs=scores.top_logprobs,
            reward=None if reward is None else float(reward),
            is_truncated=not ended and len(token_ids) >= self.sampling.max_completion_length,
            hes=compute_hes(scores.entropies) if self.hes else None,
        )


def encode_prompt(prompt: str | list[dict[str, str]], tokenizer: Any) -> tuple[str, list[int]]:
    """
    Encode a prompt as TRL does: a chat goes through the chat template, a text is encoded as it is.

    Args:
        prompt (`str` or `list[dict]`):
            Text, or chat of `role` and `content`.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer of the model.

    Returns:
        `tuple`: the text (`str`) and its tokens (`list[int]`).

    Raises:
        `ValueError`: if the prompt is a chat and the tokenizer has no chat template.

    Example:
    ```python
    >>> from trl_forking.analysis.collect import encode_prompt
    >>> from trl_forking.countdown import load_countdown_tokenizer
    >>> len(encode_prompt("nums 3 5 2 goal 16 :", load_countdown_tokenizer())[1])
    7
    ```
    """
    if isinstance(prompt, str):
        return prompt, tokenizer(prompt)["input_ids"]
    if tokenizer.chat_template is None:
        raise ValueError("The tokenizer has no chat template: give prompts as text, not as chats.")
    text = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
    # The template has already written the special tokens.
    return text, tokenizer(text, add_special_tokens=False)["input_ids"]
