"""What the demo does before its first step: it builds the trainer."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from ...countdown import (
    NUM_PROBLEMS,
    countdown_reward,
    load_countdown_model,
    load_countdown_tokenizer,
    make_countdown_dataset,
)
from ...forking_grpo_config import ForkingGRPOConfig
from ...forking_grpo_trainer import ForkingGRPOTrainer
from ...run.checkpoints import find_last_complete
from ...run.user_errors import UserError
from ...writing.files import write_atomically
from .arguments import SETTINGS_FILE, DemoArguments, check_demo, collect_settings


@dataclass(frozen=True)
class DemoRun:
    """A run that is ready to start: its settings, its trainer, and the checkpoint that it goes on from."""

    arguments: DemoArguments
    trainer: ForkingGRPOTrainer
    checkpoint: str | None

    @property
    def folder(self) -> Path:
        """Folder of the run."""
        return Path(self.trainer.args.output_dir)


def prepare_demo(arguments: DemoArguments) -> DemoRun:
    """
    Check the settings, choose the folder and build the trainer.

    Args:
        arguments ([`DemoArguments`]):
            Settings.

    Returns:
        [`DemoRun`]: the run, whose folder now exists.

    Raises:
        [`UserError`]: if the folder holds another run, there is nothing to resume or matplotlib is missing.
        `ValueError`: if a field has a wrong value.

    Example:
    ```python
    >>> from trl_forking.commands.demo import DemoArguments, prepare_demo
    >>> prepare_demo(DemoArguments(output_dir="runs/example", max_steps=1)).trainer.args.top_entropy_quantile
    0.2
    ```
    """
    folder, checkpoint = check_demo(arguments), None
    if arguments.resume:
        arguments, checkpoint = _read_settings(arguments, folder)
    trainer = build_demo_trainer(arguments, folder)
    write_atomically(folder / SETTINGS_FILE, json.dumps(asdict(arguments), indent=2))
    return DemoRun(arguments, trainer, checkpoint)


def prepare_comparison(run: DemoRun) -> DemoRun:
    """
    Prepare the run on all tokens that a demo is compared with: the same steps, seed and problems.

    Args:
        run ([`DemoRun`]):
            The demo.

    Returns:
        [`DemoRun`]: plain GRPO, in the folder `all_tokens` of the demo. It goes on where it was interrupted.
    """
    folder = run.folder / "all_tokens"
    arguments = replace(run.arguments, top_entropy_quantile=1.0, token_selection="high_entropy", compare=None)
    return DemoRun(arguments, build_demo_trainer(arguments, folder), find_last_complete(str(folder)))


def _read_settings(arguments: DemoArguments, folder: Path) -> tuple[DemoArguments, str]:
    checkpoint = find_last_complete(str(folder))
    if checkpoint is None:
        raise UserError(f"--resume: {folder} has no checkpoint; start a new run without --resume.")
    saved = json.loads((folder / SETTINGS_FILE).read_text())
    return DemoArguments(**{**saved, "resume": True, "json": arguments.json}), checkpoint


def build_demo_trainer(arguments: DemoArguments, folder: Path) -> ForkingGRPOTrainer:
    """Build the trainer of the demo, or of the run that it is compared with."""
    config = ForkingGRPOConfig(**collect_settings(arguments, folder), use_cpu=not torch.cuda.is_available())
    return ForkingGRPOTrainer(
        model=load_countdown_model(),
        reward_funcs=countdown_reward,
        args=config,
        train_dataset=make_countdown_dataset(
            "train", num_problems=min(16 * max(arguments.max_steps, 1), NUM_PROBLEMS["train"]), seed=arguments.seed
        ),
        processing_class=load_countdown_tokenizer(),
    )
