"""Chats in the forms that data sets have, as messages of `role` and `content`."""

import ast
import json
from typing import Any

from .values import LeftOut, make_storable, to_text


Chat = list[dict[str, Any]]

_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant"}
_ROLES |= {"model": "assistant", "assistant": "assistant", "system": "system", "developer": "developer"}
_ROLES |= {"tool": "tool", "observation": "tool", "function": "tool"}


def find_chat(value: Any) -> list[Any] | None:
    """
    Find a chat in a value.

    Args:
        value (`Any`):
            A list of messages; a `dict` of two lists, which is how `datasets` stores some chats; or such a list that was
            written as text, as in a CSV file.

    Returns:
        `list` or `None`: the messages as they are, `None` if the value is no chat.

    Example:
    ```python
    >>> from trl_forking.data.chats import find_chat
    >>> find_chat('[{"role": "user", "content": "1 + 1?"}]')
    [{'role': 'user', 'content': '1 + 1?'}]
    >>> find_chat("1 + 1?") is None
    True
    ```
    """
    if isinstance(value, str) and value.lstrip().startswith("[{"):
        value = _parse(value)
    if isinstance(value, dict) and all(isinstance(part, list) for part in value.values()):
        value = [dict(zip(value, parts, strict=False)) for parts in zip(*value.values(), strict=False)]
    is_chat = isinstance(value, list) and bool(value) and all(isinstance(message, dict) for message in value)
    return value if is_chat else None


def _parse(text: str) -> Any:
    for parse in (json.loads, ast.literal_eval):  # pandas writes a chat as Python does
        try:
            return parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return None


def read_chat(messages: list[Any], ends_with_answer: bool) -> Chat:
    """
    Bring the messages of a chat into the form of `role` and `content`.

    Args:
        messages (`list[dict]`):
            Messages of `role` and `content`, or of `from` (`human`, `gpt`, `system`) and `value`.
        ends_with_answer (`bool`):
            Whether answers at the end belong to the data and not to the prompt. A chat of `from` and `value` is data for
            supervised training, so its answers at the end never belong to the prompt.

    Returns:
        `list[dict]`: the messages up to the last question.

    Raises:
        [`LeftOut`]: if a message has no text or an unknown role, or no message asks anything.

    Example:
    ```python
    >>> from trl_forking.data.chats import read_chat
    >>> read_chat([{"from": "human", "value": "1 + 1?"}, {"from": "gpt", "value": "2"}], ends_with_answer=False)
    [{'role': 'user', 'content': '1 + 1?'}]
    ```
    """
    ends_with_answer = ends_with_answer or any("from" in message for message in messages)
    chat = [_read_message(message) for message in messages]
    while ends_with_answer and chat and chat[-1]["role"] == "assistant":
        chat.pop()
    if not any(message["role"] not in ("system", "developer") for message in chat):
        raise LeftOut("a chat without a question")
    return chat


def _read_message(message: dict[str, Any]) -> dict[str, Any]:
    others = {key: value for key, value in message.items() if value is not None}
    role = others.pop("role", None) or others.pop("from", None)
    content = others.pop("content", None)
    content = others.pop("value", None) if content is None else content
    if not isinstance(role, str):
        raise LeftOut("a chat with a message that has no role")
    if "from" in message:
        if role.lower() not in _ROLES:
            raise LeftOut(f"a chat with the unknown role {role}")
        # Ratings, training weights and the like, which no template knows.
        role, others = _ROLES[role.lower()], {}
    try:
        return {"role": role, "content": _read_content(content), **others}
    except LeftOut as reason:
        if others.get("tool_calls"):
            return {"role": role, "content": "", **others}
        raise LeftOut(f"a chat with a message of the role {role} that is {reason}") from reason


def _read_content(content: Any) -> str:
    if not isinstance(content, list):
        text = to_text(content)
        return make_storable(content) if isinstance(content, str) else text
    blocks = [block.get("text") if isinstance(block, dict) else block for block in content]
    texts = [block for block in blocks if isinstance(block, str)]
    if len(texts) < len(blocks):
        raise LeftOut("more than text")
    return to_text("".join(texts))
