"""How `trl-forking analyze` lets a model answer, and shows its forks."""

from pathlib import Path
from typing import Any

from ..analysis import ScoredAnswer, summarize
from ..analysis.page import choose_min_count, draw_figures, write_figures, write_page, write_tables
from ..analysis.planned import PlannedTokens, mark_planned, plan_tokens, score_costly, tabulate_overlap
from ..analysis.summary import describe
from ..selection.rules import find_rule
from .analyze_arguments import AnalyzeArguments
from .answers import answer_prompts, load, read_for_page


def answer_and_plan(
    args: AnalyzeArguments, rows: list[dict[str, Any]], verifier: Any
) -> tuple[list[ScoredAnswer], list[PlannedTokens]]:
    """
    Let a model answer prompts, and ask the rules of `token_selection` what they would train of the answers.

    Args:
        args ([`AnalyzeArguments`]):
            Which model, and what is shown.
        rows (`list[dict]`):
            The prompts.
        verifier (`Callable` or `None`):
            What checks the answers.

    Returns:
        `tuple`: the answers, and what each rule would train.

    Raises:
        `ValueError`: if the model cannot be loaded, or a prompt and its answer do not fit into its context.
    """
    model, tokenizer = load(args.model_name_or_path or "", args)
    print(f"Answers go to {Path(args.output_dir)}; after an interruption the same command goes on.")
    answer_prompts(model, tokenizer, rows, verifier, args, top_alternatives=args.top_alternatives, hes=args.hes)
    records = read_for_page(Path(args.output_dir), args.max_answers)
    return records, plan_rules(args, records, model)


def write_analysis(args: AnalyzeArguments, records: list[ScoredAnswer], plans: list[PlannedTokens]) -> None:
    """
    Write the page, the plots and the tables of the forks of a model, and print a summary.

    Args:
        args ([`AnalyzeArguments`]):
            Which model, and what is shown.
        records (`list[ScoredAnswer]`):
            The answers.
        plans (`list[PlannedTokens]`):
            What each rule would train.
    """
    folder = Path(args.output_dir)
    summary = summarize(records, args.top_entropy_quantile, choose_min_count(records, args.min_count))
    figures = draw_figures(records, summary)
    write_tables(folder, summary)
    write_figures(folder, figures)
    title = f"Forks of {Path(args.model_name_or_path or '').name}"
    parts: dict[str, Any] = {}
    if plans:
        records = mark_planned(records, plans[0])
        parts = {"scores": plans[0].scores, "marked_by": f"the rule {plans[0].rule.name}"}
        parts["tables"] = [tabulate_overlap(plans)] if len(plans) > 1 else []
    write_page(folder / "report.html", records, title, vars(args), summary, figures, args.max_answers, **parts)
    print("\n".join([describe(summary), *describe_plans(plans), f"Page: {folder / 'report.html'}"]))


def plan_rules(args: AnalyzeArguments, records: list[ScoredAnswer], model: Any) -> list[PlannedTokens]:
    """
    Ask the rules of `token_selection` what they would train of the answers.

    Example:
    ```python
    >>> plan_rules(AnalyzeArguments(prompts="countdown", model_name_or_path="countdown"), [], None)
    []
    ```
    """
    rules = [find_rule(name) for name in args.list_rules()]
    is_scored_again = any(set(rule.needs) & {"sum_sq_probs", "is_top1"} for rule in rules)
    costly = score_costly(model, records, args.temperature) if is_scored_again else None
    return [plan_tokens(records, rule, args.top_entropy_quantile, costly) for rule in rules]


def describe_plans(plans: list[PlannedTokens]) -> list[str]:
    """
    Say what rules would train, and what each two of them have in common.

    Example:
    ```python
    >>> describe_plans([])
    []
    ```
    """
    num_tokens = sum(len(kept) for kept in plans[0].kept) if plans else 0
    sentences = [
        f"{plan.rule.name} would train {plan.count_kept():,} of {num_tokens:,} tokens: {plan.rule.facts.selects}."
        for plan in plans
    ]
    for name, other, num_kept, _, both, *_ in tabulate_overlap(plans)[2]:
        sentences.append(f"{name} and {other} have {both:,} tokens in common, of {num_kept:,} of {name}.")
    return sentences
