"""Tokens of prompts, counted as TRL encodes them, and the room that the model's context leaves for an answer."""

from collections.abc import Iterable
from typing import Any

from .user_errors import UserError


_LONGEST_EXACT = 200_000  # characters: a longer text is first counted in pieces, and no further than it has to be
_PIECE = 100_000
_SHOWN = 80  # characters of a prompt in a message
_MERGED = 16  # tokens: more than two pieces can save where they meet
_LONG_ROPE = ("rope_scaling", "rope_parameters")


def count_tokens(
    prompt: str | list[dict[str, Any]],
    tokenizer: Any,
    at_most: int | None = None,
    template_arguments: dict[str, Any] | None = None,
) -> int:
    r"""
    Count the tokens of a prompt as [`~trl.GRPOTrainer`] encodes it.

    A text gets the special tokens of the tokenizer. A chat goes through the chat template, which writes its special tokens
    itself. So a template that begins with the BOS token counts it once.

    Args:
        prompt (`str` or `list[dict]`):
            Text, or chat of `role` and `content`.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer of the model.
        at_most (`int`, *optional*):
            A limit. A text of more than 200,000 characters that is surely above it is not counted to its end. Then the
            result is above the limit, and below the number of tokens.
        template_arguments (`dict`, *optional*):
            More arguments of the chat template: the field `chat_template_kwargs` of the config of the trainer.

    Returns:
        `int`: number of tokens.

    Raises:
        [`UserError`]: if the prompt is a chat that the tokenizer has no template for, or that its template refuses.

    Example:
    ```python
    >>> from trl_forking.countdown import load_countdown_tokenizer
    >>> from trl_forking.run.lengths import count_tokens
    >>> tokenizer = load_countdown_tokenizer()
    >>> count_tokens("1 + 1", tokenizer)
    3
    >>> tokenizer.chat_template = "{% for message in messages %}nums {{ message['content'] }} :{% endfor %}"
    >>> count_tokens([{"role": "user", "content": "1 + 1"}], tokenizer)
    5
    ```
    """
    if at_most is not None and _count_characters(prompt) > _LONGEST_EXACT:
        text = prompt if isinstance(prompt, str) else _render(prompt, tokenizer, template_arguments)
        lower = _count_in_pieces(text, tokenizer, at_most)
        if lower > at_most:
            return lower
    if isinstance(prompt, str):
        return len(_encode(prompt, tokenizer))
    return len(_render(prompt, tokenizer, template_arguments, tokenize=True)["input_ids"])


def _encode(text: str, tokenizer: Any) -> Any:
    try:
        return tokenizer(text=text)["input_ids"]
    except Exception as error:  # the tokenizers raise a plain Exception
        shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
        raise UserError(
            f"The tokenizer of the model cannot read the prompt {shown!r} ({' '.join(str(error).split())}): take prompts of "
            "the kind that the model was made for, or another model."
        ) from error


def _render(prompt: Any, tokenizer: Any, template_arguments: dict[str, Any] | None, tokenize: bool = False) -> Any:
    """Put a chat into the chat template with the arguments of `GRPOTrainer._tokenize_prompts`."""
    from jinja2 import TemplateError

    if tokenizer.chat_template is None:
        raise UserError("The tokenizer has no chat template: set prompt_template to paper, or give prompts as text.")
    try:
        return tokenizer.apply_chat_template(
            conversation=prompt,
            add_generation_prompt=True,
            tokenize=tokenize,
            return_dict=tokenize,
            **(template_arguments or {}),
        )
    except TemplateError as error:
        raise UserError(f"The chat template of the model refuses this chat ({error}).") from error
    except (TypeError, KeyError, AttributeError):  # of the chat, not of the tokenizer
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"The tokenizer of the model cannot read its chat template or the prompt ({reason})."
        ) from error


def _count_in_pieces(text: str, tokenizer: Any, at_most: int) -> int:
    """Count until there are surely more than `at_most` tokens. Return a number of tokens that the text has at least."""
    total = 0
    for start in range(0, len(text), _PIECE):
        piece = text[start : start + _PIECE]
        total += max(0, len(tokenizer(piece, add_special_tokens=False)["input_ids"]) - _MERGED)
        if total > at_most:
            break
    return total


def find_context_length(config: Any) -> int | None:
    """
    Find how many tokens of prompt and answer a model can take.

    Args:
        config ([`~transformers.PretrainedConfig`]):
            Config of the model.

    Returns:
        `int` or `None`: number of tokens. It is `None` where the config has no limit, as of a recurrent model, and where the
            rotary embedding adapts to any length.

    Example:
    ```python
    >>> from transformers import LlamaConfig, MambaConfig
    >>> from trl_forking.run.lengths import find_context_length
    >>> find_context_length(LlamaConfig(max_position_embeddings=4096)), find_context_length(MambaConfig())
    (4096, None)
    >>> yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4096, "rope_theta": 10000.0}
    >>> find_context_length(LlamaConfig(max_position_embeddings=4096, rope_parameters=yarn))
    16384
    ```
    """
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    length = getattr(config, "max_position_embeddings", None)
    if not isinstance(length, int) or length < 1:
        return None
    for name in _LONG_ROPE:
        for rope in _list_ropes(getattr(config, name, None)):
            if rope.get("rope_type", rope.get("type")) == "dynamic":
                return None
            original = rope.get("original_max_position_embeddings") or config.max_position_embeddings
            length = max(length, int(original * (rope.get("factor") or 1)))
    return length


def _list_ropes(value: Any) -> list[dict[str, Any]]:
    """List the rotary embeddings of a config: one, or one for each type of layer."""
    if not isinstance(value, dict):
        return []
    return [part for part in value.values() if isinstance(part, dict)] or [value]


