"""`trl-forking doctor`: says before a run what it will do, what it needs, and what stands in its way."""

import sys
import warnings
from dataclasses import dataclass, field
from typing import Any

from trl import ModelConfig

from ..run.user_errors import check_at_least, exit_on_user_error
from .arguments import ForkingParser
from .config_file import take_config
from .early_checks import check_sizes, choose_help_config, parse_early
from .estimates import GPUS
from .launch import choose_num_processes, count_gpus
from .math_arguments import MathArguments, check_arguments
from .recipes import find_config
from .settings import plan_config


@dataclass
class DoctorArguments:
    """
    What `trl-forking doctor` tries beyond the settings of a run.

    Parameters:
        probe (`int`, *optional*, defaults to `0`):
            Number of prompts to answer with the model, to see how many groups would have equal rewards.
        gpu (`str`, *optional*):
            Kind of GPU to compute memory and time for: `"h200"`, `"h100"`, `"a100"`, `"l40s"` or `"4090"`. The default is
            the GPU of this machine.
        mean_length (`int`, *optional*):
            Mean number of tokens of an answer, for the time. The default is what a probe measures, or else half of
            `max_completion_length`.

    Raises:
        `ValueError`: if a number is too low.

    Example:
    ```python
    >>> from trl_forking.commands.doctor import DoctorArguments
    >>> DoctorArguments(probe=16).gpu is None
    True
    ```
    """

    probe: int = field(
        default=0, metadata={"help": "Prompts to answer with the model, to see how many groups have equal rewards."}
    )
    gpu: str | None = field(
        default=None,
        metadata={
            "help": "GPU to compute for: h200, h100, a100, l40s, 4090; by default the one here.",
            "choices": [*GPUS],
        },
    )
    mean_length: int | None = field(
        default=None,
        metadata={"help": "Mean tokens of an answer; by default what the probe measures, or half the limit."},
    )

    def __post_init__(self) -> None:
        check_at_least(0, self, "probe")
        check_at_least(1, self, "mean_length")


def run_doctor(flags: list[str]) -> None:
    """
    Run `trl-forking doctor`.

    Args:
        flags (`list[str]`):
            Flags of `trl-forking grpo`, and fields of [`DoctorArguments`].

    Raises:
        `SystemExit`: with code 1 if something stands in the way of the run, and with code 2 and one sentence if a flag, a file
            or a value is wrong.

    Example:
    ```python
    >>> from trl_forking.commands.doctor import run_doctor
    >>> run_doctor(["--config", "cpu_smoke", "--output_dir", "runs/new"])
    Batch: 16 prompts x 8 answers a rollout on 1 process (128 answers each); 2 optimizer steps a rollout, 8 prompts each.
    ...
    Nothing stands in the way.
    ```
    """
    # TRL sets this field itself: nobody who reads the warning could do anything about it.
    warnings.filterwarnings("ignore", ".*gradient_checkpointing.* is deprecated", FutureWarning)
    _answer_help(flags)
    with exit_on_user_error("--debug" in flags):
        config, rest = take_config(flags)
        flags = rest if config is None else ["--config", str(find_config(config, "recipes")), *rest]
    early = parse_early(flags, make_doctor_parser)
    if early is not None:
        with exit_on_user_error(early.parser.debug), early.parser.naming_places():
            check_arguments(*early[1:], early.parser.config_path or "command line")
    num_gpus = count_gpus()
    flags, num_processes = choose_num_processes(flags, num_gpus)
    if early is not None:
        check_sizes(early, num_processes)
    parser = make_doctor_parser(plan_config(num_processes))
    doctor, script, training, model = parser.parse_args_and_config(flags)
    with exit_on_user_error(parser.debug), parser.naming_places():
        check_arguments(script, training, model, parser.config_path or "command line")
    from .examination import Examination, examine

    found = Examination(doctor, script, training, model, num_gpus)
    examine(found)
    if found.obstacles:
        print("\nIn the way:\n" + "\n".join(f"- {obstacle}" for obstacle in found.obstacles))
        sys.exit(1)
    print("\nNothing stands in the way.")


def _answer_help(flags: list[str]) -> None:
    """Print the help that a command line asks for, and exit."""
    if not {"-h", "--help", "--help-all", "--help_all"} & set(flags):
        return
    make_doctor_parser(choose_help_config(flags)).answer_help(flags)


def make_doctor_parser(config_class: Any) -> ForkingParser:
    """Make the parser: it takes the flags of `trl-forking grpo` too."""
    return ForkingParser(
        (DoctorArguments, MathArguments, config_class, ModelConfig),
        prog="trl-forking doctor",
        usage="trl-forking doctor --config RECIPE|FILE [--probe 16] [flags of grpo]",
        description="Say what a run of trl-forking grpo will do, what it needs, and what stands in its way.",
        groups={"Examination": DoctorArguments.__annotations__},
        notes=["All flags of trl-forking grpo are taken too."],
    )
