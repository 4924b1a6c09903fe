"""The problem sets of the paper, pinned: which data set of the Hub each is, and what it has to hold."""

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..run.user_errors import UserError


@dataclass(frozen=True)
class ProblemSet:
    """
    A problem set of the Hub.

    Args:
        name (`str`):
            Name on the command line.
        title (`str`):
            Name for people.
        dataset (`str`):
            Data set of the Hub.
        split (`str`):
            Its split.
        question, answer (`str`):
            Columns of the question and of the right answer.
        columns (`tuple[str, ...]`):
            Other columns that the data must have.
        num_problems (`int`):
            Number of rows that the data must have.
        license (`str`):
            License that its card names.
        config (`str`, *optional*):
            Its configuration.
        revision (`str`, *optional*):
            Commit of the data set. Where it is `None`, the newest commit is taken, named and noted.

    Example:
    ```python
    >>> from trl_forking.evaluation.problem_sets import PROBLEM_SETS
    >>> PROBLEM_SETS["aime24"].num_problems
    30
    ```
    """

    name: str
    title: str
    dataset: str
    split: str
    question: str
    answer: str
    columns: tuple[str, ...]
    num_problems: int
    license: str
    config: str | None = None
    revision: str | None = None


PROBLEM_SETS = {
    problem_set.name: problem_set
    for problem_set in (
        ProblemSet(
            *("aime24", "AIME 2024", "HuggingFaceH4/aime_2024", "train", "problem", "answer"),
            columns=("id", "solution", "url", "year"),
            num_problems=30,
            license="none named",
            revision="2fe88a2f1091d5048c0f36abc874fb997b3dd99a",
        ),
        ProblemSet(
            *("aime25", "AIME 2025", "math-ai/aime25", "test", "problem", "answer"),
            columns=("id",),
            num_problems=30,
            license="apache-2.0",
            revision="563bb8404243c5f09de6ec262f2db674fe5bce9b",
        ),
        ProblemSet(
            *("amc23", "AMC 2023", "math-ai/amc23", "test", "question", "answer"),
            columns=(),
            num_problems=40,
            license="none named",
        ),
        ProblemSet(
            *("math500", "MATH-500", "HuggingFaceH4/MATH-500", "test", "problem", "answer"),
            columns=("solution", "subject", "level", "unique_id"),
            num_problems=500,
            license="none named; MATH is MIT",
            revision="6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be",
        ),
        ProblemSet(
            *("minerva", "Minerva Math", "math-ai/minervamath", "test", "question", "answer"),
            columns=(),
            num_problems=272,
            license="none named",
        ),
        ProblemSet(
            *("olympiad", "OlympiadBench", "Hothan/OlympiadBench", "train", "question", "final_answer"),
            columns=("answer_type", "is_multiple_answer", "language"),
            num_problems=674,
            license="apache-2.0",
            config="OE_TO_maths_en_COMP",
        ),
    )
}
"""Problem sets by their names on the command line."""


@dataclass(frozen=True)
class LoadedProblems:
    """
    Problems to answer.

    Args:
        name (`str`):
            Name of the set: of the preset or of the file.
        title (`str`):
            Name for people.
        rows (`list[dict]`):
            Problems with `key`, `question` and `solution`, and other columns that a verifier may read.
        notes (`list[str]`):
            Sentences on what was left out.
        dataset (`str`, *optional*):
            Data set of the Hub.
        config, split, revision, license (`str`, *optional*):
            Which part of it, which commit, and its license.

    Example:
    ```python
    >>> from trl_forking.evaluation.problem_sets import LoadedProblems
    >>> len(LoadedProblems("easy", "Easy problems", [{"key": "a", "question": "1 + 1?", "solution": "2"}], []).rows)
    1
    ```
    """

    name: str
    title: str
    rows: list[dict[str, Any]]
    notes: list[str]
    dataset: str | None = None
    config: str | None = None
    split: str | None = None
    revision: str | None = None
    license: str | None = None


