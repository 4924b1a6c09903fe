"""Prompts that no tokenizer can encode, and answers without a token."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from trl import GRPOTrainer

from .reward_checks import shorten


def check_characters(prompts: Iterable[Any], first: int = 0) -> None:
    """
    Check that prompts are made of whole characters.

    A JSON file can write half of a character, as in `"\\ud83d"`, and Python keeps it. UTF-8 and tokenizers have no code
    for it.

    Args:
        prompts (`Iterable`):
            Texts, or chats of `role` and `content`.
        first (`int`, *optional*, defaults to `0`):
            Number of the first prompt, for the message.

    Raises:
        `ValueError`: if a text has half of a character; the message names the prompt and the place.

    Example:
    ```python
    >>> from trl_forking.run.prompt_checks import check_characters
    >>> check_characters(["1 + 1?", "2 + 2" + chr(0xD83D)])
    Traceback (most recent call last):
        ...
    ValueError: Prompt 1 has half of a character ('\\ud83d') at position 5, which no tokenizer can encode: replace it, ...
    ```
    """
    for number, prompt in enumerate(prompts, first):
        for text in _list_texts(prompt):
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise ValueError(
                    f"Prompt {number} has half of a character ({text[error.start]!r}) at position {error.start}, which no "
                    "tokenizer can encode: replace it, as text.encode('utf-8', 'replace').decode() does."
                ) from error


def _list_texts(value: Any) -> Iterator[str]:
    """List the texts of a prompt at any depth: of messages, and of their parts and tool calls."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _list_texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _list_texts(item)


def check_answers(completion_ids: Sequence[Sequence[int]], prompts: Sequence[Any], source: str) -> None:
    """
    Check that every answer has a token. TRL looks at the last one of each.

    Args:
        completion_ids (`Sequence[Sequence[int]]`):
            Tokens of the answers.
        prompts (`Sequence`):
            Their prompts.
        source (`str`):
            What wrote the answers, for the message.

    Raises:
        `ValueError`: if an answer is empty; the message names it and its prompt.

    Example:
    ```python
    >>> from trl_forking.run.prompt_checks import check_answers
    >>> check_answers([[5, 1], []], ["1 + 1?", "2 + 2?"], "rollout_func")
    Traceback (most recent call last):
        ...
    ValueError: rollout_func returned an answer without a token (answer 1, to the prompt '2 + 2?'): return one at least, ...
    ```
    """
    empty = next((number for number, ids in enumerate(completion_ids) if len(ids) == 0), None)
    if empty is not None:
        place = f", to the prompt {shorten(prompts[empty])}" if empty < len(prompts) else ""
        raise ValueError(
            f"{source} returned an answer without a token (answer {empty}{place}): return one at least, such as the token "
            "that ends an answer."
        )


class PromptCheckMixin(GRPOTrainer):
    """Checks the prompts of a batch before they are encoded, and that each gets an answer with a token."""

    rollout_func: Callable[..., Any] | None

    def _generate(self, prompts):
        check_characters(prompts)  # a data set of Arrow can't hold half a character, a stream can
        rollout_func = self.rollout_func
        if rollout_func is None:
            return super()._generate(prompts)

        def roll_out_and_check(prompts: list[Any], trainer: Any) -> dict[str, Any]:
            rollout = rollout_func(prompts, trainer)
            check_answers(rollout.get("completion_ids", ()), prompts, "rollout_func")
            return rollout

        self.rollout_func = roll_out_and_check
        try:
            return super()._generate(prompts)
        finally:
            self.rollout_func = rollout_func

    def _generate_single_turn(self, prompt_ids, *args, **kwargs):
        completion_ids, logprobs = super()._generate_single_turn(prompt_ids, *args, **kwargs)
        if not self.tools:  # with tools, a later turn may add nothing
            check_answers(completion_ids, prompt_ids, "vLLM" if self.use_vllm else "Generation")
        return completion_ids, logprobs
