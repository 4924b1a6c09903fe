"""`trl-forking grpo`: checks the settings, then trains here or starts as many processes as the settings ask for."""

import os
import warnings
from typing import Any

from ..run.run_folder import check_output_folder
from ..run.user_errors import exit_on_user_error
from .arguments import ForkingParser
from .config_file import take_config
from .early_checks import check_early, check_sizes, choose_help_config, parse_early
from .eval_data import check_eval_data
from .launch import choose_launcher, choose_num_processes, count_gpus, replace_process
from .math_arguments import (
    check_arguments,
    check_dataset_name,
    check_model_name,
    find_checkpoint,
    find_finished,
    make_parser,
)
from .packages import check_packages
from .recipes import describe_recipes, find_config
from .settings import plan_config


def run_grpo(flags: list[str]) -> None:
    """
    Run `trl-forking grpo`, the short form of `accelerate launch ... -m trl_forking.commands.train_math ...`.

    The settings are checked here once, before any process is started. A run of one process trains in this process;
    for several processes, the launcher replaces this process.

    Args:
        flags (`list[str]`):
            Flags of [`~trl_forking.commands.train_math.main`]. `--config` also takes the name of a recipe.

    Raises:
        `SystemExit`: with code 2 and one sentence if a flag, a file or a value is wrong.

    Example:
    ```python
    >>> from trl_forking.commands.grpo import run_grpo
    >>> run_grpo(["--config", "cpu_smoke", "--dry_run"])
    # 16 prompts x 8 answers a rollout on 1 process (128 answers each); 2 optimizer steps a rollout, 8 prompts each.
    ...
    ```
    """
    environment = dict(os.environ)  # the processes must not inherit the variables that parsing sets
    # TRL sets this field itself: nobody who reads the warning could do anything about it.
    warnings.filterwarnings("ignore", ".*gradient_checkpointing.* is deprecated", FutureWarning)
    _answer_help(flags)
    with exit_on_user_error("--debug" in flags):
        flags = _resolve_recipe(flags)
    early = parse_early(flags, _make_grpo_parser)
    if early is not None:
        check_early(early)
    num_gpus = count_gpus()
    flags, num_processes = choose_num_processes(flags, num_gpus)
    if early is not None:
        check_sizes(early, num_processes)
    parser = _make_grpo_parser(plan_config(num_processes))
    script_args, training_args, model_args = parser.parse_args_and_config(flags)
    launcher: list[str] | None = None
    with exit_on_user_error(parser.debug), parser.naming_places():
        check_arguments(script_args, training_args, model_args, parser.config_path or "command line")
        if not script_args.dry_run:
            check_packages(script_args, training_args, model_args)
            check_dataset_name(script_args)
            check_eval_data(script_args, training_args)
            check_model_name(model_args)
            check_output_folder(training_args.output_dir)
            if sentence := find_finished(training_args, find_checkpoint(training_args)):
                print(sentence)
                return
            launcher = choose_launcher(script_args, training_args, num_gpus)
    if launcher is None:
        from .train_math import main as train_math

        train_math(flags)
    else:
        replace_process(launcher, flags, environment, num_processes)


def _answer_help(flags: list[str]) -> None:
    """Print the help that a command line asks for, and exit."""
    if not {"-h", "--help", "--help-all", "--help_all"} & set(flags):
        return
    _make_grpo_parser(choose_help_config(flags)).answer_help(flags)


def _make_grpo_parser(config_class: Any) -> ForkingParser:
    return make_parser(
        config_class,
        prog="trl-forking grpo",
        usage="trl-forking grpo --config RECIPE|FILE [flags]",
        description="Train a model on math problems, on one GPU or many. The command line overrides the YAML file, and the "
        "file overrides the defaults.",
        notes=[describe_recipes()],
    )


def _resolve_recipe(flags: list[str]) -> list[str]:
    """Replace the name of a recipe after `--config` by its path."""
    config, rest = take_config(flags)
    return rest if config is None else ["--config", str(find_config(config, "recipes")), *rest]
