"""`trl-forking compare`: a base model and its checkpoints score the same answers, to show how far the forks moved."""

from ..data.model_path import check_model_path
from ..run.run_folder import check_output_folder
from ..run.user_errors import exit_on_user_error, require
from .answer_arguments import ANSWER_GROUPS, read_prompts
from .arguments import BUILT_IN, ForkingParser
from .compare_arguments import CompareArguments, order_by_step
from .quiet import quiet_libraries


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
    >>> from trl_forking.commands.compare import run_compare
    >>> from trl_forking.countdown import load_countdown_model, load_countdown_tokenizer
    >>> _ = load_countdown_model().save_pretrained("runs/same"), load_countdown_tokenizer().save_pretrained("runs/same")
    >>> run_compare(["--base", "countdown", "--checkpoints", "runs/same", "--prompts", "countdown", "--num_prompts", "2"])
    Order: countdown, runs/same. The last one writes the answers.
    Answers...
    ```
    """
    parser = ForkingParser(
        CompareArguments,
        prog="trl-forking compare",
        usage="trl-forking compare --base MODEL --checkpoints MODEL ... --prompts FILE [flags]",
        description="A base model and its checkpoints score the same answers, to show how far the forks moved.",
        groups={"Models": ["base", "checkpoints"], **ANSWER_GROUPS},
    )
    (args,) = parser.parse_args_and_config(flags)
    args.checkpoints = order_by_step(args.checkpoints)
    with exit_on_user_error(parser.debug), parser.naming_places():
        require("matplotlib", "trl-forking[analysis]")
        check_output_folder(args.output_dir)
        for path in (args.base, *args.checkpoints):
            if path != BUILT_IN:
                check_model_path(path)
        rows, verifier = read_prompts(args)
    quiet_libraries()
    from .model_comparison import compare_models, score_models

    with exit_on_user_error(parser.debug), parser.naming_places():
        compared = score_models(args, rows, verifier)
    compare_models(args, compared)
