"""Finds the answer in what a model wrote, and the gold answer in what a data set says."""

import re
from typing import Any


_BRACE = re.compile(r"\\{1,2}boxed\s*+\{|\\.|[{}]", re.DOTALL)
_THINK = re.compile(r"<\s?(/?)\s?(?:think(?:ing)?|thought|reasoning)\s?>", re.IGNORECASE)
_ANSWER_TAG = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", re.IGNORECASE | re.DOTALL)
_SENTENCE = re.compile(
    r"\b(?:final |correct )?answers?(?: to [a-z ]{1,40})?\s*(?:\*\*)?\s*(?:is|are|:|=|\n)\s*:?\s*(?:\*\*)?\s*(\S[^\n]*)",
    re.IGNORECASE,
)
_FORMULA = re.compile(r"([A-Za-z ,:]{1,60})\s*(?:\$\$?([^$]+)\$\$?|\\\((.+)\\\)|\\\[(.+)\\\])\s*\.?", re.DOTALL)
# Words before a formula that say nothing about it.
_NEUTRAL = frozenset(
    "it is we get have obtain find so then thus therefore hence the answer value equals this gives that which".split()  # noqa: SIM905
)


def extract_boxed(text: str) -> str | None:
    r"""
    Return the content of the last complete `\boxed{...}` of a text, in time linear in its length.

    Args:
        text (`str`):
            Answer of a model, of any length and content.

    Returns:
        `str` or `None`:
            The text between the braces. `None` if there is no box, or if no box is closed.

    Example:
    ```python
    >>> from trl_forking.rewards.extract import extract_boxed
    >>> extract_boxed(r"Perhaps \boxed{1}. No: \boxed{\frac{1}{2}}, for \boxed{ never ends.")
    '\\frac{1}{2}'
    ```
    """
    opened: list[int | None] = []  # where the content of each open box begins; None for other braces
    start, end = -1, -1
    for match in _BRACE.finditer(text):
        token = match.group()
        if token == "{":
            opened.append(None)
        elif token == "}":
            content_start = opened.pop() if opened else None
            if content_start is not None and content_start > start:
                start, end = content_start, match.start()
        elif len(token) > 2:
            opened.append(match.end())
    return text[start:end] if start >= 0 else None


def remove_reasoning(text: str) -> str:
    r"""
    Remove what stands between `<think>` and `</think>`, or between such tags with `thinking`, `thought` or `reasoning`.

    A block that is not closed goes to the end of the text. A text that closes a block without opening one began in the
    block, because the prompt opened it.

    Args:
        text (`str`):
            Answer of a model, of any length and content.

    Returns:
        `str`: what stands outside of the blocks.

    Example:
    ```python
    >>> from trl_forking.rewards.extract import remove_reasoning
    >>> remove_reasoning(r"<think>Is it \boxed{1}?</think>It is \boxed{2}.")
    'It is \\boxed{2}.'
    >>> remove_reasoning(r"<think>Is it \boxed{1}?"), remove_reasoning(r"Is it \boxed{1}?</think>It is \boxed{2}.")
    ('', 'It is \\boxed{2}.')
    ```
    """
    if "<" not in text:
        return text
    outside: list[str] = []
    start, is_inside = 0, False
    for match in _THINK.finditer(text):
        if match[1]:
            if not is_inside:
                outside.clear()  # the block began before the text, or was closed already
            start, is_inside = match.end(), False
        elif not is_inside:
            outside.append(text[start : match.start()])
            is_inside = True
    if not is_inside:
        outside.append(text[start:])
    return "".join(outside)


def read_completion(completion: Any) -> str:
    r"""
    Return the text of a completion, whatever form it has.

    Args:
        completion (`Any`):
            Text, or a list of messages. Of messages, the last one of the assistant counts; its content may be text, a list
            of blocks, or missing.

    Returns:
        `str`: the text. It is empty if there is none.

    Example:
    ```python
    >>> from trl_forking.rewards.extract import read_completion
    >>> read_completion([{"role": "assistant", "content": [{"type": "text", "text": "It is 2."}]}]), read_completion(None)
    ('It is 2.', '')
    ```
    """
    if isinstance(completion, str):
        return completion
    if isinstance(completion, dict):
        completion = [completion]
    messages = completion if isinstance(completion, (list, tuple)) else ()
    answers = [
        message
        for message in messages
        if isinstance(message, dict) and message.get("role", "assistant") == "assistant"
    ]
    content = answers[-1].get("content") if answers else None
    if isinstance(content, list):
        texts = [block.get("text") if isinstance(block, dict) else block for block in content]
        return "".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""


def find_answer(text: str, max_length: int) -> str | None:
    r"""
    Find the answer in what a model wrote: the last complete box outside of a think block.

    Args:
        text (`str`):
            Answer of a model, of any length and content.
        max_length (`int`):
            Number of characters at the end that are searched for the box.

    Returns:
        `str` or `None`: the content of the box, `None` if there is none.

    Example:
    ```python
    >>> from trl_forking.rewards.extract import find_answer
    >>> find_answer(r"<think>\boxed{1}</think> \boxed{2}", 100), find_answer(r"<think>\boxed{1}", 100)
    ('2', None)
    ```
    """
    return extract_boxed(remove_reasoning(text)[-max_length:])


def find_gold(solution: Any) -> str:
    r"""
    Find the gold answer in what a data set says.

    It is the content of the last box, or what stands behind the last `####` (as in GSM8K), or in `<answer>` tags, or
    behind "the answer is", or the formula of a short sentence such as "It is $x = 2$". Otherwise it is the whole text.

    Args:
        solution (`Any`):
            Value of a data set: text, a number or `None`.

    Returns:
        `str`: the gold answer. It is empty if there is none.

    Example:
    ```python
    >>> from trl_forking.rewards.extract import find_gold
    >>> [find_gold(text) for text in (r"So \boxed{2}.", "Twice 4.\n#### 8", "Both add up, so the answer is 5.", 3)]
    ['2', ' 8', '5', '3']
    ```
    """
    text = "" if solution is None else remove_reasoning(str(solution))
    boxed = extract_boxed(text)
    if boxed is not None:
        return boxed
    if "####" in text:
        return text.rpartition("####")[2]
    tagged: list[str] = _ANSWER_TAG.findall(text)
    if tagged:
        return tagged[-1]
    sentences = _SENTENCE.findall(text)
    if sentences and sentences[-1].count("{") == sentences[-1].count("}"):
        return re.split(r"\.\s+(?=[A-Z])", sentences[-1])[0].rstrip(". ")
    formula = _FORMULA.fullmatch(text.strip())
    if formula is not None and set(re.findall(r"[a-z]+", formula[1].lower())) <= _NEUTRAL:
        return formula[2] or formula[3] or formula[4]
    return text
