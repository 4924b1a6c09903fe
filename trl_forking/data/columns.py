"""Which columns of a row hold the question and the answer."""

from typing import Any

from ..run.user_errors import UserError


QUESTION_COLUMNS = ("prompt", "question", "problem")
ANSWER_COLUMNS = ("solution", "answer", "reward_model")


def get_question(row: dict[str, Any], place: str) -> Any:
    """
    Get the question of a row: the first of the columns `prompt`, `question` and `problem` that is not empty.

    Args:
        row (`dict`):
            Row of [`~trl_forking.data.rows.read_rows`].
        place (`str`):
            File and number of the row, for the message of the error.

    Returns:
        `str` or `list[dict]`: a text, or a chat of `role` and `content`.

    Raises:
        [`UserError`]: if the row has no question.

    Example:
    ```python
    >>> from trl_forking.data.columns import get_question
    >>> get_question({"problem": "1 + 1?", "level": 1}, "problems.jsonl, row 1")
    '1 + 1?'
    ```
    """
    column = next((column for column in QUESTION_COLUMNS if row.get(column)), None)
    if column is None:
        names = " or ".join(QUESTION_COLUMNS)
        raise UserError(f"{place}: no {names} in the columns {list(row)}: give the question one of these names.")
    return row[column]


def find_answer_column(row: dict[str, Any]) -> str | None:
    """
    Find the column with the right answer: the first of `solution`, `answer` and `reward_model` that is not empty.

    Args:
        row (`dict`):
            Row of [`~trl_forking.data.rows.read_rows`].

    Returns:
        `str` or `None`: name of the column, `None` if the row has no answer.

    Example:
    ```python
    >>> from trl_forking.data.columns import find_answer_column
    >>> find_answer_column({"question": "1 + 1?", "answer": 2})
    'answer'
    ```
    """
    return next((column for column in ANSWER_COLUMNS if row.get(column) not in (None, "")), None)


def get_answer(row: dict[str, Any]) -> str | None:
    """
    Get the right answer of a row as text.

    Args:
        row (`dict`):
            Row of [`~trl_forking.data.rows.read_rows`]. In the column `reward_model`, as in DAPO-Math-17k, the answer
            is the entry `ground_truth`.

    Returns:
        `str` or `None`: the answer, `None` if the row has none.

    Example:
    ```python
    >>> from trl_forking.data.columns import get_answer
    >>> get_answer({"question": "1 + 1?", "reward_model": {"ground_truth": "2", "style": "rule"}})
    '2'
    ```
    """
    column = find_answer_column(row)
    if column is None:
        return None
    return str(row[column]["ground_truth"] if column == "reward_model" else row[column])