def find_problem_set(name: str) -> ProblemSet | None:
    """
    Find a preset by its name.

    Args:
        name (`str`):
            Name on the command line. A name with a slash or a dot in it is a data set of the Hub or a file.

    Returns:
        [`ProblemSet`] or `None`: `None` for a file or a data set of the Hub.

    Raises:
        [`UserError`]: if it is neither; the message names the nearest preset.

    Example:
    ```python
    >>> from trl_forking.evaluation.problem_sets import find_problem_set
    >>> find_problem_set("aime2024")
    Traceback (most recent call last):
        ...
    trl_forking.run.user_errors.UserError: There is no problem set aime2024; did you mean aime24?
    ```
    """
    if name in PROBLEM_SETS:
        return PROBLEM_SETS[name]
    if "/" in name or "." in name:
        return None
    close = difflib.get_close_matches(name, [*PROBLEM_SETS, "countdown"], n=1, cutoff=0.5)
    known = f"the sets are {', '.join(PROBLEM_SETS)} and countdown; a file needs its ending, such as .jsonl."
    raise UserError(f"There is no problem set {name}; {f'did you mean {close[0]}?' if close else known}")


def load_problem_set(
    problem_set: ProblemSet,
    load: Callable[..., Iterable[dict[str, Any]]] | None = None,
    find_newest: Callable[[str], str] | None = None,
) -> LoadedProblems:
    """
    Load a problem set from the Hub, and check that it is what this version expects.

    Args:
        problem_set ([`ProblemSet`]):
            Which one.
        load (`Callable`, *optional*):
            In place of [`~datasets.load_dataset`].
        find_newest (`Callable[[str], str]`, *optional*):
            Returns the newest commit of a data set, in place of a question to the Hub.

    Returns:
        [`LoadedProblems`]

    Raises:
        [`UserError`]: if the data cannot be loaded, or has other columns, another number of problems, or a question or
            answer that is missing.

    Example:
    ```python
    >>> from trl_forking.evaluation.problem_sets import PROBLEM_SETS, load_problem_set
    >>> rows = [{"question": "1 + 1?", "answer": "2"}]
    >>> load_problem_set(PROBLEM_SETS["amc23"], lambda *args, **kwargs: rows, lambda dataset: "0a1b2c3")
    Traceback (most recent call last):
        ...
    trl_forking.run.user_errors.UserError: amc23: math-ai/amc23 has 1 problems, but this version expects 40...
    ```
    """
    revision = problem_set.revision or _find_revision(problem_set, find_newest or _ask_for_newest)
    rows = _load_rows(problem_set, revision, load or _load_from_hub)
    _check_rows(problem_set, rows)
    loaded = [_build_row(problem_set, row, number) for number, row in enumerate(rows, start=1)]
    pinned = "which this version pins" if problem_set.revision else "the newest: this version pins none"
    return LoadedProblems(
        name=problem_set.name,
        title=problem_set.title,
        rows=loaded,
        notes=[f"{problem_set.dataset} at commit {revision[:7]}, {pinned}; license: {problem_set.license}."],
        dataset=problem_set.dataset,
        config=problem_set.config,
        split=problem_set.split,
        revision=revision,
        license=problem_set.license,
    )


def _load_from_hub(dataset: str, config: str | None, **kwargs: Any) -> Iterable[dict[str, Any]]:
    from datasets import load_dataset

    rows: Iterable[dict[str, Any]] = load_dataset(dataset, config, **kwargs)
    return rows


def _ask_for_newest(dataset: str) -> str:
    from huggingface_hub import HfApi

    return str(HfApi().dataset_info(dataset).sha)


def _find_revision(problem_set: ProblemSet, find_newest: Callable[[str], str]) -> str:
    try:
        return find_newest(problem_set.dataset)
    except Exception as error:
        raise _explain_failure(problem_set, error) from error


def _load_rows(problem_set: ProblemSet, revision: str, load: Callable[..., Any]) -> list[dict[str, Any]]:
    try:
        rows = load(problem_set.dataset, problem_set.config, split=problem_set.split, revision=revision)
        return [dict(row) for row in rows]
    except Exception as error:  # `datasets` and the Hub raise errors of many types
        raise _explain_failure(problem_set, error) from error


def _explain_failure(problem_set: ProblemSet, error: Exception) -> UserError:
    cause = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    place = f"{problem_set.name}: {problem_set.dataset}"
    if isinstance(error, ValueError):  # `datasets` says so of a configuration or a split that is not there
        part = "" if problem_set.config is None else f"configuration {problem_set.config} and "
        return UserError(
            f"{place} is not what this version expects, with {part}split {problem_set.split} ({cause}). Give the problems as a "
            "file to --data."
        )
    return UserError(
        f"{place} could not be loaded ({cause}). Check the network, or give a file of the problems to --data."
    )


