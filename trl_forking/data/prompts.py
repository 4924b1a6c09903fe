"""Prompts to look at a model with: rows that have a `prompt` and, where it is known, the right answer."""

from itertools import chain, islice
from typing import Any

from ..rewards.math_reward import verify_math
from .choice import Problem, choose_problems
from .report import describe_choice, raise_if_empty
from .rows import read_rows
from .templates import build_prompt


_NUM_PROBED = 1000  # rows that say whether a data set has answers at all


class PromptRow(dict[str, Any]):
    """
    A row with a prompt, which knows where it is from.

    Attributes:
        place (`str`): file and number of the row, for messages.

    Example:
    ```python
    >>> from trl_forking.data.prompts import PromptRow
    >>> row = PromptRow({"prompt": "1 + 1?"}, place="problems.jsonl, row 1")
    >>> row["prompt"], row.place
    ('1 + 1?', 'problems.jsonl, row 1')
    ```
    """

    def __init__(self, values: dict[str, Any], place: str):
        super().__init__(values)
        self.place = place


def load_prompts(
    source: str,
    prompt_template: str | None = None,
    config: str | None = None,
    split: str = "train",
    num_prompts: int | None = None,
) -> list[dict[str, Any]]:
    r"""
    Load prompts, with the right answers where the data has them.

    The prompt and the right answer are found as in [`~trl_forking.data.problems.load_problems`]. A row without a question
    is left out. A row without an answer is not. The other columns stay as they are; a verifier may read them.

    Args:
        source (`str`):
            A file, a folder or a data set of the Hub, as in [`~trl_forking.data.rows.read_rows`].
        prompt_template (`str`, *optional*):
            `"chat"` or `"paper"`, as in [`~trl_forking.data.templates.build_prompt`]. By default each prompt stays as it
            is.
        config (`str`, *optional*):
            Configuration of the data set.
        split (`str`, *optional*, defaults to `"train"`):
            Split of the data set or of the folder.
        num_prompts (`int`, *optional*):
            Number of prompts to take, from the first one on; `None` takes all.

    Returns:
        `list[dict]`: rows with `prompt` (`str` or a chat of `role` and `content`) and, if known, `solution` (`str`).

    Raises:
        [`UserError`]: if the file does not exist or cannot be read, or no row has a question.

    Example:
    ```python
    >>> from pathlib import Path
    >>> from trl_forking.analysis import load_prompts
    >>> size = Path("problems.csv").write_text("question,answer\n1 + 1?,2\n")
    >>> load_prompts("problems.csv")[0]["prompt"], load_prompts("problems.csv")[0]["solution"]
    ('1 + 1?', '2')
    ```
    """
    choice = choose_problems(read_rows(source, config, split), source, needs_answer=False, num_problems=num_prompts)
    raise_if_empty(choice)
    return [_build_row(problem, prompt_template) for problem in choice.problems]


def choose_prompts(
    source: str,
    prompt_template: str | None = None,
    config: str | None = None,
    split: str = "train",
    num_prompts: int | None = None,
    needs_answer: bool | None = None,
) -> tuple[list[dict[str, Any]], bool]:
    r"""
    Load prompts as [`load_prompts`] does, print which rows are used, and leave out those that can't be checked.

    Args:
        source, prompt_template, config, split, num_prompts:
            As in [`load_prompts`].
        needs_answer (`bool`, *optional*):
            Whether a row without a right answer is left out. By default it is, if one of the first 1,000 rows has an
            answer. So the same rows are analyzed that would be trained on.

    Returns:
        `tuple[list[dict], bool]`: the rows, and whether each has an answer that the reward can compare with.

    Raises:
        [`UserError`]: if the file does not exist or cannot be read, or no row is left.
        `ImportError`: if answers are needed and math-verify is not installed.

    Example:
    ```python
    >>> from pathlib import Path
    >>> from trl_forking.data.prompts import choose_prompts
    >>> size = Path("problems.csv").write_text("question,answer\nProve it.,\n1 + 1?,2\n")
    >>> choose_prompts("problems.csv")
    problems.csv: 1 of 2 problems have an answer that math-verify can read
      The answer is from the column answer (1 row).
      Row 2: "1 + 1?" has the answer "2".
      1 row is left out: row 1 (answer is empty).
    ([{'question': '1 + 1?', 'answer': '2', 'prompt': '1 + 1?', 'solution': '2'}], True)
    ```
    """
    rows = read_rows(source, config, split)
    if needs_answer is None:
        first = list(islice(rows, _NUM_PROBED))
        probed = choose_problems(first, source, needs_answer=False)
        rows, needs_answer = chain(first, rows), any(problem.gold for problem in probed.problems)
    choice = choose_problems(rows, source, needs_answer, num_prompts)
    raise_if_empty(choice)
    print(describe_choice(choice))
    return [_build_row(problem, prompt_template) for problem in choice.problems], needs_answer


def _build_row(problem: Problem, prompt_template: str | None) -> PromptRow:
    prompt = problem.question if prompt_template is None else build_prompt(problem.question, prompt_template)
    # A column `solution` that is no answer, such as prose, must not be compared with.
    others = {name: value for name, value in problem.row.values.items() if name != "solution"}
    gold = {} if problem.gold is None else {"solution": problem.gold.text}
    return PromptRow({**others, "prompt": prompt, **gold}, problem.row.place)


def verify_solution(row: dict[str, Any], completion: str) -> float | None:
    r"""
    Verify an answer to a mathematical problem, see [`~trl_forking.rewards.math_reward.verify_math`].

    Args:
        row (`dict`):
            Row of [`load_prompts`].
        completion (`str`):
            Text of the answer.

    Returns:
        `float` or `None`: 1.0 if the answer is right, 0.0 if it is wrong, `None` if the row has no solution that
        math-verify can read.

    Example:
    ```python
    >>> from trl_forking.analysis import verify_solution
    >>> verify_solution({"prompt": "1 + 1?", "solution": "2"}, r"It is \boxed{2}.")
    1.0
    ```
    """
    solution = row.get("solution")
    return None if solution is None else verify_math(completion, solution)
