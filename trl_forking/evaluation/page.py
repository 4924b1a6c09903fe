"""One HTML page of an evaluation: figures, and every answer with its verdict and what the verifier read. No network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..analysis import report
from ..writing.files import write_atomically
from .bootstrap import Estimate
from .results import COLUMN_NAMES, EvaluatedSet, choose_headlines, describe_difference
from .summary import format_estimate


_TEMPLATES = Path(__file__).parent / "templates"
_SHARED = Path(report.__file__).parent / "templates"
_OWN_STYLE = "\n.tokens.plain { white-space: pre-wrap; overflow-wrap: anywhere; }\n"
MAX_CHARACTERS = 20_000_000
"""Most characters of all answers on a page. Beyond that the middle of the long ones is left out."""


def write_evaluation_page(
    path: str | Path, sets: Sequence[EvaluatedSet], title: str, max_characters: int = MAX_CHARACTERS
) -> None:
    """
    Write the page of an evaluation, completely or not at all.

    Every answer is on it. If their texts are too long for a page together, the middle of the long ones is left out; the
    Parquet files have them whole. No text can run as a script: the answers are JSON that the page's script writes as
    text, and the page's policy allows this one script and no network.

    Args:
        path (`str` or `Path`):
            File to write.
        sets (`Sequence[EvaluatedSet]`):
            Results.
        title (`str`):
            Heading.
        max_characters (`int`, *optional*, defaults to 20 million):
            Most characters of all answers.

    Example:
    ```python
    >>> from pathlib import Path
    >>> from trl_forking.evaluation.page import write_evaluation_page
    >>> write_evaluation_page("runs/report.html", [], "Nothing")
    >>> Path("runs/report.html").read_text().splitlines()[0]
    '<!DOCTYPE html>'
    ```
    """
    style = (_SHARED / "report.css").read_text(encoding="utf-8") + _OWN_STYLE
    scripts = (_SHARED / "page.js", _SHARED / "prompt_box.js", _TEMPLATES / "evaluation.js")
    script = "".join(file.read_text(encoding="utf-8") for file in scripts)
    data = build_page_data(sets, max_characters)
    write_atomically(path, report.render_template(_TEMPLATES / "evaluation.html", style, script, data, title=title))


def build_page_data(sets: Sequence[EvaluatedSet], max_characters: int = MAX_CHARACTERS) -> dict[str, Any]:
    """
    Build what the script of the page reads.

    Args:
        sets (`Sequence[EvaluatedSet]`):
            Results.
        max_characters (`int`, *optional*, defaults to 20 million):
            Most characters of all answers.

    Returns:
        `dict`: `sets`, `problems`, `answers`, and what stands above and below them.

    Example:
    ```python
    >>> from trl_forking.evaluation.page import build_page_data
    >>> build_page_data([])["answers"]
    []
    ```
    """
    limit = _find_limit([len(answer.completion) for each in sets for answer in each.answers], max_characters)
    problems, answers, num_cut = _list_answers(sets, limit)
    partial = (
        f"The middle of {num_cut:,} long answers is left out here. The Parquet files beside this page have them whole."
    )
    return {
        "sets": [each.problems.title for each in sets],
        "problems": problems,
        "answers": answers,
        "partial": partial if num_cut else "",
        "lead": " ".join(_describe(each) for each in sets),
        "facts": [
            ["Problems", f"{len(problems):,}"],
            ["Answers", f"{len(answers):,}"],
            ["Right answers", f"{sum(answer['verdict'] == 'right' for answer in answers):,}"],
            ["Nothing to read", f"{sum(answer['verdict'] == 'unreadable' for answer in answers):,}"],
        ],
        "tables": _build_tables(sets),
        "notes": [f"{each.problems.title}: {note}" for each in sets for note in each.problems.notes],
        "settings": _list_settings(sets),
    }


def _list_answers(sets: Sequence[EvaluatedSet], limit: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]], int]:
    problems: list[dict[str, Any]] = []
    answers: list[dict[str, Any]] = []
    num_cut = 0
    for number, each in enumerate(sets):
        places: dict[str, int] = {}
        for answer in each.answers:
            if answer.key not in places:
                places[answer.key] = len(problems)
                problems.append({"set": number, "number": answer.problem_index + 1, "prompt": answer.prompt})
                problems[-1] |= {"solution": answer.solution, "right": 0, "answers": 0}
            problem = problems[places[answer.key]]
            problem["right"] += answer.is_right
            problem["answers"] += 1
            text = _cut(answer.completion, limit)
            num_cut += len(text) < len(answer.completion)
            answers.append(
                {
                    "problem": places[answer.key],
                    "number": answer.answer_index + 1,
                    "verdict": answer.verdict,
                    "read": answer.read,
                    "vote": answer.vote,
                    "tokens": answer.num_tokens,
                    "truncated": answer.is_truncated,
                    "text": text,
                }
            )
    return problems, answers, num_cut


def _find_limit(lengths: Sequence[int], max_characters: int) -> int:
    """Find the most characters of an answer so that all together stay below the limit, by raising it from answer to answer."""
    left = max_characters
    for number, length in enumerate(sorted(lengths)):
        share = left // (len(lengths) - number)
        if length > share:
            return max(share, 200)
        left -= length
    return max(lengths, default=0)


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    half = max(limit - 60, 2) // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half:,} characters left out ...]\n{text[-half:]}"


def _describe(each: EvaluatedSet) -> str:
    name = choose_headlines(each.summary.num_generations)[0]
    sentence = f"{each.problems.title}: {name} is {format_estimate(name, each.summary.estimates[name])}."
    if each.difference is None or name not in each.difference.estimates:
        return sentence
    return f"{sentence} {describe_difference(each.difference, name)}"


def _build_tables(sets: Sequence[EvaluatedSet]) -> list[dict[str, Any]]:
    tables = []
    for each in sets:
        estimates, generations = each.summary.estimates, each.summary.num_generations
        lengths = choose_headlines(generations)
        heads = [[name, _write(name, estimates[name])] for name in (lengths[0], *lengths[-2:])]
        if each.difference is not None:
            changes = each.difference.estimates
            heads = [[*row, _write(row[0], changes[row[0]], True) if row[0] in changes else "–"] for row in heads]
        heads = [[COLUMN_NAMES.get(row[0], row[0]), *row[1:]] for row in heads]
        columns = ["Figure", "Value", *(["Change"] if each.difference is not None else [])]
        tables.append({"caption": each.problems.title, "header": columns, "rows": heads})
        if generations > 1:
            rows = [
                [str(k), *(_write(name, estimates[name]) for name in (f"pass@{k}", f"maj@{k}"))]
                for k in range(1, generations + 1)
            ]
            header = ["k", "pass@k", "maj@k"]
            tables.append({"caption": f"{each.problems.title}, by number of tries", "header": header, "rows": rows})
    return tables


def _write(name: str, estimate: Estimate, is_difference: bool = False) -> str:
    """Write a figure so that a narrow column breaks it before its interval and nowhere else."""
    mean, space, interval = format_estimate(name, estimate, is_difference).partition(" [")
    return mean.replace(" ", "\u00a0") + space + interval.replace(" ", "\u00a0")


def _list_settings(sets: Sequence[EvaluatedSet]) -> list[list[str]]:
    """List the settings of all sets; where they differ, each set has its own line."""
    names = list(dict.fromkeys(name for each in sets for name in each.settings if name != "num_shards"))
    lines = []
    for name in names:
        values = [str(each.settings.get(name)) for each in sets]
        if len(set(values)) == 1:
            lines.append([name, values[0]])
        else:
            lines += [[f"{name}, {each.problems.title}", value] for each, value in zip(sets, values, strict=True)]
    return lines
