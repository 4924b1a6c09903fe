"""Math problems with a known answer: reads them, puts them into a prompt, and leaves out what can't be used."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..rewards.math_reward import verify_math
from ..run.user_errors import UserError


if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase


INSTRUCTION = "\nReason step by step, and put the final answer in \\boxed{}."
# The paper's, for base models: plain text, which ends at the end of the text and not of a turn.
PAPER_PROMPT = "User:\n{}\nPlease reason step by step, and put your final answer within \\boxed{{}}.\n\nAssistant:\n"
END_OF_TEXT = "<|endoftext|>"

QUESTION_COLUMNS = ("prompt", "question", "problem")
ANSWER_COLUMNS = ("solution", "answer", "reward_model")


def build_prompt(question: str | list[dict[str, str]], template: str) -> str | list[dict[str, str]]:
    r"""
    Put a question into a prompt template.

    Args:
        question (`str` or `list[dict]`):
            A question, or a chat of `role` and `content`, which a chat template leaves as it is.
        template (`str`):
            `"chat"`: one message with an instruction, for the model's own chat template; `"paper"`: the plain text
            that the paper gives to base models.

    Returns:
        `list[dict]` or `str`: a chat for `"chat"`, a text for `"paper"`.

    Raises:
        [`UserError`]: if a chat of several messages is to go into the paper's template, which takes one question.

    Example:
    ```python
    >>> from trl_forking.data.problems import build_prompt
    >>> build_prompt("1 + 1?", "paper")
    'User:\n1 + 1?\nPlease reason step by step, and put your final answer within \\boxed{}.\n\nAssistant:\n'
    ```
    """
    if template == "chat":
        return [{"role": "user", "content": question + INSTRUCTION}] if isinstance(question, str) else question
    if isinstance(question, str):
        return PAPER_PROMPT.format(question)
    if len(question) != 1:
        raise UserError(f"prompt_template paper takes one question, not a chat of {len(question)} messages: use chat.")
    return PAPER_PROMPT.format(question[0]["content"])


def load_problems(name: str, config: str | None = None, split: str = "train", template: str = "chat") -> "Dataset":
    r"""
    Load problems from a JSON-lines file or a data set of the Hub, as the trainer takes them.

    The question is in a column `prompt`, `question` or `problem`, the answer in `solution`, `answer` or, as in
    DAPO-Math-17k, `reward_model` with its `ground_truth`. Rows whose answer math-verify can't read are left out, and a
    line says how many: every answer to them would get no reward at all.

    Args:
        name (`str`):
            Data set of the Hub, or a file that ends in `.jsonl`.
        config (`str`, *optional*):
            Configuration of the data set of the Hub.
        split (`str`, *optional*, defaults to `"train"`):
            Split of the data set of the Hub.
        template (`str`, *optional*, defaults to `"chat"`):
            Prompt template, as in [`build_prompt`].

    Returns:
        [`~datasets.Dataset`]: columns `prompt` and `solution` (`str`).

    Raises:
        [`UserError`]: if there is no such file, column, or answer that can be read.

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
    from datasets import Dataset, load_dataset

    dataset = _read_rows(name) if name.endswith(".jsonl") else load_dataset(name, config, split=split)
    columns = dataset.column_names
    question = next((column for column in QUESTION_COLUMNS if column in columns), None)
    answer = next((column for column in ANSWER_COLUMNS if column in columns), None)
    if not (question and answer):
        raise UserError(f"{name} has the columns {columns}: name one prompt or question, and one solution or answer.")
    rows = []
    for row in dataset:
        solution = str(row[answer]["ground_truth"] if answer == "reward_model" else row[answer])
        if verify_math("", solution) is not None:
            rows.append({"prompt": build_prompt(row[question], template), "solution": solution})
    if not rows:
        raise UserError(f"{name}: math-verify can read no answer in the column {answer}: give numbers or LaTeX.")
    PartialState().print(f"{name}: {len(rows)} of {len(dataset)} problems have an answer that math-verify can read")
    return Dataset.from_list(rows)


def _read_rows(name: str) -> "Dataset":
    from datasets import Dataset

    if not Path(name).is_file():
        raise UserError(f"dataset_name: there is no file {name}: examples/make_gsm_data.py writes one.")
    rows = []
    for number, line in enumerate(Path(name).read_text(encoding="utf-8").splitlines(), start=1):
        try:
            rows.append(dict(json.loads(line)))
        except (ValueError, TypeError) as error:
            raise UserError(f"{name}:{number}: not a JSON object: write one per line.") from error
    return Dataset.from_list(rows)


def drop_long_prompts(dataset: "Dataset", tokenizer: "PreTrainedTokenizerBase", longest: int | None) -> "Dataset":
    """
    Leave out problems whose prompt is too long, and print how many.

    Args:
        dataset ([`~datasets.Dataset`]):
            Problems with a column `prompt`.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer of the model.
        longest (`int`, *optional*):
            Most tokens of a prompt; `None` keeps all.

    Returns:
        [`~datasets.Dataset`]: the others.

    Raises:
        [`UserError`]: if none is left.

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
