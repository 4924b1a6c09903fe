"""What is said about the rows of a data set: those that are used, and those that are left out, by their number."""

from collections.abc import Sequence

from ..run.user_errors import UserError
from .choice import Choice, Problem
from .columns import ANSWER_COLUMNS, CHAT_COLUMNS, QUESTION_COLUMNS, find_column
from .rows import Row
from .values import LeftOut, NoQuestion, UnreadableAnswer, shorten


_NUM_EXAMPLES = 2
_NUM_ROWS = 5
_NUM_REASONS = 8


def describe_choice(choice: Choice) -> str:
    """
    Describe which rows are used, with two examples, and which are left out and why.

    Args:
        choice ([`~trl_forking.data.choice.Choice`]):
            The rows.

    Returns:
        `str`: several lines.

    Example:
    ```python
    >>> from trl_forking.data.choice import choose_problems
    >>> from trl_forking.data.report import describe_choice
    >>> from trl_forking.data.rows import Row
    >>> rows = [Row({"question": "1 + 1?", "answer": 2}, "a.jsonl", 1), Row({"question": "?"}, "a.jsonl", 2)]
    >>> print(describe_choice(choose_problems(rows, "a.jsonl")))
    a.jsonl: 1 of 2 problems have an answer that math-verify can read
      The answer is from the column answer (1 row).
      Row 1: "1 + 1?" has the answer "2".
      1 row is left out: row 2 (no column answer or solution or reward_model).
    ```
    """
    use = "have an answer that math-verify can read" if choice.needs_answer else "are used, with or without an answer"
    lines = [f"{choice.source}: {len(choice.problems)} of {choice.num_rows} problems {use}"]
    columns = choice.count_columns()
    if columns:
        parts = [
            f"the {'final answer in the prose of the ' * is_extracted}column {column} ({_count(number)})"
            for (column, is_extracted), number in columns.most_common()
        ]
        lines.append(f"The answer is from {', or from '.join(parts)}.")
    lines += [_describe_problem(problem, choice.source) for problem in choice.problems[:_NUM_EXAMPLES]]
    if choice.left_out:
        lines.append(describe_left_out(choice))
    lines += _describe_repetition(choice)
    return "\n  ".join(lines)


def _count(number: int) -> str:
    return f"{number} row{'s' * (number != 1)}"


def _describe_problem(problem: Problem, source: str) -> str:
    question = problem.question if isinstance(problem.question, str) else problem.question[-1]["content"]
    answer = f" has the answer {shorten(problem.gold.text)}" if problem.gold else ""
    return f"Row {_name(problem.row, source)}: {shorten(question)}{answer}."


def _name(row: Row, source: str) -> str:
    """Name a row by its number, and in a folder by its file too."""
    return f"{row.number}" if row.file == source else f"{row.number} of {row.file}"


def describe_left_out(choice: Choice) -> str:
    """
    Name the rows that are left out, by their reason.

    Args:
        choice ([`~trl_forking.data.choice.Choice`]):
            The rows.

    Returns:
        `str`: one sentence.

    Example:
    ```python
    >>> from trl_forking.data.choice import choose_problems
    >>> from trl_forking.data.report import describe_left_out
    >>> from trl_forking.data.rows import Row
    >>> rows = [Row({"question": "1 + 1?", "answer": None}, "a.jsonl", number) for number in (1, 2)]
    >>> describe_left_out(choose_problems(rows, "a.jsonl"))
    '2 rows are left out: rows 1 and 2 (answer is null).'
    ```
    """
    groups = list(choice.left_out.values())
    parts = [
        f"{list_rows(group.rows, choice.source)} ({_describe_reason(group.first)})" for group in groups[:_NUM_REASONS]
    ]
    number, others = (sum(len(group.rows) for group in some) for some in (groups, groups[_NUM_REASONS:]))
    parts += [f"{_count(others)} for other reasons"] if others else []
    return f"{_count(number)} {'is' if number == 1 else 'are'} left out: {'; '.join(parts)}."


