"""Which columns of a row hold the question and the answer."""

from functools import lru_cache
from typing import Any

from .chats import Chat, find_chat, read_chat
from .values import LeftOut, NoQuestion, make_storable, to_text


QUESTION_COLUMNS = ("prompt", "question", "problem")
"""Columns of a question, a text or a chat, in the order in which they are tried."""

CHAT_COLUMNS = ("conversations", "messages")
"""Columns of a whole chat, tried after those of a question. Answers at the end of such a chat are no part of the prompt."""

ANSWER_COLUMNS = ("answer", "solution", "reward_model")
"""Columns of the right answer, in the order in which they are tried."""


def find_column(row: dict[str, Any], name: str) -> str | None:
    """
    Find a column by its name, in small letters or capitals.

    Args:
        row (`dict`):
            Row.
        name (`str`):
            Name in small letters. A column with exactly this name comes first.

    Returns:
        `str` or `None`: the name as it stands in the row, `None` if there is no such column.

    Example:
    ```python
    >>> from trl_forking.data.columns import find_column
    >>> find_column({"Problem": "1 + 1?", "Answer ": 2}, "answer")
    'Answer '
    ```
    """
    return name if name in row else _fold_names(tuple(map(str, row))).get(name)


@lru_cache(maxsize=64)
def _fold_names(columns: tuple[str, ...]) -> dict[str, str]:
    return {column.strip().lower(): column for column in reversed(columns)}


def get_question(row: dict[str, Any]) -> str | Chat:
    """
    Get the question of a row: the first of the columns `prompt`, `question`, `problem`, `conversations` and `messages`
    that is not empty.

    Args:
        row (`dict`):
            Row of [`~trl_forking.data.rows.read_rows`].

    Returns:
        `str` or `list[dict]`: a text, or a chat of `role` and `content`.

    Raises:
        [`NoQuestion`]: if the row has no question.

    Example:
    ```python
    >>> from trl_forking.data.columns import get_question
    >>> get_question({"Problem": "1 + 1?", "level": 1})
    '1 + 1?'
    >>> get_question({"conversations": [{"from": "human", "value": "1 + 1?"}, {"from": "gpt", "value": "2"}]})
    [{'role': 'user', 'content': '1 + 1?'}]
    ```
    """
    reasons = []
    for name in (*QUESTION_COLUMNS, *CHAT_COLUMNS):
        column = find_column(row, name)
        if column is None:
            continue
        try:
            chat = find_chat(row[column])
            if chat is not None:
                return read_chat(chat, ends_with_answer=name in CHAT_COLUMNS)
            to_text(row[column])  # raises where there is none
            if name in CHAT_COLUMNS or not isinstance(row[column], str):
                raise LeftOut("no chat" if name in CHAT_COLUMNS else "no text")
            return make_storable(row[column])
        except LeftOut as reason:
            reasons.append(f"{column} is {reason}")
    raise NoQuestion(" and ".join(reasons) if reasons else "no column with a question")
