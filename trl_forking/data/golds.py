"""The right answer of a row, from the column that states it best."""

import ast
import json
from dataclasses import dataclass
from typing import Any

from .columns import ANSWER_COLUMNS, find_column
from .final_answers import UNREADABLE, get_final_answer
from .values import LeftOut, NoAnswer, UnreadableAnswer, to_text


@dataclass(frozen=True)
class Gold:
    """
    The right answer of a row.

    Attributes:
        text (`str`): the answer.
        column (`str`): the column that it is from, as it is named in the data.
        is_extracted (`bool`): whether it is the final answer of prose, and not the whole text.
    """

    text: str
    column: str
    is_extracted: bool


def find_gold(row: dict[str, Any]) -> Gold:
    r"""
    Find the right answer of a row.

    The columns are `answer`, `solution` and `reward_model` with its `ground_truth`, as in DAPO-Math-17k. The first one
    that is a clean answer counts. If there is none, the first one whose prose gives a final answer counts, see
    [`~trl_forking.data.final_answers.get_final_answer`].

    Args:
        row (`dict`):
            Row of [`~trl_forking.data.rows.read_rows`].

    Returns:
        [`Gold`]: the answer.

    Raises:
        [`NoAnswer`]: if the row has no answer.
        [`UnreadableAnswer`]: if it has prose without a final answer only.

    Example:
    ```python
    >>> from trl_forking.data.golds import find_gold
    >>> find_gold({"solution": "It is $240/3=80$ km per hour, or $2$ hours for 120 km.", "answer": 80}).text
    '80'
    >>> find_gold({"reward_model": {"ground_truth": "2", "style": "rule"}}).column
    'reward_model'
    ```
    """
    extracted, reasons, prose = None, [], None
    for name in ANSWER_COLUMNS:
        column = find_column(row, name)
        if column is None:
            continue
        try:
            gold = _read_gold(row[column], name, column)
            if not gold.is_extracted:
                return gold
            extracted = extracted or gold
        except LeftOut as reason:
            reasons.append(f"{column} {reason}")
            prose = prose or (column if str(reason).removeprefix("is ") in UNREADABLE else None)
    if extracted is not None:
        return extracted
    if prose is not None:
        raise UnreadableAnswer(" and ".join(reasons), prose, to_text(row[prose]))
    raise NoAnswer(" and ".join(reasons) if reasons else f"no column {' or '.join(ANSWER_COLUMNS)}")


def _read_gold(value: Any, name: str, column: str) -> Gold:
    if name == "reward_model" or (isinstance(value, dict) and "ground_truth" in value):
        value = _get_ground_truth(value)
    try:
        text = to_text(value)
        answer = get_final_answer(text, is_clean_column=name != "solution")
        answer = answer if answer == text else to_text(answer)
    except LeftOut as reason:
        raise LeftOut(f"is {reason}") from reason
    return Gold(answer, column, is_extracted=answer != text)


def _get_ground_truth(value: Any) -> Any:
    if isinstance(value, str) and value.lstrip().startswith("{"):  # a CSV file holds it as text
        for parse in (json.loads, ast.literal_eval):
            try:
                value = parse(value)
                break
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
    if not isinstance(value, dict):
        raise LeftOut("is null" if value is None else "is no object with a ground_truth")
    if value.get("ground_truth") is None:
        raise LeftOut("has no ground_truth")
    return value["ground_truth"]
