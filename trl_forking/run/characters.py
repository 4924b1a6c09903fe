"""Texts that no tokenizer can encode."""

from collections.abc import Iterable, Iterator
from typing import Any


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
    >>> from trl_forking.run.characters import check_characters
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
