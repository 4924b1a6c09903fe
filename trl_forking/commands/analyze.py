"""`trl-forking analyze`: a model answers prompts, and a page, plots and tables show its forks."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..analysis import ScoredAnswer, summarize
from ..analysis.page import choose_min_count, draw_figures, require_plots, write_figures, write_page, write_tables
from ..analysis.planned import PlannedTokens, mark_planned, plan_tokens, score_costly, tabulate_overlap
from ..analysis.summary import describe
from ..data.model_path import check_model_path
from ..run.run_folder import check_output_folder
from ..run.user_errors import check_at_least, exit_on_user_error
from ..selection.rules import Rule, find_rule
from .answers import ANSWER_GROUPS, AnswerArguments, answer_prompts, load, read_for_page, read_prompts
from .arguments import BUILT_IN, ForkingParser
from .quiet import quiet_libraries


@dataclass
class AnalyzeArguments(AnswerArguments):
    """
    Which model `trl-forking analyze` looks at, and what it shows.

    Parameters:
        model_name_or_path (`str`):
            Folder of a model or adapter, a name of the Hub, a `.gguf` file, or `"countdown"`.
        top_alternatives (`int`, *optional*, defaults to `5`):
            Number of alternatives that are noted at every token.
        min_count (`int`, *optional*):
            How often a token must occur to be in the lists. The default is 101, as in the paper. With fewer than 101,000
            tokens it is a thousandth of them, but at least 5.
        hes (`bool`, *optional*, defaults to `False`):
            Whether to score each answer by the sum of its highest 0.5 % entropies.
        max_answers (`int`, *optional*, defaults to `256`):
            Largest number of answers on the page.
        token_selection (`str`, *optional*):
            Rule whose tokens the page marks, with its score on hover: a name that `trl-forking rules` lists, or an import path.
            Several with commas between them are also compared, and the page marks the tokens of the first one.

    Raises:
        `ValueError`: if a value is missing or out of its range.

    Example:
    ```python
    >>> from trl_forking.commands.analyze import AnalyzeArguments
    >>> AnalyzeArguments(prompts="countdown", model_name_or_path="countdown").output_dir
    'runs/analysis'
    ```
    """

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Folder of a model or adapter, name of the Hub, `.gguf` file, or `countdown`."}
    )
    top_alternatives: int = field(
        default=5, metadata={"help": "Number of alternatives that are noted at every token."}
    )
    min_count: int | None = field(
        default=None, metadata={"help": "How often a token must occur to be listed; at most 101 by default."}
    )
    hes: bool = field(default=False, metadata={"help": "Score each answer by the sum of its highest 0.5 % entropies."})
    max_answers: int = field(default=256, metadata={"help": "Largest number of answers on the page."})
    token_selection: str | None = field(
        default=None,
        metadata={"help": "Rule whose tokens the page marks (`trl-forking rules`); several with commas are compared."},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model_name_or_path is None:
            raise ValueError("model_name_or_path is missing: give a model of the Hub, a folder, or countdown.")
        check_at_least(0, self, "top_alternatives")
        check_at_least(1, self, "max_answers", "min_count")
        self.find_rules()

    def find_rules(self) -> list[Rule]:
        """Return the rules that `token_selection` names."""
        return [find_rule(name.strip()) for name in (self.token_selection or "").split(",") if name.strip()]


def run_analyze(flags: list[str]) -> None:
    """
    Run `trl-forking analyze`.

    Args:
        flags (`list[str]`):
            Fields of [`AnalyzeArguments`] as flags.

    Raises:
        `SystemExit`: with code 2 and one sentence if a flag, a file or a value is wrong.

    Example:
    ```python
    >>> from pathlib import Path
    >>> from trl_forking.commands.analyze import run_analyze
    >>> run_analyze(["--model_name_or_path", "countdown", "--prompts", "countdown", "--num_prompts", "4"])
    Answers...
    >>> sorted(path.name for path in Path("runs/analysis").glob("*.html"))
    ['report.html']
    ```
    """
    quiet_libraries()
    parser = ForkingParser(
        AnalyzeArguments,
        prog="trl-forking analyze",
        usage="trl-forking analyze --model_name_or_path MODEL --prompts FILE [flags]",
        description="A model answers prompts, and a page, plots and tables show its forks.",
        groups={"Model": ["model_name_or_path"], **ANSWER_GROUPS}
        | {
            "Result": [
                *ANSWER_GROUPS["Result"],
                "top_alternatives",
                "min_count",
                "hes",
                "max_answers",
                "token_selection",
            ]
        },
    )
    (args,) = parser.parse_args_and_config(flags)
    folder = Path(args.output_dir)
    with exit_on_user_error(parser.debug):
        require_plots()
        check_output_folder(folder)
        if args.model_name_or_path != BUILT_IN:
            check_model_path(args.model_name_or_path)
        rows, verifier = read_prompts(args)
        model, tokenizer = load(args.model_name_or_path, args)
        print(f"Answers go to {folder}; after an interruption the same command goes on.")
        answer_prompts(model, tokenizer, rows, verifier, args, top_alternatives=args.top_alternatives, hes=args.hes)
        records = read_for_page(folder, args.max_answers)
        plans = plan_rules(args, records, model)
    summary = summarize(records, args.top_entropy_quantile, choose_min_count(records, args.min_count))
    figures = draw_figures(records, summary)
    write_tables(folder, summary)
    write_figures(folder, figures)
    title = f"Forks of {Path(args.model_name_or_path).name}"
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
    rules = args.find_rules()
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
        f"{plan.rule.name} would train {plan.count_kept():,} of {num_tokens:,} tokens: {plan.rule.selects}."
        for plan in plans
    ]
    for name, other, num_kept, _, both, *_ in tabulate_overlap(plans)[2]:
        sentences.append(f"{name} and {other} have {both:,} tokens in common, of {num_kept:,} of {name}.")
    return sentences
