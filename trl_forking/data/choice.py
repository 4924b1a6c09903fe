"""The rows of a data set that can be used, and why the others are left out."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from ..rewards.math_reward import NO_TIME, explain_unreadable
from .chats import Chat
from .columns import get_question
from .golds import Gold, find_gold
from .rows import Row
from .values import LeftOut, UnreadableAnswer


@dataclass(frozen=True)
class Problem:
    """
    A row that can be used.

    Attributes:
        row ([`~trl_forking.data.rows.Row`]): the row as it was read.
        question (`str` or `list[dict]`): text, or chat of `role` and `content`.
        gold ([`~trl_forking.data.golds.Gold`] or `None`): the right answer, `None` where it is not needed and not there.
    """

    row: Row
    question: str | Chat
    gold: Gold | None


@dataclass(frozen=True)
class LeftOutRows:
    """
    Rows that are left out for one reason.

    Attributes:
        first (`LeftOut`): what was raised for the first of them.
        rows (`list[Row]`): the rows.
    """

    first: LeftOut
    rows: list[Row]


@dataclass
class Choice:
    """
    What can be used of a data set, and what is left out.

    Attributes:
        source (`str`): name of the data.
        needs_answer (`bool`): whether a row without a right answer is left out.
        num_rows (`int`): number of rows that were read.
        problems (`list[Problem]`): rows that are used.
        left_out (`dict[str, LeftOutRows]`): rows that are not, by the reason.
        repeated (`list[tuple[Row, Row]]`): pairs of rows with the same question and the same answer.
        contradicting (`list[tuple[Row, Row]]`): pairs of rows with the same question and another answer.
    """

    source: str
    needs_answer: bool
    num_rows: int = 0
    problems: list[Problem] = field(default_factory=list)
    left_out: dict[str, LeftOutRows] = field(default_factory=dict)
    repeated: list[tuple[Row, Row]] = field(default_factory=list)
    contradicting: list[tuple[Row, Row]] = field(default_factory=list)

    def count_columns(self) -> Counter[tuple[str, bool]]:
        """Count the problems by the column of their answer, and whether it is the final answer of prose."""
        golds = [problem.gold for problem in self.problems]
        return Counter((gold.column, gold.is_extracted) for gold in golds if gold is not None)


def choose_problems(
    rows: Iterable[Row],
    source: str,
    needs_answer: bool = True,
    num_problems: int | None = None,
    explain: Callable[[str], str | None] = explain_unreadable,
) -> Choice:
    """
    Choose the rows that have a question and, where it is needed, a right answer that the reward can compare with.

    Args:
        rows (`Iterable[Row]`):
            Rows.
        source (`str`):
            Name of the data, for messages.
        needs_answer (`bool`, *optional*, defaults to `True`):
            Whether a row without such an answer is left out.
        num_problems (`int`, *optional*):
            Number of problems after which the function stops reading; `None` takes all.
        explain (`Callable[[str], str | None]`, *optional*):
            Explains why the reward can't compare with an answer, or returns `None` if it can.

    Returns:
        [`Choice`]: the problems, and the rows that are left out.

    Example:
    ```python
    >>> from trl_forking.data.choice import choose_problems
    >>> from trl_forking.data.rows import Row
    >>> rows = [Row({"question": "1 + 1?", "answer": 2}, "a.jsonl", 1), Row({"question": "?"}, "a.jsonl", 2)]
    >>> choice = choose_problems(rows, "a.jsonl")
    >>> [problem.gold.text for problem in choice.problems], list(choice.left_out)
    (['2'], ['no column answer or solution or reward_model'])
    ```
    """
    choice = Choice(source, needs_answer)
    seen: dict[int, Problem] = {}
    explain = _remember_verdicts(explain)  # many rows have the same answer
    for row in rows:
        choice.num_rows += 1
        try:
            problem = _read_problem(row, needs_answer, explain)
        except LeftOut as error:
            choice.left_out.setdefault(str(error), LeftOutRows(error, [])).rows.append(row)
            continue
        choice.problems.append(problem)
        _note_repetition(problem, seen, choice)
        if len(choice.problems) == num_problems:
            break
    return choice


def _remember_verdicts(explain: Callable[[str], str | None]) -> Callable[[str], str | None]:
    """Ask about an answer once. That there was no time is no verdict: the machine may have stood still."""
    verdicts: dict[str, str | None] = {}

    def explain_once(text: str) -> str | None:
        reason = verdicts[text] if text in verdicts else explain(text)
        if reason != NO_TIME:
            verdicts[text] = reason
        return reason

    return explain_once


def _read_problem(row: Row, needs_answer: bool, explain: Callable[[str], str | None]) -> Problem:
    question = get_question(row.values)
    if not needs_answer:
        return Problem(row, question, _find_gold_if_any(row.values))
    gold = find_gold(row.values)
    why = explain(gold.text)
    if why is not None:
        raise UnreadableAnswer(f"{gold.column}: {why}", gold.column, gold.text)
    return Problem(row, question, gold)


def _find_gold_if_any(values: dict[str, Any]) -> Gold | None:
    try:
        return find_gold(values)
    except LeftOut:
        return None


def _note_repetition(problem: Problem, seen: dict[int, Problem], choice: Choice) -> None:
    key = hash(json.dumps(problem.question, default=str))
    earlier = seen.setdefault(key, problem)
    if earlier is problem or earlier.question != problem.question:
        return
    golds = [one.gold.text if one.gold else None for one in (earlier, problem)]
    pairs = choice.repeated if golds[0] == golds[1] else choice.contradicting
    pairs.append((problem.row, earlier.row))
