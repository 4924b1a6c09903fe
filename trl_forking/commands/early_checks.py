"""
The checks of a training run before TRL's config is imported, which takes seconds.

The parser and the checks are those of the run itself, so that a mistake gets the same answer. Only the class of the config
is another one: its fields are read from the source of the installed packages. What cannot be told that way passes here, and
is checked when the config is imported.
"""

import dataclasses
import os
from collections.abc import Callable
from enum import Enum
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, NamedTuple

from ..run.run_folder import check_output_folder
from ..run.user_errors import exit_on_user_error
from ..selection.rules import check_rule_module, check_rule_name, is_import_path
from ..settings.method_checks import check_settings, explain_sizes
from ..settings.pairs import check_rollout_sizes
from ..settings.plain import find_field_types
from ..settings.source import Unreadable, read_class
from .arguments import ForkingParser
from .eval_data import check_eval_data
from .math_arguments import (
    check_arguments,
    check_dataset_name,
    check_model_name,
    find_checkpoint,
)
from .packages import check_packages
from .recipes import find_config


DEFAULT_OUTPUT_DIR = "trainer_output"
"""The folder that Transformers chooses where no other is set."""


class EarlySettings(NamedTuple):
    """
    Settings that were parsed without TRL's config.

    Attributes:
        parser ([`~trl_forking.commands.arguments.ForkingParser`]): it knows where each value stands.
        script (`Any`): problems and processes.
        training (`Any`): an object with the fields of [`ForkingGRPOConfig`] as they were written: TRL resolves some of them.
        model (`Any`): the model.
    """

    parser: ForkingParser
    script: Any
    training: Any
    model: Any


@lru_cache
def read_config() -> type | None:
    """
    Make a class with the fields of [`ForkingGRPOConfig`] and its own checks, without an import of TRL's config.

    Returns:
        `type` or `None`: a dataclass; `None` where the source of a package does not say what its fields are.

    Example:
    ```python
    >>> from trl_forking.commands.early_checks import read_config
    >>> read_config()("runs/x", temperature=0.0)
    Traceback (most recent call last):
        ...
    ValueError: temperature must be a finite number above 0, but it is 0.0: leave it out, or set it, for example to 1.0.
    ```
    """
    try:
        fields: Any = read_class("trl_forking.forking_grpo_config", "ForkingGRPOConfig")
    except Unreadable:
        return None

    @dataclasses.dataclass  # or its constructor would not run the checks
    class ReadConfig(fields):
        def __post_init__(self) -> None:
            self.output_dir = os.path.expanduser(getattr(self, "output_dir", None) or DEFAULT_OUTPUT_DIR)
            check_settings(self)
            check_rollout_sizes(self)
            for entry in dataclasses.fields(self):
                if entry.name in _needs_import(self) and getattr(self, entry.name) != entry.default:
                    raise Unreadable(entry.name)

    return ReadConfig


def _needs_import(config: Any) -> set[str]:
    """List the fields whose values the source does not say. Of an enumeration it says all but the default."""
    kind: type = type(config)
    types = find_field_types(kind)
    return {name for name in config.unread if not any(issubclass(each, Enum) for each in types[name])}


def parse_early(flags: list[str], make_parser: Callable[[Any], ForkingParser]) -> EarlySettings | None:
    """
    Parse the settings of a run without TRL's config.

    Args:
        flags (`list[str]`):
            The command line.
        make_parser (`Callable`):
            Makes the parser of the command for a class of the config. Its last three dataclasses are those of
            [`~trl_forking.commands.math_arguments.make_parser`].

    Returns:
        [`EarlySettings`] or `None`: `None` where only TRL's config can tell what the settings are.

    Raises:
        `SystemExit`: with code 0 after the help, and with code 2 and one sentence if a flag, a value or the YAML file is wrong.

    Example:
    ```python
    >>> from trl_forking.commands.early_checks import parse_early
    >>> from trl_forking.commands.math_arguments import make_parser
    >>> parse_early(["--learning_rate", "1e-5"], make_parser).training.learning_rate
    1e-05
    ```
    """
    config_class = read_config()
    if config_class is None:
        return None
    parser = make_parser(config_class)
    try:
        return EarlySettings(parser, *parser.parse_args_and_config(flags)[-3:])
    except Unreadable:
        return None