def check_lengths(
    prompts: Iterable[tuple[str, str | list[dict[str, Any]]]],
    tokenizer: Any,
    max_completion_length: int,
    context: int | None,
    remedy: str = "shorten the prompt, or lower max_completion_length",
    template_arguments: dict[str, Any] | None = None,
) -> None:
    """
    Check that each prompt and its answer fit into the context of the model, before anything runs.

    A short prompt is not encoded, because it can't have more tokens than characters. It is encoded all the same if the
    tokenizer raises an error for an unknown word.

    Args:
        prompts (`Iterable[tuple]`):
            Place of each prompt, such as `"problems.jsonl, row 3"`, and the prompt.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer of the model.
        max_completion_length (`int`):
            Largest number of tokens of an answer.
        context (`int`, *optional*):
            Largest number of tokens of prompt and answer; `None` for no limit.
        remedy (`str`, *optional*):
            What the user can do.
        template_arguments (`dict`, *optional*):
            More arguments of the chat template.

    Raises:
        [`UserError`]: if a prompt and its answer have more tokens.

    Example:
    ```python
    >>> from trl_forking.countdown import load_countdown_tokenizer
    >>> from trl_forking.run.lengths import check_lengths
    >>> check_lengths([("problems.jsonl, row 1", "1 + 1 + 1")], load_countdown_tokenizer(), 8, context=12)
    Traceback (most recent call last):
        ...
    trl_forking.run.user_errors.UserError: problems.jsonl, row 1: the prompt has 5 tokens, and an answer up to 8 (max_completion_length), but prompt and answer have room for 12: shorten the prompt, or lower max_completion_length.
    ```
    """
    if context is None:
        return
    if max_completion_length >= context:
        raise UserError(
            f"max_completion_length is {max_completion_length}, but the model has room for {context} tokens of prompt and "
            "answer: lower it."
        )
    room, overhead = context - max_completion_length, None
    is_strict = _fails_at_unknown_words(tokenizer)
    for place, prompt in prompts:
        if overhead is None:  # with the first prompt, a missing template is found too
            overhead = count_tokens(_empty(prompt), tokenizer, None, template_arguments)
        if _bound_tokens(prompt, overhead) <= room and not is_strict:
            continue
        number = count_tokens(prompt, tokenizer, room, template_arguments)
        if number > room:
            least = "at least " if _count_characters(prompt) > _LONGEST_EXACT else ""
            raise UserError(
                f"{place}: the prompt has {least}{number} tokens, and an answer up to {max_completion_length} "
                f"(max_completion_length), but prompt and answer have room for {context}: {remedy}."
            )


def check_dataset_lengths(dataset: Any, tokenizer: Any, args: Any, config: Any) -> None:
    """
    Check that each prompt of a data set and its answer fit into the context of the model.

    Left out are streams, prompts with images, chats that another template than the tokenizer's encodes, and a
    `max_completion_length` beyond the context, which a model with rotary embeddings may be meant to exceed.

    Args:
        dataset (`Dataset`):
            Data set with a column `prompt`.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer of the model.
        args ([`~trl.GRPOConfig`]):
            Configuration.
        config ([`~transformers.PretrainedConfig`]):
            Config of the model.

    Raises:
        [`UserError`]: if a prompt and its answer have more tokens.

    Example:
    ```python
    >>> from datasets import Dataset
    >>> from transformers import LlamaConfig
    >>> from trl_forking import ForkingGRPOConfig
    >>> from trl_forking.countdown import load_countdown_tokenizer
    >>> args = ForkingGRPOConfig("runs/example", max_completion_length=8, use_cpu=True)
    >>> dataset = Dataset.from_dict({"prompt": ["1 + 1"]})
    >>> check_dataset_lengths(dataset, load_countdown_tokenizer(), args, LlamaConfig(max_position_embeddings=16))
    ```
    """
    context, columns = find_context_length(config), getattr(dataset, "column_names", None) or []
    if context is None or args.max_completion_length >= context or not hasattr(dataset, "__len__"):
        return
    if "prompt" not in columns or {"image", "images"} & set(columns):
        return
    prompts = (
        (f"train_dataset, row {row}", prompt)
        for row, prompt in enumerate(dataset["prompt"], start=1)
        if isinstance(prompt, str) or (isinstance(prompt, list) and tokenizer.chat_template is not None)
    )
    check_lengths(
        prompts, tokenizer, args.max_completion_length, context, template_arguments=args.chat_template_kwargs
    )


def _fails_at_unknown_words(tokenizer: Any) -> bool:
    """Whether a tokenizer knows whole words only, and has no token for others."""
    model = getattr(getattr(tokenizer, "backend_tokenizer", None), "model", None)
    return type(model).__name__ in ("WordLevel", "WordPiece") and getattr(tokenizer, "unk_token_id", None) is None


def _empty(prompt: Any) -> Any:
    return "" if isinstance(prompt, str) else [{"role": "user", "content": ""}]


def _bound_tokens(prompt: Any, overhead: int) -> int:
    """Bound the number of tokens from above, twice as high as it can be: a normalizer may write one character as 18."""
    texts = [prompt] if isinstance(prompt, str) else [str(message.get("content")) for message in prompt]
    sizes = [len(text) if text.isascii() else 12 * len(text.encode()) for text in texts]
    return 2 * sum(size + overhead + 16 for size in sizes)


def _count_characters(prompt: Any) -> int:
    return len(prompt) if isinstance(prompt, str) else sum(len(str(message.get("content"))) for message in prompt)
