"""What an evaluation leaves: files for the card, for the Hub and for the next comparison, and a table for the terminal."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..settings.secrets import remove_secrets
from ..writing.files import write_atomically
from .bootstrap import FEWEST_PROBLEMS, Estimate
from .problem_sets import LoadedProblems
from .records import JudgedAnswer
from .summary import LENGTH, TRUNCATED, EvaluationSummary, PairedDifference, format_estimate


if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class EvaluatedSet:
    """
    A model's answers to one problem set, and what they come to.

    Args:
        problems ([`LoadedProblems`]):
            The set.
        answers (`list[JudgedAnswer]`):
            All answers.
        summary ([`EvaluationSummary`]):
            Their figures.
        settings (`dict`):
            How they were drawn: the content of `run.json`.
        baseline ([`EvaluationSummary`], *optional*):
            Figures of another model on the same problems.
        difference ([`PairedDifference`], *optional*):
            This model less the other one.
    """

    problems: LoadedProblems
    answers: list[JudgedAnswer]
    summary: EvaluationSummary
    settings: dict[str, Any]
    baseline: EvaluationSummary | None = None
    difference: PairedDifference | None = None


def choose_headlines(num_generations: int) -> list[str]:
    """
    Choose the figures that a table shows: the mean, the best of all answers, the vote of all, and two about lengths.

    Args:
        num_generations (`int`):
            Answers to each problem.

    Returns:
        `list[str]`: names of figures of [`summarize_answers`].

    Example:
    ```python
    >>> from trl_forking.evaluation.results import choose_headlines
    >>> choose_headlines(16)
    ['avg@16', 'pass@16', 'maj@16', 'truncated', 'length']
    ```
    """
    tries = [f"pass@{num_generations}", f"maj@{num_generations}"] if num_generations > 1 else []
    return [f"avg@{num_generations}", *tries, TRUNCATED, LENGTH]


NOISE = "not distinguishable from noise"
"""What is said of a difference that could well be zero."""
COLUMN_NAMES = {TRUNCATED: "cut off", LENGTH: "tokens"}
"""Names of figures for people, where they differ."""


def build_table(sets: Sequence[EvaluatedSet]) -> "Table":
    """
    Build the table of the terminal.

    Args:
        sets (`Sequence[EvaluatedSet]`):
            Results.

    Returns:
        [`~rich.table.Table`]: a row for each set, and one for the difference to another model.

    Example:
    ```python
    >>> from trl_forking.evaluation.results import build_table
    >>> build_table([]).row_count
    0
    ```
    """
    from rich.markup import escape
    from rich.table import Table

    largest = max((each.summary.num_generations for each in sets), default=0)
    table = Table("problems", box=None, pad_edge=False, collapse_padding=True, header_style="bold")
    table.columns[0].max_width = 26
    for name in choose_headlines(largest):
        table.add_column(COLUMN_NAMES.get(name, name), justify="right", no_wrap=True)
    for each in sets:
        names = choose_headlines(each.summary.num_generations)
        title = f"{each.problems.title} ({len(each.summary.values[names[0]])})"
        table.add_row(escape(title), *_format_cells(names, each.summary.estimates))
        if each.difference is not None:
            table.add_row("  change", *_format_cells(names, each.difference.estimates, True), style="dim")
    return table


def _format_cells(names: Sequence[str], estimates: dict[str, Estimate], is_difference: bool = False) -> list[str]:
    return [
        # In two lines, so that a terminal of 80 columns has room for all.
        format_estimate(name, estimates[name], is_difference).replace(" [", "\n\\[") if name in estimates else "–"
        for name in names
    ]


def describe_difference(difference: PairedDifference, name: str) -> str:
    """
    Say in a sentence whether two models differ.

    Args:
        difference ([`PairedDifference`]):
            Second model less first.
        name (`str`):
            Name of the figure.

    Returns:
        `str`: a sentence.

    Example:
    ```python
    >>> from trl_forking.evaluation import Estimate, PairedDifference
    >>> from trl_forking.evaluation.results import describe_difference
    >>> difference = PairedDifference(30, 0, {"avg@4": Estimate(0.01, -0.02, 0.04, 30)}, {"avg@4": 12})
    >>> describe_difference(difference, "avg@4")
    'avg@4 changed by +1.0 % [-2.0, 4.0] on 30 common problems, which is not distinguishable from noise.'
    ```
    """
    estimate, num_differing = difference.estimates[name], difference.num_differing[name]
    change = format_estimate(name, estimate, is_difference=True)
    begin = f"{name} changed by {change} on {difference.num_paired} common problems, which is"
    if not difference.is_noise(name):
        return f"{begin} more than noise."
    if num_differing < FEWEST_PROBLEMS:
        return f"{begin} {NOISE}: {describe_few(num_differing, estimate.num_problems)}."
    return f"{begin} {NOISE}."


def describe_few(num_differing: int, num_problems: int) -> str:
    """
    Say that too few problems differ.

    Example:
    ```python
    >>> from trl_forking.evaluation.results import describe_few
    >>> describe_few(3, 30)
    'only 3 of 30 problems differ, and fewer than 6 cannot show a difference'
    ```
    """
    differ = "no problem differs" if num_differing == 0 else f"only {num_differing} of {num_problems} problems differ"
    return f"{differ}, and fewer than {FEWEST_PROBLEMS} cannot show a difference"


def write_results(folder: Path, sets: Sequence[EvaluatedSet], model: str) -> list[Path]:
    """
    Write the results of an evaluation.

    `eval_results.json` is what the card reads: [`~trl_forking.card.evaluation_results.read_evaluation_results`].
    `evaluation.json` has all figures, and each figure of each problem. `.eval_results/NAME.yaml` is what the Hub shows
    for a data set of the Hub.

    Args:
        folder (`Path`):
            Folder to write to.
        sets (`Sequence[EvaluatedSet]`):
            Results.
        model (`str`):
            Name of the model.

    Returns:
        `list[Path]`: files that were written.

    Example:
    ```python
    >>> from pathlib import Path
    >>> from trl_forking.evaluation.results import write_results
    >>> [path.name for path in write_results(Path("runs/evaluation"), [], "tiny")]
    ['eval_results.json', 'evaluation.json']
    ```
    """
    contents = {
        folder / "eval_results.json": _dump([entry for each in sets for entry in build_card_entries(each)]),
        folder / "evaluation.json": _dump({"model": model, "sets": [_describe_set(each) for each in sets]}),
    }
    for each in sets:
        if each.problems.dataset is not None:
            text = build_hub_entry(each)
            if text is not None:
                contents[folder / ".eval_results" / f"{each.problems.name}.yaml"] = text
    for path, content in contents.items():
        write_atomically(path, content)
    return list(contents)


def _dump(value: Any) -> str:
    return json.dumps(remove_secrets(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _to_interval(estimate: Estimate) -> list[float] | None:
    return None if math.isnan(estimate.low) else [estimate.low, estimate.high]


def _to_number(value: float) -> float | None:
    return None if math.isnan(value) else value


def build_card_entries(each: EvaluatedSet) -> list[dict[str, Any]]:
    """
    Build the entries of `eval_results.json` for one set.

    Args:
        each ([`EvaluatedSet`]):
            Results.

    Returns:
        `list[dict]`: one entry for each headline that is an accuracy, with lengths among its settings.
    """
    estimates, generations = each.summary.estimates, each.summary.num_generations
    before = each.baseline.estimates if each.baseline is not None else {}
    drawn = ("temperature", "top_p", "top_k", "max_completion_length", "prompt_template", "seed", "engine")
    settings = {name: each.settings[name] for name in drawn if name in each.settings}
    settings |= {"num_generations": generations, "revision": each.problems.revision}
    settings |= {name: _to_number(estimates[name].mean) for name in (TRUNCATED, LENGTH)}
    entries = []
    for name in choose_headlines(generations)[:-2]:
        if math.isnan(estimates[name].mean):
            continue
        baseline = before.get(name)
        entries.append(
            {
                "task": "text-generation",
                "dataset": each.problems.dataset or each.problems.name,
                "dataset_name": each.problems.title,
                "metric": name,
                "value": estimates[name].mean,
                "interval": _to_interval(estimates[name]),
                "baseline": None if baseline is None else _to_number(baseline.mean),
                "baseline_interval": None if baseline is None else _to_interval(baseline),
                "num_samples": estimates[name].num_problems,
                "settings": {key: value for key, value in settings.items() if value is not None},
            }
        )
    return entries


def build_hub_entry(each: EvaluatedSet) -> str | None:
    """
    Build the text of `.eval_results/NAME.yaml`, in percent, for a data set of the Hub.

    Args:
        each ([`EvaluatedSet`]):
            Results.

    Returns:
        `str` or `None`: YAML; `None` if huggingface_hub is too old for it (before 1.3), or there is no figure.
    """
    try:
        from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml
    except ImportError:
        return None
    import yaml

    name = choose_headlines(each.summary.num_generations)[0]
    estimate = each.summary.estimates[name]
    if math.isnan(estimate.mean):
        return None
    notes = (
        f"{name} in percent, {format_estimate(name, estimate)} (95 % over problems); "
        f"temperature {each.settings.get('temperature')}, top-p {each.settings.get('top_p')}, at most "
        f"{each.settings.get('max_completion_length')} tokens; trl-forking evaluate"
    )
    entry = EvalResultEntry(
        dataset_id=str(each.problems.dataset),
        task_id=each.problems.config or "default",
        value=round(100 * estimate.mean, 4),
        dataset_revision=each.problems.revision,
        notes=notes,
    )
    return str(yaml.safe_dump(eval_result_entries_to_yaml([entry]), sort_keys=False, allow_unicode=True))


def _describe_set(each: EvaluatedSet) -> dict[str, Any]:
    problems, summary = each.problems, each.summary
    return {
        "name": problems.name,
        "title": problems.title,
        "dataset": problems.dataset,
        "config": problems.config,
        "split": problems.split,
        "revision": problems.revision,
        "license": problems.license,
        "notes": problems.notes,
        "num_problems": len(next(iter(summary.values.values()))),
        "num_generations": summary.num_generations,
        "num_answers": summary.num_answers,
        "num_unanswered": summary.num_unanswered,
        "figures": {name: _describe_estimate(estimate) for name, estimate in summary.estimates.items()},
        "difference": None
        if each.difference is None
        else {
            "num_paired": each.difference.num_paired,
            "num_unpaired": each.difference.num_unpaired,
            "figures": {
                name: _describe_estimate(estimate)
                | {"num_differing": each.difference.num_differing[name], "is_noise": each.difference.is_noise(name)}
                for name, estimate in each.difference.estimates.items()
            },
        },
        "problems": {
            name: {key: _to_number(value) for key, value in column.items()} for name, column in summary.values.items()
        },
        "settings": each.settings,
    }


def _describe_estimate(estimate: Estimate) -> dict[str, Any]:
    return {
        "mean": _to_number(estimate.mean),
        "interval": _to_interval(estimate),
        "num_problems": estimate.num_problems,
    }