def choose_help_config(flags: list[str]) -> Any:
    """
    Choose the class of the config for the help. The short help has no field that only an import could tell about.

    Args:
        flags (`list[str]`):
            The command line.

    Returns:
        `type`: the class that [`read_config`] makes, or [`ForkingGRPOConfig`] where `--help-all` shows every flag.

    Example:
    ```python
    >>> from trl_forking.commands.early_checks import choose_help_config
    >>> choose_help_config(["--help"]).__name__, choose_help_config(["--help-all"]).__name__
    ('ReadConfig', 'ForkingGRPOConfig')
    ```
    """
    config_class = None if {"--help-all", "--help_all"} & set(flags) else read_config()
    if config_class is not None:
        return config_class
    from ..forking_grpo_config import ForkingGRPOConfig

    return ForkingGRPOConfig


def check_early(early: EarlySettings) -> None:
    """
    Check values that belong together, and what they name, as the run itself does.

    Args:
        early ([`EarlySettings`]):
            The settings.

    Raises:
        `SystemExit`: with code 2 and one sentence if something is wrong.

    Example:
    ```python
    >>> from trl_forking.commands.early_checks import check_early, parse_early
    >>> from trl_forking.commands.math_arguments import make_parser
    >>> check_early(parse_early(["--model_name_or_path", "countdown"], make_parser))
    Traceback (most recent call last):
        ...
    SystemExit: 2
    ```
    """
    parser, script, training, model = early
    with exit_on_user_error(parser.debug), parser.naming_places():
        _check_rules(training)
        check_arguments(script, training, model, parser.config_path or "command line")
        if script.dry_run:
            return
        check_packages(script, training, model)
        check_dataset_name(script)
        check_eval_data(script, training)
        check_model_name(model)
        check_output_folder(training.output_dir)
        find_checkpoint(training)
        if script.accelerate_config is not None:
            find_config(script.accelerate_config, "accelerate_configs")


def _check_rules(training: Any) -> None:
    for name in ("token_rule", "token_selection"):
        rule = getattr(training, name)
        try:
            if rule is not None:
                check_rule_name(rule)
            if is_import_path(rule):
                check_rule_module(rule)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None


def check_sizes(early: EarlySettings, num_processes: int) -> None:
    """
    Check that the sizes of the batches divide each other.

    Args:
        early ([`EarlySettings`]):
            The settings.
        num_processes (`int`):
            Number of processes that will run.

    Raises:
        `SystemExit`: with code 2 and one sentence that names the sizes that would fit.

    Example:
    ```python
    >>> from trl_forking.commands.early_checks import check_sizes, parse_early
    >>> from trl_forking.commands.math_arguments import make_parser
    >>> check_sizes(parse_early(["--num_generations", "7"], make_parser), num_processes=1)
    Traceback (most recent call last):
        ...
    SystemExit: 2
    ```
    """
    training = early.training
    micro_batch = training.per_device_train_batch_size * num_processes
    total, steps = training.generation_batch_size, training.steps_per_generation
    if total is not None and steps is not None:
        return  # which TRL refuses
    if total is None:
        steps = steps or training.gradient_accumulation_steps
        total = micro_batch * steps
    elif total % micro_batch == 0:
        steps = total // micro_batch
    resolved = vars(training) | {"generation_batch_size": total, "steps_per_generation": steps}
    resolved |= {"world_size": num_processes, "do_eval": training.do_eval or training.eval_strategy != "no"}
    with exit_on_user_error(early.parser.debug), early.parser.naming_places():
        if error := explain_sizes(SimpleNamespace(**resolved)):
            raise error
