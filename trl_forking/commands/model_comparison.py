"""How `trl-forking compare` lets the last checkpoint answer, and all models score its answers."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..analysis import ScoredAnswer
from ..analysis.comparison import build_comparison, check_names
from ..analysis.comparison_page import describe_comparison, name_models, write_comparison
from ..analysis.rescoring import score_answers
from ..analysis.tables import format_markdown
from .answers import answer_prompts, load, read_for_page
from .compare_arguments import CompareArguments, describe_order


_MAX_ANSWERS = 64  # of the page


class ComparedModels(NamedTuple):
    """
    What the models of a comparison say of the same answers.

    Attributes:
        names (`list[str]`): of the base and of the checkpoints, in the order of training.
        records (`list[ScoredAnswer]`): answers of the last checkpoint.
        scores (`list`): for each model the entropies of each answer.
    """

    names: list[str]
    records: list[ScoredAnswer]
    scores: list[list[np.ndarray]]


def score_models(args: CompareArguments, rows: list[dict[str, Any]], verifier: Any) -> ComparedModels:
    """
    Let the last checkpoint answer prompts, and score its answers with all models.

    Args:
        args ([`CompareArguments`]):
            Which models, with the checkpoints in the order of training.
        rows (`list[dict]`):
            The prompts.
        verifier (`Callable` or `None`):
            What checks the answers.

    Returns:
        [`ComparedModels`]

    Raises:
        `ValueError`: if a model cannot be loaded, or a prompt and its answer do not fit into its context.
    """
    folder, base, checkpoints = Path(args.output_dir), args.base or "", args.checkpoints or []
    models = [base, *checkpoints]
    names = name_models(models)
    check_names(names[0], names[1:])
    model, tokenizer = load(models[-1], args)
    print(describe_order(base, checkpoints))
    print(f"Answers of {models[-1]} go to {folder}; after an interruption the same command goes on.")
    answer_prompts(model, tokenizer, rows, verifier, args)
    records = read_for_page(folder, _MAX_ANSWERS)
    del model  # two models at once may not fit into memory
    scores = [score_answers(load(path, args)[0], records, args.temperature, path) for path in models[:-1]]
    scores.append([record.entropies for record in records])
    return ComparedModels(names, records, scores)


def compare_models(args: CompareArguments, compared: ComparedModels) -> None:
    """
    Write the page of a comparison, and print a summary.

    Args:
        args ([`CompareArguments`]):
            Which models.
        compared ([`ComparedModels`]):
            Their scores.
    """
    folder, (names, records, scores) = Path(args.output_dir), compared
    others = dict(zip(names[1:], scores[1:], strict=True))
    comparison = build_comparison(scores[0], others, args.top_entropy_quantile, names[0])
    write_comparison(folder, comparison, records, vars(args), _MAX_ANSWERS)
    print(f"\n{format_markdown(comparison['overlap'])}\n{describe_comparison(comparison)}")
    print(f"Page: {folder / 'report.html'}")
