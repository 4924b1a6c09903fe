"""Where `trl-forking evaluate` takes its problems from: presets of the Hub, files, any data set of the Hub, countdown."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..data.choice import choose_problems
from ..data.report import describe_choice, describe_left_out, raise_if_empty
from ..data.rows import read_rows
from ..data.templates import build_prompt
from ..evaluation.problem_sets import LoadedProblems, build_key, find_problem_set, load_problem_set, select_problems
from ..evaluation.verifiers import MathVerifier, Verdict, Verifier
from ..run.user_errors import UserError, require
from .arguments import BUILT_IN


NUM_COUNTDOWN_PROBLEMS = 256
"""Problems of the built-in task, where none are asked for."""


class CountdownVerifier:
    """
    The exact verifier of the built-in task. The final answer is the last attempt, and equal attempts are equal texts.

    Example:
    ```python
    >>> from trl_forking.commands.problem_sources import CountdownVerifier
    >>> problem = {"nums": [3, 5, 2], "goal": 16}
    >>> CountdownVerifier().judge(problem, "5 + 3 = 8 left 8 2 , 8 * 2 = 16 vs 16 yes").is_right
    True
    ```
    """

    name = BUILT_IN

    def can_judge(self, row: dict[str, Any]) -> bool:
        """Whether the row is a problem of the task."""
        return "nums" in row and "goal" in row

    def judge(self, row: dict[str, Any], completion: str) -> Verdict:
        """Judge an answer by the rules of the task."""
        from ..countdown import WORDS_PER_ATTEMPT, verify_countdown

        words = completion.split()
        is_complete = bool(words) and len(words) % WORDS_PER_ATTEMPT == 0 and words[-1] in ("yes", "no")
        read = " ".join(words[-WORDS_PER_ATTEMPT:]) if is_complete else None
        return Verdict(verify_countdown(completion, row["nums"], row["goal"]), read, is_complete)

    def are_equal(self, first: str, second: str) -> bool:
        """Whether two attempts are the same."""
        return first == second


def load_problem_sources(
    data: Sequence[str],
    config: str | None = None,
    split: str = "test",
    num_problems: int | None = None,
    seed: int = 42,
) -> list[tuple[LoadedProblems, Verifier]]:
    """
    Load every problem set of a command, each with what judges its answers.

    Args:
        data (`Sequence[str]`):
            Names of presets, files, data sets of the Hub, or `"countdown"`.
        config, split (`str`):
            Configuration and split of a data set of the Hub that is no preset.
        num_problems (`int`, *optional*):
            Number of problems to take from each set, from the first one on; by default all.
        seed (`int`, *optional*, defaults to `42`):
            Which problems of the built-in task to draw.

    Returns:
        `list[tuple]`: problems and verifier of each set.

    Raises:
        [`UserError`]: if a set does not exist, is given twice, or has no problem that can be judged.

    Example:
    ```python
    >>> from trl_forking.commands.problem_sources import load_problem_sources
    >>> ((problems, verifier),) = load_problem_sources(["countdown"], num_problems=2)
    >>> len(problems.rows), verifier.name
    (2, 'countdown')
    ```
    """
    presets = {
        name: None if name == BUILT_IN else find_problem_set(name) for name in data
    }  # names before any download
    names = [_name_set(name) for name in data]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"--data names {twice} twice: each set needs its own name, and a file is named by its stem.")
    sources: list[tuple[LoadedProblems, Verifier]] = []
    for name in data:
        if name == BUILT_IN:
            sources.append((_load_countdown(num_problems or NUM_COUNTDOWN_PROBLEMS, seed), CountdownVerifier()))
            continue
        require("math_verify", "trl-forking[math]")
        preset = presets[name]
        loaded = _load_file(name, config, split, num_problems) if preset is None else load_problem_set(preset)
        verifier = MathVerifier()
        rows, notes = select_problems(loaded.rows[:num_problems], verifier.can_judge, loaded.name)
        sources.append((_replace_rows(loaded, rows, notes), verifier))
    return sources


def _name_set(source: str) -> str:
    return Path(source).name.split(".")[0] or source if "/" in source or "." in source else source


def _replace_rows(loaded: LoadedProblems, rows: list[dict[str, Any]], notes: list[str]) -> LoadedProblems:
    from dataclasses import replace

    return replace(loaded, rows=rows, notes=[*loaded.notes, *notes])


def _load_file(source: str, config: str | None, split: str, num_problems: int | None) -> LoadedProblems:
    """Load problems with the loader of training: what it leaves out there is left out here."""
    try:
        choice = choose_problems(read_rows(source, config, split), source, num_problems=num_problems)
    except UserError:
        raise
    except Exception as error:  # `datasets` and the Hub raise errors of many types
        cause = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise UserError(f"{source} could not be loaded ({cause}): check its name, config and split.") from error
    raise_if_empty(choice)
    print(describe_choice(choice))
    rows = [
        _build_row(problem.question, problem.gold.text) | {"row": problem.row.number}
        for problem in choice.problems
        if problem.gold is not None
    ]
    name, notes = _name_set(source), [describe_left_out(choice)] if choice.left_out else []
    if Path(source).exists():
        return LoadedProblems(name, name, rows, notes)
    return LoadedProblems(name, name, rows, notes, dataset=source, config=config, split=split)


def _build_row(question: Any, solution: str) -> dict[str, Any]:
    return {"key": build_key(question, solution), "question": question, "solution": solution}


def _load_countdown(num_problems: int, seed: int) -> LoadedProblems:
    from ..countdown import make_countdown_dataset

    rows = [
        {**row, "key": build_key(row["prompt"], None), "question": row["prompt"], "solution": str(row["goal"])}
        for row in map(dict, make_countdown_dataset("eval", num_problems, seed))
    ]
    return LoadedProblems(BUILT_IN, "Countdown, held out", rows, [])


def choose_template(given: str | None, name: str, tokenizer: Any) -> tuple[str, str]:
    """
    Choose the prompt template, and say why.

    Args:
        given (`str`, *optional*):
            `"chat"`, `"paper"` or `"none"`, if the user chose one.
        name (`str`):
            Name of the problem set.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer of the model.

    Returns:
        `tuple[str, str]`: the template, and a sentence.

    Raises:
        [`UserError`]: if the template is `"chat"` and the tokenizer has none.

    Example:
    ```python
    >>> from types import SimpleNamespace
    >>> from trl_forking.commands.problem_sources import choose_template
    >>> choose_template(None, "aime24", SimpleNamespace(chat_template=None))
    ('paper', "aime24: the paper's prompt template, because the tokenizer has no chat template.")
    ```
    """
    has_chat = getattr(tokenizer, "chat_template", None) is not None
    if name == BUILT_IN:
        return "none", f"{name}: the prompts of the built-in task as they are."
    if given == "chat" and not has_chat:
        raise UserError("prompt_template chat: the tokenizer has no chat template; use paper.")
    if given is not None:
        return given, f"{name}: prompt template {given}, as asked for."
    if has_chat:
        return "chat", f"{name}: the chat template of the tokenizer."
    return "paper", f"{name}: the paper's prompt template, because the tokenizer has no chat template."


def apply_template(rows: Sequence[dict[str, Any]], template: str) -> list[dict[str, Any]]:
    """
    Put every question into a template, in a column `prompt`.

    Args:
        rows (`Sequence[dict]`):
            Problems with a `question`.
        template (`str`):
            `"chat"`, `"paper"` or `"none"`.

    Returns:
        `list[dict]`: the problems.

    Example:
    ```python
    >>> from trl_forking.commands.problem_sources import apply_template
    >>> apply_template([{"question": "1 + 1 ="}], "none")[0]["prompt"]
    '1 + 1 ='
    ```
    """
    return [
        {**row, "prompt": row["question"] if template == "none" else build_prompt(row["question"], template)}
        for row in rows
    ]
