"""Text, tables, code and links in Markdown. They show what they were made from, whatever characters are in it."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from huggingface_hub.utils import HFValidationError, validate_repo_id


# Every mark of CommonMark, of tables and formulas on the Hub, and of TensorBoard's Markdown. An underscore between two
# letters or digits has no meaning, and names are easier to read with it.
_MARKS = re.compile(r"[\\`*{}\[\]<>|~$#!&]|(?<![^\W_])_|_(?![^\W_])")
_LINE_BREAK = re.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")


def escape_text(text: str, line_break: str = " ") -> str:
    r"""
    Escape text for the midst of a line or a cell of a table, so that no part of it is read as Markdown or HTML.

    Marks are written by their numbers: TensorBoard's Markdown does not know a backslash before `<`.

    Args:
        text (`str`):
            Any text.
        line_break (`str`, *optional*, defaults to `" "`):
            What stands in place of a line break, such as `"<br>"`.

    Returns:
        `str`: one line of Markdown that shows the text.

    Example:
    ```python
    >>> print(escape_text("a|b <i> my_model\n*"))
    a&#124;b &#60;i&#62; my_model &#42;
    ```
    """
    escaped = _MARKS.sub(lambda match: f"&#{ord(match[0])};", str(text))
    return _LINE_BREAK.sub(lambda match: line_break, escaped)


def format_table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], float_format: str = ".4g", line_break: str = " "
) -> str:
    """
    Write a table as Markdown. No cell is read as Markdown or HTML.

    Args:
        columns (sequence of `str`):
            Names of the columns.
        rows (iterable of sequences):
            Cells, one per column: text, numbers or anything with a text; `None` is an empty cell.
        float_format (`str`, *optional*, defaults to `".4g"`):
            How floats are written.
        line_break (`str`, *optional*, defaults to `" "`):
            What stands in place of a line break in a cell, such as `"<br>"`.

    Returns:
        `str`: the table, without a line break at its end.

    Raises:
        `ValueError`: if a row has more or fewer cells than there are columns.

    Example:
    ```python
    >>> print(format_table(["token", "entropy", "reward"], [["<b>", 1.5, None]]))
    | token | entropy | reward |
    |---|---|---|
    | &#60;b&#62; | 1.5 |  |
    ```
    """

    def format_cell(value: Any) -> str:
        text = "" if value is None else f"{value:{float_format}}" if isinstance(value, float) else str(value)
        return escape_text(text, line_break)

    lines = [list(columns), *(list(row) for row in rows)]
    for line in lines:
        if len(line) != len(columns):
            raise ValueError(f"A table of {len(columns)} columns has a row of {len(line)} cells: {line}.")
    head, *body = [f"| {' | '.join(map(format_cell, line))} |" for line in lines]
    return "\n".join([head, "|" + "---|" * len(columns), *body])


def replace_between(page: str, start: str, end: str, content: str) -> str:
    r"""
    Replace what stands between two marks of a page.

    Args:
        page (`str`):
            Text of the page.
        start (`str`):
            Line that stands before the content, such as a comment.
        end (`str`):
            Line that stands behind it.
        content (`str`):
            New content, without a line break at its end.

    Returns:
        `str`: the page, with an empty line between each mark and the content.

    Raises:
        `ValueError`: if the page does not have both marks, in this order.

    Example:
    ```python
    >>> replace_between("# Page\n<!-- a -->\nold\n<!-- b -->\n", "<!-- a -->", "<!-- b -->", "new")
    '# Page\n<!-- a -->\n\nnew\n\n<!-- b -->\n'
    ```
    """
    before, first, rest = page.partition(start)
    _, second, after = rest.partition(end)
    if not (first and second):
        raise ValueError(f"The page has lost a mark: {start} and {end} stand around what is replaced.")
    return f"{before}{start}\n\n{content}\n\n{end}{after}"


def replace_phrases(text: str, phrases: Mapping[str, str]) -> str:
    """
    Replace phrases of a text. Where two phrases begin at the same place, the longer one is taken.

    Args:
        text (`str`):
            Any text, such as a table.
        phrases (mapping of `str` to `str`):
            What stands in place of each phrase. An empty mapping changes nothing.

    Returns:
        `str`: the text with its other words and its numbers as they were.

    Example:
    ```python
    >>> replace_phrases("| top 20 % | top 5 % |", {"top": "higher", "top 20 %": "forks"})
    '| forks | higher 5 % |'
    ```
    """
    if not phrases:
        return text
    pattern = "|".join(re.escape(phrase) for phrase in sorted(phrases, key=len, reverse=True))
    return re.sub(pattern, lambda match: phrases[match[0]], text)


def format_code(value: Any) -> str:
    """
    Write a value as code for the midst of a line or a cell of a table.

    Args:
        value:
            Text, which is shown as it is, or any other value, which is shown by its `repr`.

    Returns:
        `str`: a code span, or HTML if characters of the value would end a code span.

    Example:
    ```python
    >>> format_code("wait"), format_code(0.2), format_code("a|b")
    ('`wait`', '`0.2`', '<code>a&#124;b</code>')
    ```
    """
    text = value if isinstance(value, str) else repr(value)
    if text and text == text.strip() and not re.search(r"[`|\x00-\x1f\x7f]", text):
        return f"`{text}`"
    return f"<code>{escape_text(text)}</code>"  # Markdown is read inside of <code> too


def format_block(text: str, language: str) -> str:
    """
    Write text as a fenced block. Nothing in the text can end the block.

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
            Number, text, list or dictionary.

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
    Return whether the Hub allows a name for a repository.

    Args:
        name (`str`):
            Name, with or without an owner.

    Returns:
        `bool`: whether the name is allowed.

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
    Write a link to a repository of the Hub.

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
