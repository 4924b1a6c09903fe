"""Names and values of a run as Markdown and Python that mean what they say, whatever characters are in them."""

import html
import json
import re
from typing import Any

from huggingface_hub.utils import HFValidationError, validate_repo_id


_PUNCTUATION = re.compile(r"([\\`*_\[\]<>|~$#!])")


def escape_text(text: str) -> str:
    r"""
    Escape text for a line of Markdown or a cell of a table.

    Args:
        text (`str`):
            Any text; line breaks become spaces.

    Returns:
        `str`: Markdown that shows the text.

    Example:
    ```python
    >>> print(escape_text("a|b <i> my_model\n*"))
    a\|b \<i\> my_model \*
    ```
    """
    text = " ".join(str(text).split())
    escaped = _PUNCTUATION.sub(r"\\\1", text)
    return re.sub(r"(?<=\w)\\_(?=\w)", "_", escaped)  # inside a word an underscore has no meaning


def format_code(value: Any) -> str:
    """
    Write a value as code that can stand in a cell of a table.

    Args:
        value:
            Text, shown as it is, or any other value, shown by its `repr`.

    Returns:
        `str`: a code span, or HTML where the characters of the value would end one.

    Example:
    ```python
    >>> format_code("wait"), format_code(0.2), format_code("a|b")
    ('`wait`', '`0.2`', '<code>a&#124;b</code>')
    ```
    """
    text = value if isinstance(value, str) else repr(value)
    if text and text == text.strip() and not re.search(r"[`|\x00-\x1f\x7f]", text):
        return f"`{text}`"
    # Markdown is read inside of <code> too: every mark is written by its number.
    text = re.sub(r"[^\w\s.,:;=+/'\"&<>()-]", lambda match: f"&#{ord(match[0])};", html.escape(text, quote=False))
    return f"<code>{re.sub(r'[*_]', lambda match: f'&#{ord(match[0])};', ' '.join(text.splitlines()))}</code>"


def format_block(text: str, language: str) -> str:
    """
    Write text as a fenced block that nothing in it can end.

    Args:
        text (`str`):
            Text of the block.
        language (`str`):
            Language for the highlighting.

    Returns:
        `str`: the block.

    Example:
    ```python
    >>> format_block("a: 1", "yaml").replace("`", "~").splitlines()
    ['~~~yaml', 'a: 1', '~~~']
    ```
    """
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def format_python(value: Any) -> str:
    """
    Write a value as a Python literal with double quotes.

    Args:
        value:
            Made of numbers, text, lists and dictionaries.

    Returns:
        `str`: Python.

    Example:
    ```python
    >>> format_python({"a": [1e-6, None, 'say "hi"']})
    '{"a": [1e-06, None, "say \\\\"hi\\\\""]}'
    ```
    """
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{format_python(key)}: {format_python(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(format_python(item) for item in value) + "]"
    return repr(value)


def is_repo_id(name: str) -> bool:
    """
    Return whether a name can be that of a repository on the Hub.

    Example:
    ```python
    >>> is_repo_id("Qwen/Qwen3-8B-Base"), is_repo_id("my model")
    (True, False)
    ```
    """
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def format_link(name: str, kind: str = "") -> str:
    """
    Write the name of a repository with a link to it.

    Args:
        name (`str`):
            Name on the Hub.
        kind (`str`, *optional*, defaults to `""`):
            `"datasets/"` for a data set.

    Returns:
        `str`: Markdown.

    Example:
    ```python
    >>> format_link("openai/gsm8k", "datasets/")
    '[openai/gsm8k](https://huggingface.co/datasets/openai/gsm8k)'
    ```
    """
    return f"[{escape_text(name)}](https://huggingface.co/{kind}{name})"
