"""Prompts to look at a model with: rows that have a `prompt` and, where it is known, the right answer."""

from itertools import islice
from typing import Any

from ..rewards.math_reward import verify_math
from ..run.user_errors import UserError
from .columns import get_answer, get_question
from .rows import read_rows
from .templates import build_prompt


def load_prompts(
    source: str,
    prompt_template: str | None = None,
    config: str | None = None,
    split: str = "train",
    num_prompts: int | None = None,
) -> list[dict[str, Any]]:
    r"""
    Load prompts, with the right answers where the data has them.

    The prompt is in a column `prompt`, `question` or `problem`. The right answer, if there is one, is in `solution`,
    `answer` or `reward_model` with its `ground_truth`. The other columns stay as they are; a verifier may read them.

    Args:
        source (`str`):
            A file of one of the kinds of [`~trl_forking.data.rows.read_rows`] (`.jsonl`, `.json`, `.csv`, `.parquet`,
            `.txt`), or the name of a data set of the Hub.
        prompt_template (`str`, *optional*):
            `"chat"` or `"paper"`, as in [`~trl_forking.data.templates.build_prompt`]. By default each prompt stays as it
            is.
        config (`str`, *optional*):
            Configuration of the data set of the Hub.
        split (`str`, *optional*, defaults to `"train"`):
            Split of the data set of the Hub.
        num_prompts (`int`, *optional*):
            Number of prompts to take, from the first one on; `None` takes all.

    Returns:
        `list[dict]`: rows with `prompt` (`str` or a chat of `role` and `content`) and, if known, `solution` (`str`).

    Raises:
        [`UserError`]: if the file does not exist or cannot be read, there are no prompts, or a row has none.

    Example:
    ```python
    >>> from pathlib import Path
    >>> from trl_forking.analysis import load_prompts
    >>> size = Path("problems.csv").write_text("question,answer\n1 + 1?,2\n")
    >>> load_prompts("problems.csv")[0]["prompt"], load_prompts("problems.csv")[0]["solution"]
    ('1 + 1?', '2')
    ```
    """
    rows = list(islice(read_rows(source, config, split), num_prompts))
    if not rows:
        raise UserError(f"{source} has no prompts.")
    return [_complete_row(row, f"{source}, row {number}", prompt_template) for number, row in enumerate(rows, start=1)]


def _complete_row(row: dict[str, Any], place: str, prompt_template: str | None) -> dict[str, Any]:
    question, answer = get_question(row, place), get_answer(row)
    prompt = question if prompt_template is None else build_prompt(question, prompt_template)
    return {**row, "prompt": prompt} | ({} if answer is None else {"solution": answer})


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
