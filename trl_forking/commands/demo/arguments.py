"""The flags of `trl-forking demo`, and what is checked before anything is imported that could train."""

import math
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...countdown import MAX_COMPLETION_LENGTH
from ...run.checkpoints import find_last_complete
from ...run.run_folder import check_output_folder
from ...run.user_errors import UserError, require
from ..early_checks import read_config


SETTINGS_FILE, RESULTS_FILE = "demo.json", "results.json"
GROUPS = {
    "Forking tokens": (
        *("top_entropy_quantile", "token_selection", "selection_scope", "loss_normalizer", "count_zero_advantage"),
    ),
    "Training": ("max_steps", "learning_rate", "seed", "compare"),
    "Files": ("output_dir", "resume", "json"),
}
"""The sections of `trl-forking demo --help`."""
_DEFAULT_FOLDER = Path("runs") / "demo"


@dataclass
class DemoArguments:
    """
    Train a model of 665,088 parameters to search for a number puzzle's solution, on its forking tokens only.

    Parameters:
        top_entropy_quantile, token_selection, selection_scope, loss_normalizer, count_zero_advantage:
            As in [`ForkingGRPOConfig`].
        max_steps (`int`, *optional*, defaults to `130`):
            Number of training steps.
        learning_rate (`float`, *optional*, defaults to `3e-4`):
            Learning rate of the first step. It falls linearly to zero.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the problems, the answers and the evaluation.
        compare (`str`, *optional*):
            `"all"` also trains all tokens, which is plain GRPO, for as many steps, with the same seed and problems, and
            compares the two models.
        output_dir (`str`, *optional*):
            Folder of the run. The default is the first of `runs/demo`, `runs/demo-2` and so on that does not exist.
        resume (`bool`, *optional*, defaults to `False`):
            Whether to go on with an interrupted run, with the settings that it was started with. The default is the
            newest run.
        json (`str`, *optional*):
            File to write the figures to.
    """

    top_entropy_quantile: float = field(
        default=0.2, metadata={"help": "Share of the tokens that is kept, in (0, 1]; 1.0 is plain GRPO."}
    )
    token_selection: str = field(
        default="high_entropy", metadata={"help": "Tokens to keep: high_entropy, low_entropy (control) or random."}
    )
    selection_scope: str = field(
        default="batch", metadata={"help": "What has one threshold: batch, micro_batch or sequence."}
    )
    loss_normalizer: str = field(
        default="kept", metadata={"help": "Which tokens are counted to divide the loss: kept or all."}
    )
    count_zero_advantage: bool = field(
        default=False, metadata={"help": "Whether tokens with zero advantage compete for the budget."}
    )
    max_steps: int = field(default=130, metadata={"help": "Number of training steps."})
    learning_rate: float = field(
        default=3e-4, metadata={"help": "Learning rate of the first step; it falls linearly to zero."}
    )
    seed: int = field(default=0, metadata={"help": "Seed of the problems, the answers and the evaluation."})
    compare: str | None = field(
        default=None,
        metadata={"help": "`all`: train plain GRPO too, and compare it with this run.", "choices": ["all"]},
    )
    output_dir: str | None = field(
        default=None,
        metadata={"help": "Folder of the run; by default the first new one of runs/demo, runs/demo-2, ..."},
    )
    resume: bool = field(
        default=False, metadata={"help": "Go on with an interrupted run: the newest, or the one in --output_dir."}
    )
    json: str | None = field(default=None, metadata={"help": "File to write the figures to."})


def check_demo(arguments: DemoArguments) -> Path:
    """
    Check the settings, and choose the folder.

    Args:
        arguments ([`DemoArguments`]):
            Settings.

    Returns:
        `Path`: folder of the run.

    Raises:
        [`UserError`]: if the folder holds another run, there is nothing to resume or matplotlib is missing.
        `ValueError`: if a field has a wrong value.

    Example:
    ```python
    >>> from trl_forking.commands.demo.arguments import DemoArguments, check_demo
    >>> check_demo(DemoArguments(max_steps=0))
    Traceback (most recent call last):
        ...
    trl_forking.run.user_errors.UserError: --max_steps must be positive, but it is 0; leave it out for the default.
    ```
    """
    require("matplotlib", "trl-forking[analysis]")
    _check_numbers(arguments)
    folder = _choose_folder(arguments)
    check_output_folder(folder)
    config_class = read_config()
    if config_class is not None and not arguments.resume:
        config_class(**collect_settings(arguments, folder))
    return folder


