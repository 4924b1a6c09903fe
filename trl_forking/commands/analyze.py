"""`trl-forking analyze`: a model answers prompts, and a page, plots and tables show its forks."""

from ..data.model_path import check_model_path
from ..run.run_folder import check_output_folder
from ..run.user_errors import exit_on_user_error, require
from .analyze_arguments import AnalyzeArguments
from .answer_arguments import ANSWER_GROUPS, read_prompts
from .arguments import BUILT_IN, ForkingParser
from .quiet import quiet_libraries


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
    with exit_on_user_error(parser.debug), parser.naming_places():
        require("matplotlib", "trl-forking[analysis]")
        check_output_folder(args.output_dir)
        if args.model_name_or_path != BUILT_IN:
            check_model_path(args.model_name_or_path)
        rows, verifier = read_prompts(args)
    quiet_libraries()
    from .model_analysis import answer_and_plan, write_analysis

    with exit_on_user_error(parser.debug), parser.naming_places():
        records, plans = answer_and_plan(args, rows, verifier)
    write_analysis(args, records, plans)
