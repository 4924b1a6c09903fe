"""Problems to train on: each has a prompt and an answer that math-verify can read."""

from typing import TYPE_CHECKING, Any

from ..rewards.math_reward import verify_math
from ..run.user_errors import UserError
from .columns import ANSWER_COLUMNS, find_answer_column, get_answer, get_question
from .rows import read_rows
from .templates import build_prompt


if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase


def load_problems(name: str, config: str | None = None, split: str = "train", template: str = "chat") -> "Dataset":
    r"""
    Load problems as the trainer takes them.

    The question is in a column `prompt`, `question` or `problem`, the answer in `solution`, `answer` or, as in
    DAPO-Math-17k, `reward_model` with its `ground_truth`. The function leaves out each row whose answer math-verify
    can't read, because every completion would get the reward 0 there. It prints how many rows it used.

    Args:
        name (`str`):
            A file of one of the kinds of [`~trl_forking.data.rows.read_rows`], such as `problems.jsonl`, or the name of
            a data set of the Hub.
        config (`str`, *optional*):
            Configuration of the data set of the Hub.
        split (`str`, *optional*, defaults to `"train"`):
            Split of the data set of the Hub.
        template (`str`, *optional*, defaults to `"chat"`):
            Prompt template, as in [`~trl_forking.data.templates.build_prompt`].

    Returns:
        [`~datasets.Dataset`]: columns `prompt` and `solution` (`str`).

    Raises:
        [`UserError`]: if the file does not exist or cannot be read, a row has no question, or no row has an answer that
            math-verify can read.

    Example:
    ```python
    >>> from pathlib import Path
    >>> from trl_forking.data.problems import load_problems
    >>> size = Path("problems.jsonl").write_text('{"question": "1 + 1?", "answer": 2}')
    >>> load_problems("problems.jsonl", template="paper")["solution"][0]
    problems.jsonl: 1 of 1 problems have an answer that math-verify can read
    '2'
    ```
    """
    from accelerate import PartialState
    from datasets import Dataset

    problems, answer_columns, num_rows = [], set(), 0
    for num_rows, row in enumerate(read_rows(name, config, split), start=1):
        question, answer = get_question(row, f"{name}, row {num_rows}"), get_answer(row)
        answer_columns.add(find_answer_column(row))
        if answer is not None and verify_math("", answer) is not None:
            problems.append({"prompt": build_prompt(question, template), "solution": answer})
    if not problems:
        raise UserError(_explain_no_problems(name, num_rows, answer_columns - {None}))
    PartialState().print(f"{name}: {len(problems)} of {num_rows} problems have an answer that math-verify can read")
    return Dataset.from_list(problems)


def _explain_no_problems(name: str, num_rows: int, answer_columns: set[Any]) -> str:
    if not num_rows:
        return f"{name} has no rows: give at least one problem with its answer."
    if not answer_columns:
        return f"{name}: no row has an answer: put it into a column {' or '.join(ANSWER_COLUMNS)}."
    columns = " or ".join(sorted(answer_columns))
    return f"{name}: math-verify can read no answer in the column {columns}: give numbers or LaTeX."


def drop_long_prompts(dataset: "Dataset", tokenizer: "PreTrainedTokenizerBase", longest: int | None) -> "Dataset":
    """
    Leave out the problems whose prompt is too long, and print how many are left.

    Args:
        dataset ([`~datasets.Dataset`]):
            Problems with a column `prompt`.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer of the model.
        longest (`int`, *optional*):
            Largest number of tokens of a prompt; `None` keeps all problems.

    Returns:
        [`~datasets.Dataset`]: the problems that are left.

    Raises:
        [`UserError`]: if no problem is left.

    Example:
    ```python
    >>> from trl_forking.countdown import load_countdown_tokenizer, make_countdown_dataset
    >>> from trl_forking.data.problems import drop_long_prompts
    >>> dataset = make_countdown_dataset("train", num_problems=4, seed=0)
    >>> len(drop_long_prompts(dataset, load_countdown_tokenizer(), longest=7))
    4 of 4 prompts have at most 7 tokens
    4
    ```
    """
    from accelerate import PartialState

    if longest is None:
        return dataset
    kept = [row for row in range(len(dataset)) if _count_tokens(dataset[row]["prompt"], tokenizer) <= longest]
    if not kept:
        raise UserError(f"max_prompt_length is {longest}, but every prompt has more tokens: raise it.")
    PartialState().print(f"{len(kept)} of {len(dataset)} prompts have at most {longest} tokens")
    return dataset.select(kept)


def _count_tokens(prompt: Any, tokenizer: "PreTrainedTokenizerBase") -> int:
    if not isinstance(prompt, str):
        prompt = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
    return len(tokenizer(prompt)["input_ids"])