def _check_rows(problem_set: ProblemSet, rows: Sequence[dict[str, Any]]) -> None:
    place, hint = f"{problem_set.name}: {problem_set.dataset}", "Give the problems as a file to --data."
    if len(rows) != problem_set.num_problems:
        raise UserError(
            f"{place} has {len(rows)} problems, but this version expects {problem_set.num_problems}. {hint}"
        )
    expected = (problem_set.question, problem_set.answer, *problem_set.columns)
    missing = [column for column in expected if column not in rows[0]]
    if missing:
        raise UserError(
            f"{place} has the columns {', '.join(rows[0])}, but this version expects {', '.join(missing)} too. {hint}"
        )


def _build_row(problem_set: ProblemSet, row: dict[str, Any], number: int) -> dict[str, Any]:
    question, answer = row[problem_set.question], row[problem_set.answer]
    place = f"{problem_set.name}, row {number}"
    if not isinstance(question, str) or not question.strip():
        raise UserError(f"{place}: {problem_set.question} must be a text, but it is {question!r:.80}.")
    parts = answer if isinstance(answer, list) else [answer]
    if not parts or not all(_is_answer(part) for part in parts):
        raise UserError(f"{place}: {problem_set.answer} must be a text or a number, but it is {answer!r:.80}.")
    solution = ", ".join(map(_write_answer, parts))
    return {"key": build_key(question, solution), "question": question, "solution": solution}


def _is_answer(value: Any) -> bool:
    return (isinstance(value, str) and bool(value.strip())) or type(value) in (int, float)


def _write_answer(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def build_key(question: Any, solution: str | None) -> str:
    """
    Build the key that a problem is known by in every evaluation, whatever the template and the order of the problems.

    Args:
        question (`str` or `list[dict]`):
            The question, without a template.
        solution (`str`, *optional*):
            The right answer.

    Returns:
        `str`: 16 hexadecimal digits.

    Example:
    ```python
    >>> from trl_forking.evaluation.problem_sets import build_key
    >>> build_key("1 + 1?", "2") == build_key("1 + 1? ", "2")
    True
    ```
    """
    from ..analysis.provenance import compute_hash  # which imports torch; the names of the sets need none

    return compute_hash([question.strip() if isinstance(question, str) else question, solution])


def select_problems(rows: Sequence[dict[str, Any]], can_judge: Callable[[dict[str, Any]], bool], name: str) -> Any:
    """
    Leave out the problems that occur twice and those whose right answer is missing or cannot be read.

    Args:
        rows (`Sequence[dict]`):
            Problems with `key`, `question` and `solution`, and `row`, the number in their file, where they have one.
        can_judge (`Callable[[dict], bool]`):
            Whether the verifier can read the right answer of a problem.
        name (`str`):
            Name of the set, for messages.

    Returns:
        `tuple`: the problems that are left (`list[dict]`), and sentences (`list[str]`) on what was left out and why.

    Raises:
        [`UserError`]: if no problem is left.

    Example:
    ```python
    >>> from trl_forking.evaluation.problem_sets import select_problems
    >>> rows = [{"key": "a", "question": "1 + 1?", "solution": "2"}, {"key": "b", "question": "Why?", "solution": None}]
    >>> kept, notes = select_problems(rows, lambda row: True, "easy")
    >>> len(kept), notes
    (1, ['1 problem has no answer and is left out: row 2.'])
    ```
    """
    kept, twice, silent, unread = [], [], [], []
    keys: set[str] = set()
    for place, row in enumerate(rows, start=1):
        number = row.get("row", place)  # in the file, from which other rows may be left out already
        if row.get("solution") in (None, ""):
            silent.append(number)
        elif row["key"] in keys:
            twice.append(number)
        elif not can_judge(row):
            unread.append(number)
        else:
            kept.append(row)
        keys.add(row["key"])
    notes = [
        _describe_left_out(
            twice, "occurs more than once and is answered once", "occur more than once and are answered once"
        ),
        _describe_left_out(silent, "has no answer and is left out", "have no answer and are left out"),
        _describe_left_out(
            unread,
            "has an answer that the verifier cannot read and is left out",
            "have answers that the verifier cannot read and are left out",
        ),
    ]
    if not kept:
        raise UserError(f"{name}: no problem has an answer that the verifier can read: give numbers or LaTeX.")
    return kept, [note for note in notes if note]


def _describe_left_out(numbers: list[int], one: str, many: str) -> str:
    if not numbers:
        return ""
    shown = ", ".join(map(str, numbers[:10])) + (", ..." if len(numbers) > 10 else "")
    noun, verb, place = ("problem", one, "row") if len(numbers) == 1 else ("problems", many, "rows")
    return f"{len(numbers)} {noun} {verb}: {place} {shown}."
