"""`trl-forking compare`: how far the forks of a base model move in training, on the same answers."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..analysis import ScoredAnswer, compute_token_scores
from ..analysis.comparison import build_comparison, check_names, format_markdown, write_csv
from ..analysis.models import check_model_path
from ..analysis.page import choose_min_count, draw_figures, require_plots, write_figures, write_page
from ..analysis.statistics import summarize
from ..run.user_errors import exit_on_user_error
from .analyze import BUILT_IN, AnswerArguments, answer_prompts, load, read_for_page, read_prompts
from .arguments import ForkingParser


_TABLES = {
    "overlap": "Overlap of fork positions with the first and the last model",
    "percentiles": "Percentiles of entropy, in nats",
    "change_by_bin": "Mean change of entropy, in nats, by 5 %-bins of base entropy",
}
# Answers scored at a time: what a kill costs is no more than a model's scores, which take less than its answers.
_ANSWERS_PER_CALL = 64
_MAX_ANSWERS = 64  # of the page


@dataclass
class CompareArguments(AnswerArguments):
    """
    Which models `trl-forking compare` compares. The last checkpoint writes the answers, all score them.

    Parameters:
        base (`str`):
            Model that training began with: a folder, a name of the Hub, a `.gguf` file, or `"countdown"`.
        checkpoints (`list[str]`):
            Checkpoints in the order of training, models or adapters.

    Raises:
        `ValueError`: if one of them is missing or given twice.

    Example:
    ```python
    >>> CompareArguments(prompts="countdown", base="countdown", checkpoints=["runs/a/checkpoint-10"]).checkpoints
    ['runs/a/checkpoint-10']
    ```
    """

    base: str | None = field(default=None, metadata={"help": "Model that training began with."})
    checkpoints: list[str] | None = field(
        default=None, metadata={"help": "Checkpoints in the order of training; the last one writes the answers."}
    )
    output_dir: str = field(default="runs/comparison", metadata={"help": "Folder to write to."})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.base is None:
            raise ValueError("base is missing: give the model that training began with.")
        if not self.checkpoints:
            raise ValueError("checkpoints is missing: give one or more, in the order of training.")
        paths = [Path(name).resolve() for name in (self.base, *self.checkpoints)]
        twice = next(
            (name for name, path in zip(self.checkpoints, paths[1:], strict=True) if paths.count(path) > 1), None
        )
        if twice is not None:
            raise ValueError(
                f"{twice} is given twice: give the base and each checkpoint once, in the order of training."
            )


def run_compare(flags: list[str]) -> None:
    """
    Run `trl-forking compare`.

    Args:
        flags (`list[str]`):
            Fields of [`CompareArguments`] as flags.

    Raises:
        `SystemExit`: with code 2 and one sentence if a flag, a file or a value is wrong.

    Example:
    ```python
    >>> from trl_forking.countdown import load_countdown_model, load_countdown_tokenizer
    >>> _ = load_countdown_model().save_pretrained("runs/same"), load_countdown_tokenizer().save_pretrained("runs/same")
    >>> run_compare(["--base", "countdown", "--checkpoints", "runs/same", "--prompts", "countdown", "--num_prompts", "2"])
    Answers...
    ```
    """
    parser = ForkingParser(CompareArguments, prog="trl-forking compare")
    (args,) = parser.parse_args_and_config(flags)
    folder = Path(args.output_dir)
    names = name_models([args.base, *args.checkpoints])
    with exit_on_user_error(parser.debug):
        require_plots()
        check_names(names[0], names[1:])
        for name in (args.base, *args.checkpoints[:-1]):
            if name != BUILT_IN:
                check_model_path(name)
        rows, verifier = read_prompts(args)
        model, tokenizer = load(args.checkpoints[-1], args)
        print(f"Answers of {args.checkpoints[-1]} go to {folder}; after an interruption the same command goes on.")
        answer_prompts(model, tokenizer, rows, verifier, args)
        records = read_for_page(folder, _MAX_ANSWERS)
        del model
        scores = {
            name: score_answers(records, path, args)
            for name, path in zip(names, [args.base, *args.checkpoints[:-1]], strict=False)
        }
    scores[names[-1]] = [record.entropies for record in records]
    base_name, *others = names
    comparison = build_comparison(
        scores[base_name], {name: scores[name] for name in others}, args.top_entropy_quantile, base_name
    )
    write_comparison(folder, comparison, records, args, names)
    print(f"\n{format_markdown(comparison['overlap'])}\n{describe_comparison(comparison)}")
    print(f"Page: {folder / 'report.html'}")


def name_models(paths: Sequence[str]) -> list[str]:
    """
    Name models by the last parts of their paths, as many as tell them apart.

    Example:
    ```python
    >>> name_models(["Qwen/Qwen3-8B", "runs/a/checkpoint-10", "runs/b/checkpoint-10/"])
    ['Qwen3-8B', 'a/checkpoint-10', 'b/checkpoint-10']
    ```
    """
    parts = [Path(path).parts for path in paths]
    names = []
    for own in parts:
        rivals = [other for other in parts if other != own]
        size = next((n for n in range(1, len(own)) if all(other[-n:] != own[-n:] for other in rivals)), len(own))
        names.append("/".join(own[-size:]))
    return names


def score_answers(records: Sequence[ScoredAnswer], name_or_path: str, args: AnswerArguments) -> list[np.ndarray]:
    """
    Score answers with another model.

    Args:
        records (sequence of [`ScoredAnswer`]):
            Answers with the tokens of their prompts.
        name_or_path (`str`):
            Model.
        args ([`AnswerArguments`]):
            The temperature, and how to load the model.

    Returns:
        `list[np.ndarray]`: entropies of each answer `(T_i,)`, in nats.

    Raises:
        `ValueError`: if the model has a smaller vocabulary than the one that wrote the answers.

    Example:
    ```python
    >>> score_answers([], "countdown", AnswerArguments(prompts="countdown"))
    []
    ```
    """
    from tqdm.auto import tqdm

    model, _ = load(name_or_path, args)
    largest = max((int(max(record.token_ids, default=0)) for record in records), default=0)
    if largest >= model.get_input_embeddings().num_embeddings:
        raise ValueError(
            f"{name_or_path} has another vocabulary than the last checkpoint: it cannot score its answers."
        )
    entropies: list[np.ndarray] = []
    for start in tqdm(range(0, len(records), _ANSWERS_PER_CALL), desc=f"scoring with {name_or_path}", unit="batch"):
        part = records[start : start + _ANSWERS_PER_CALL]
        prompts = [[] if record.prompt_ids is None else record.prompt_ids.tolist() for record in part]
        scores = compute_token_scores(model, prompts, [record.token_ids.tolist() for record in part], args.temperature)
        entropies += [score.entropies for score in scores]
    return entropies


def describe_comparison(comparison: dict[str, Any]) -> str:
    """
    Describe a comparison in plain sentences, from its own figures.

    Args:
        comparison (`dict`):
            Return value of [`build_comparison`].

    Returns:
        `str`: two sentences.

    Example:
    ```python
    >>> describe_comparison(build_comparison([np.array([0.0, 1.0])], {"step 10": [np.array([0.0, 2.0])]}, 0.5))
    "Of the base model's forks 100.0 % are forks of step 10 too. Mean entropy went from 0.5 to 1 nats."
    ```
    """
    first, last = comparison["overlap"][0], comparison["overlap"][-1]
    if last["to_first"] is None:
        return "No answer has a token, so there is nothing to compare."
    return (
        f"Of the base model's forks {100 * last['to_first']:.1f} % are forks of {last['checkpoint']} too. Mean entropy "
        f"went from {first['mean_entropy']:.3g} to {last['mean_entropy']:.3g} nats."
    )


def write_comparison(
    folder: Path,
    comparison: dict[str, Any],
    records: Sequence[ScoredAnswer],
    args: CompareArguments,
    names: Sequence[str],
) -> None:
    """
    Write tables (CSV, Markdown, JSON), pictures and the page of a comparison.

    Example:
    ```python
    >>> args = CompareArguments(prompts="countdown", base="countdown", checkpoints=["runs/a"])
    >>> comparison = build_comparison([np.zeros(1)], {"a": [np.zeros(1)]})
    >>> write_comparison(Path("."), comparison, [], args, ["countdown", "a"])
    >>> Path("overlap.csv").is_file()
    True
    ```
    """
    from ..analysis.plots import plot_change_by_bin, plot_overlap, plot_percentile_traces

    rho = args.top_entropy_quantile
    summary = summarize(records, rho, choose_min_count(records, None))
    figures = {
        "overlap": plot_overlap(comparison["overlap"], rho),
        "percentiles": plot_percentile_traces(comparison["percentiles"]),
        "change_by_bin": plot_change_by_bin(comparison["change_by_bin"], names[-1], rho),
    }
    for name in _TABLES:
        write_csv(comparison[name], folder / f"{name}.csv")
    sections = [f"## {caption}\n\n{format_markdown(comparison[name])}" for name, caption in _TABLES.items()]
    text = "\n\n".join([f"# {names[0]} and {names[-1]}", describe_comparison(comparison), *sections])
    (folder / "comparison.md").write_text(f"{text}\n", encoding="utf-8")
    (folder / "comparison.json").write_text(json.dumps(comparison, indent=2) + "\n", encoding="utf-8")
    write_figures(folder, figures)
    tables = [
        (caption, list(comparison[name][0]), [list(row.values()) for row in comparison[name]])
        for name, caption in _TABLES.items()
    ]
    own = draw_figures(records, summary)
    title = f"Forks of {names[-1]}, compared with {names[0]}"
    write_page(folder / "report.html", records, title, vars(args), summary, figures | own, _MAX_ANSWERS, tables)