def collect_settings(arguments: DemoArguments, folder: Path) -> dict[str, Any]:
    """
    Collect the settings of the run of a demo, all but its device.

    Args:
        arguments ([`DemoArguments`]):
            Settings of the demo.
        folder (`Path`):
            Folder of the run.

    Returns:
        `dict[str, Any]`: fields of [`ForkingGRPOConfig`].

    Example:
    ```python
    >>> from trl_forking.commands.demo.arguments import DemoArguments, collect_settings
    >>> collect_settings(DemoArguments(), Path("runs/demo"))["max_steps"]
    130
    ```
    """
    return {
        "output_dir": str(folder),
        "top_entropy_quantile": arguments.top_entropy_quantile,
        "token_selection": arguments.token_selection,
        "selection_scope": arguments.selection_scope,
        "loss_normalizer": arguments.loss_normalizer,
        "count_zero_advantage": arguments.count_zero_advantage,
        "log_entropy": arguments.selection_scope != "micro_batch" or arguments.top_entropy_quantile == 1.0,
        "log_completions": True,
        "num_completions_to_print": 0,  # the demo shows one answer at the end instead of a table at every step
        "max_steps": arguments.max_steps,
        "learning_rate": arguments.learning_rate,
        "lr_scheduler_type": "linear",
        "adam_beta2": 0.99,
        "per_device_train_batch_size": 128,
        "num_generations": 8,
        "max_completion_length": MAX_COMPLETION_LENGTH,
        "bf16": False,  # so small a model gains nothing from it
        "gradient_checkpointing": False,
        "logging_steps": 1,
        "save_steps": 25,
        "save_total_limit": 1,
        "seed": arguments.seed,
        "report_to": "none",
        "disable_tqdm": True,
    }


def _check_numbers(arguments: DemoArguments) -> None:
    is_short, is_slow = arguments.max_steps < 1, not 0 < arguments.learning_rate < math.inf
    if is_short or is_slow:
        name = "max_steps" if is_short else "learning_rate"
        raise UserError(
            f"--{name} must be positive, but it is {getattr(arguments, name)}; leave it out for the default."
        )
    if not 0 <= arguments.seed < 2**32:
        raise UserError(f"--seed must be 0 to {2**32 - 1}, but it is {arguments.seed}; leave it out for the default.")
    if arguments.compare and arguments.top_entropy_quantile == 1.0:
        raise UserError(
            "--compare all trains with --top_entropy_quantile 1.0, and so does this run; leave one of them out."
        )


def _choose_folder(arguments: DemoArguments) -> Path:
    if arguments.resume:
        folder = Path(arguments.output_dir) if arguments.output_dir else _find_newest_run()
        if folder is None or not (folder / SETTINGS_FILE).exists():
            raise UserError(
                f"--resume: {folder or _DEFAULT_FOLDER.parent} holds no run of the demo; start one without --resume."
            )
        return folder
    if arguments.output_dir is None:
        numbered = (_DEFAULT_FOLDER.with_name(f"demo-{number}") for number in range(2, 10_000))
        return next(folder for folder in (_DEFAULT_FOLDER, *numbered) if not folder.exists())
    folder = Path(arguments.output_dir)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(
            f"--output_dir {folder} is not empty; name another folder, or add --resume to take up the run in it."
        )
    return folder


def _find_newest_run() -> Path | None:
    runs = [path.parent for path in _DEFAULT_FOLDER.parent.glob(f"demo*/{SETTINGS_FILE}")]
    runs = [run for run in runs if find_last_complete(str(run))] or runs
    unfinished = [run for run in runs if not (run / RESULTS_FILE).exists()]
    return max(unfinished or runs, key=lambda run: (run / SETTINGS_FILE).stat().st_mtime, default=None)


def format_resume(folder: Path) -> str:
    """
    Write the command that goes on with a run.

    Example:
    ```python
    >>> from trl_forking.commands.demo.arguments import format_resume
    >>> format_resume(Path("runs/demo"))
    'trl-forking demo --resume --output_dir runs/demo'
    ```
    """
    return f"trl-forking demo --resume --output_dir {shlex.quote(str(folder))}"
