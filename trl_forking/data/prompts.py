"""Prompts to look at a model with: from a file of any common kind or a data set of the Hub, as rows with a `prompt`."""

import csv
import json
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from ..rewards.math_reward import verify_math
from .problems import ANSWER_COLUMNS, QUESTION_COLUMNS, build_prompt


def load_prompts(
    source: str,
    prompt_template: str | None = None,
    config: str | None = None,
    split: str = "train",
    num_prompts: int | None = None,
) -> list[dict[str, Any]]:
    r"""
    Load prompts, with the answers to them where there are any.

    The prompt is in a column `prompt`, `question` or `problem`; the right answer, if any, in `solution`, `answer` or
    `reward_model` with its `ground_truth`. Other columns stay as they are, for a verifier.

    Args:
        source (`str`):
            A file that ends in `.jsonl`, `.json` (a list of objects), `.csv`, `.parquet` or `.txt` (a prompt on each
            line), or else the name of a data set of the Hub.
        prompt_template (`str`, *optional*):
            `"chat"`: one message with an instruction to box the answer; `"paper"`: the plain text that the paper gives
            to base models; see [`~trl_forking.data.problems.build_prompt`]. The default takes prompts as they are.
        config (`str`, *optional*):
            Configuration of the data set of the Hub.
        split (`str`, *optional*, defaults to `"train"`):
            Split of the data set of the Hub.
        num_prompts (`int`, *optional*):
            Takes that many prompts from the beginning; `None` takes all.

    Returns:
        `list[dict]`: rows with `prompt` (`str` or a chat of `role` and `content`) and, if known, `solution` (`str`).

    Raises:
        `ValueError`: if there is no such file, it cannot be read, or it has no prompts.

    Example:
    ```python
    >>> from pathlib import Path
    >>> from trl_forking.analysis import load_prompts
    >>> size = Path("problems.csv").write_text("question,answer\n1 + 1?,2\n")
    >>> load_prompts("problems.csv")[0]["prompt"], load_prompts("problems.csv")[0]["solution"]
    ('1 + 1?', '2')
    ```
    """
    rows = list(islice(_read_rows(source, config, split), num_prompts))
    if not rows:
        raise ValueError(f"{source} has no prompts.")
    return [_complete_row(row, f"{source}, row {number}", prompt_template) for number, row in enumerate(rows, start=1)]


def verify_solution(row: dict[str, Any], completion: str) -> float | None:
    r"""
    Verify an answer to a mathematical problem, see [`~trl_forking.rewards.math_reward.verify_math`].

    Args:
        row (`dict`):
            Row of [`load_prompts`].
        completion (`str`):
            Answer.

    Returns:
        `float` or `None`: 1.0 if it is right, 0.0 if not, `None` if the row has no solution that can be read.

    Example:
    ```python
    >>> from trl_forking.analysis import verify_solution
    >>> verify_solution({"prompt": "1 + 1?", "solution": "2"}, r"It is \boxed{2}.")
    1.0
    ```
    """
    solution = row.get("solution")
    return None if solution is None else verify_math(completion, solution)


def _read_rows(source: str, config: str | None, split: str) -> Iterable[dict[str, Any]]:
    path = Path(source)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        if path.is_file():
            raise ValueError(f"{source}: files of prompts end in {', '.join(_READERS)}.")
        from datasets import load_dataset

        return load_dataset(source, config, split=split)
    if not path.is_file():
        raise ValueError(f"There is no file {source}.")
    return reader(path)


def _read_json_lines(path: Path) -> Iterable[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield _parse(line, f"{path}:{number}: not a JSON object: write one per line.", dict)


def _read_json(path: Path) -> Iterable[dict[str, Any]]:
    message = f"{path}: not a JSON list of objects: write [{{...}}, ...], or one object per line into a .jsonl file."
    rows = _parse(path.read_text(encoding="utf-8"), message, list)
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError(message)
    return rows


def _parse(text: str, message: str, kind: type) -> Any:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(message) from error
    if not isinstance(value, kind):
        raise ValueError(message)
    return value


def _read_csv(path: Path) -> Iterable[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        yield from csv.DictReader(file)


def _read_parquet(path: Path) -> Iterable[dict[str, Any]]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=1024):
            yield from batch.to_pylist()


def _read_lines(path: Path) -> Iterable[dict[str, Any]]:
    return ({"prompt": line} for line in path.read_text(encoding="utf-8").split("\n") if line.strip())


_READERS = {
    ".jsonl": _read_json_lines,
    ".json": _read_json,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
    ".txt": _read_lines,
}


def _complete_row(row: dict[str, Any], place: str, prompt_template: str | None) -> dict[str, Any]:
    question = next((column for column in QUESTION_COLUMNS if row.get(column)), None)
    if question is None:
        raise ValueError(f"{place}: no {' or '.join(QUESTION_COLUMNS)} in the columns {list(row)}.")
    prompt = row[question] if prompt_template is None else build_prompt(row[question], prompt_template)
    answer = next((column for column in ANSWER_COLUMNS if row.get(column) not in (None, "")), None)
    if answer is None:
        return {**row, "prompt": prompt}
    solution = row[answer]["ground_truth"] if answer == "reward_model" else row[answer]
    return {**row, "prompt": prompt, "solution": str(solution)}