def _describe_reason(reason: LeftOut) -> str:
    return f"{reason}: {shorten(reason.text)}" if isinstance(reason, UnreadableAnswer) else str(reason)


def list_rows(rows: Sequence[Row], source: str) -> str:
    """
    List the numbers of rows; of many, the first five. Rows of a folder have their file too.

    Args:
        rows (`Sequence[Row]`):
            Rows.
        source (`str`):
            Name of the data.

    Returns:
        `str`: the list.

    Example:
    ```python
    >>> from trl_forking.data.report import list_rows
    >>> from trl_forking.data.rows import Row
    >>> list_rows([Row({}, "a.jsonl", number) for number in range(1, 9)], "a.jsonl")
    'rows 1, 2, 3, 4, 5 and 3 more'
    ```
    """
    names = [_name(row, source) for row in rows[:_NUM_ROWS]]
    names += [f"{len(rows) - _NUM_ROWS} more"] if len(rows) > _NUM_ROWS else []
    listed = " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
    return f"row{'s' * (len(rows) != 1)} {listed}"


def _describe_repetition(choice: Choice) -> list[str]:
    lines = []
    if choice.repeated:
        rows = [row for row, _ in choice.repeated]
        verb = "repeats an earlier row" if len(rows) == 1 else "repeat earlier rows"
        lines.append(f"R{list_rows(rows, choice.source)[1:]} {verb}, question and answer.")
    if choice.contradicting:
        pairs = choice.contradicting
        named = [
            "{} and {}".format(*(_name(row, choice.source) for row in reversed(pair))) for pair in pairs[:_NUM_ROWS]
        ]
        named += [f"{len(pairs) - _NUM_ROWS} more pairs"] if len(pairs) > _NUM_ROWS else []
        lines.append(f"Rows with the same question and different answers: {', '.join(named)}. Check which is right.")
    return lines


def raise_if_empty(choice: Choice) -> None:
    """
    Refuse data without a row that can be used.

    Args:
        choice ([`~trl_forking.data.choice.Choice`]):
            The rows.

    Raises:
        [`UserError`]: if there is none. The message says what is missing.

    Example:
    ```python
    >>> from trl_forking.data.choice import choose_problems
    >>> from trl_forking.data.report import raise_if_empty
    >>> from trl_forking.data.rows import Row
    >>> raise_if_empty(choose_problems([Row({"q": "1 + 1?", "answer": 2}, "a.jsonl", 1)], "a.jsonl"))
    Traceback (most recent call last):
        ...
    trl_forking.run.user_errors.UserError: a.jsonl, row 1: no prompt or question or problem in the columns ['q', 'answer']: give the question one of these names.
    ```
    """
    if choice.problems:
        return
    source, rest = choice.source, describe_left_out(choice) if choice.left_out else ""
    if not choice.num_rows:
        told = "has no rows: give at least one problem with its answer" if choice.needs_answer else "has no prompts"
        raise UserError(f"{source} {told}.")
    reasons = [group.first for group in choice.left_out.values()]
    if all(isinstance(reason, NoQuestion) for reason in reasons):
        names, row = " or ".join(QUESTION_COLUMNS), next(iter(choice.left_out.values())).rows[0]
        if any(find_column(row.values, name) for name in (*QUESTION_COLUMNS, *CHAT_COLUMNS)):
            raise UserError(f"{source}: no row has a question in a column {names}. {rest}")
        raise UserError(
            f"{row.place}: no {names} in the columns {list(row.values)}: give the question one of these names."
        )
    columns = sorted({reason.column for reason in reasons if isinstance(reason, UnreadableAnswer)})
    if columns:
        raise UserError(
            f"{source}: no answer in the column {' or '.join(columns)} can be read: give a number or a formula, or end the "
            f"solution with \\boxed{{}}. {rest}"
        )
    raise UserError(f"{source}: no row has an answer: put it into a column {' or '.join(ANSWER_COLUMNS)}. {rest}")
