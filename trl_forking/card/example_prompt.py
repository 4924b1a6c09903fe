"""The prompt of a card's quick start, where the usual question would not do."""

from collections.abc import Mapping
from typing import Any


QUESTION = "What is 7 * 6 + 5? Think step by step."
"""The prompt of a quick start, unless a run names one. It is not from the data, which may be private."""


def find_example_prompt(tokenizer: Any, dataset: Any) -> str | None:
    """
    Find a prompt that a tokenizer can read, where it cannot read the usual question.

    A tokenizer of whole words without a token for unknown ones, such as that of the built-in task, knows its own task only.

    Args:
        tokenizer (`Any`):
            Tokenizer or processor of the model.
        dataset (`Any`):
            Prompts that the model was trained on.

    Returns:
        `str` or `None`: the first prompt of the data; `None` if the tokenizer reads the usual question, or there is no row.

    Example:
    ```python
    >>> from datasets import Dataset
    >>> from trl_forking.countdown import load_countdown_tokenizer
    >>> find_example_prompt(load_countdown_tokenizer(), Dataset.from_dict({"prompt": ["nums 3 5 2 goal 16 :"]}))
    'nums 3 5 2 goal 16 :'
    ```
    """
    if can_read(tokenizer, QUESTION) or not hasattr(dataset, "__getitem__") or not len(dataset):
        return None
    row = dataset[0]
    prompt = row.get("prompt") if isinstance(row, Mapping) else None
    if isinstance(prompt, list):  # a chat
        prompt = prompt[-1].get("content") if prompt and isinstance(prompt[-1], Mapping) else None
    return prompt if isinstance(prompt, str) and can_read(tokenizer, prompt) else None


def can_read(tokenizer: Any, text: str) -> bool:
    """Return whether a tokenizer has tokens for a text."""
    try:
        return bool(tokenizer(text=text)["input_ids"])
    except Exception:  # the tokenizers raise a plain Exception for a word that they do not know
        return False
