"""
Train a language model on math problems, with gradient on its forking tokens only.

    trl-forking grpo --config cpu_smoke    # a recipe; starts as many processes as it needs
    python -m trl_forking.commands.train_math --config my.yaml

Every field of `ForkingGRPOConfig`, TRL's `ModelConfig` and `ScriptArguments` can stand in the file or on the command
line. The reward is 1 for the right answer in \\boxed{}, less the paper's penalty for overlong answers. Problems whose
answer math-verify can't read are left out. With `eval_strategy`, the problems of `eval_data` are answered while training.
`examples/train_math.py` builds the same trainer in the open, for readers who want to copy and edit it.
"""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trl import ModelConfig, get_peft_config

from ..card.model_card import set_aside_other_run
from ..card.run_files import write_config
from ..forking_grpo_config import ForkingGRPOConfig
from ..forking_grpo_trainer import ForkingGRPOTrainer
from ..hub.errors import PushError
from ..run.checkpoints import find_last_complete
from ..run.interruption import describe_command, exit_on_interruption
from ..run.run_folder import FullDiskError, check_output_folder
from ..run.schedule import check_schedule
from ..run.user_errors import exit_on_user_error
from ..verdict.history import collect_history
from ..verdict.verdict import judge_run
from .eval_data import check_eval_data, load_eval_dataset
from .math_arguments import (
    MathArguments,
    check_arguments,
    check_dataset_name,
    check_model_name,
    choose_config_class,
    find_checkpoint,
    find_finished,
    make_parser,
)
from .math_loading import (
    add_fork_pages,
    build_rewards,
    load_dataset,
    load_model,
    load_tokenizer,
)
from .packages import check_packages
from .settings import check_num_processes, describe_batch, format_settings


TRAINING_ERRORS = (FullDiskError, PushError)
"""Errors during training that one sentence explains, with what to do next. Any other error shows its traceback."""


@dataclass(frozen=True)
class MathRun:
    """
    A training run whose settings are read and checked.

    Attributes:
        arguments (`tuple`): [`MathArguments`], [`ForkingGRPOConfig`] and [`~trl.ModelConfig`].
        settings (`str`): the settings as YAML, as they were before loading changes them.
        checkpoint (`str`, `bool` or `None`): the checkpoint to resume from.
        debug (`bool`): whether a mistake shows its traceback.
    """

    arguments: tuple[MathArguments, ForkingGRPOConfig, ModelConfig]
    settings: str
    checkpoint: str | bool | None
    debug: bool


def read_run(args: list[str] | None = None) -> MathRun | None:
    """
    Read and check the settings of a run.

    Args:
        args (`list[str]`, *optional*, defaults to `sys.argv[1:]`):
            The command line, with its YAML file.

    Returns:
        [`MathRun`] or `None`: the run; `None` after a dry run, which prints the settings, and where nothing is left to do.

    Raises:
        `SystemExit`: with code 2 and one sentence if a flag, a file or a value is wrong.

    Example:
    ```python
    >>> from trl_forking.commands.train_math import read_run
    >>> read_run(["--model_name_or_path", "countdown", "--dataset_name", "countdown", "--dry_run"])
    # 1 prompt x 8 answers a rollout on 1 process (8 answers each); 1 optimizer step a rollout, 1 prompt each.
    ...
    ```
    """
    make_parser(ForkingGRPOConfig).answer_help(sys.argv[1:] if args is None else args)
    parser = make_parser(choose_config_class(args))
    script_args, training_args, model_args = parser.parse_args_and_config(args)
    source = parser.config_path or "command line"
    with exit_on_user_error(parser.debug), parser.naming_places():
        check_arguments(script_args, training_args, model_args, source)
        check_schedule(training_args)
        settings = format_settings(script_args, training_args, model_args)
        if script_args.dry_run:
            print(f"# {describe_batch(training_args)}\n{settings}")
            return None
        check_packages(script_args, training_args, model_args)
        check_dataset_name(script_args)
        check_eval_data(script_args, training_args)
        check_num_processes(script_args.num_processes, training_args, source)
        check_model_name(model_args)
        if training_args.process_index == 0:
            check_output_folder(training_args.output_dir)
        checkpoint = find_checkpoint(training_args)
        if training_args.process_index == 0 and (sentence := find_finished(training_args, checkpoint)):
            print(sentence)
            return None
    return MathRun((script_args, training_args, model_args), settings, checkpoint, parser.debug)


def build_trainer(run: MathRun) -> ForkingGRPOTrainer:
    """
    Build the trainer of a run from its tokenizer, problems, rewards and model.

    Args:
        run ([`MathRun`]):
            The run.

    Returns:
        [`ForkingGRPOTrainer`]: the trainer, before its first step.

    Raises:
        `SystemExit`: with code 2 and one sentence if a part cannot be loaded, or if the parts do not fit together.

    Example:
    ```python
    >>> from trl_forking.commands.train_math import build_trainer, read_run
    >>> flags = ["--model_name_or_path", "countdown", "--dataset_name", "countdown", "--output_dir", "runs/built"]
    >>> build_trainer(read_run([*flags, "--use_cpu", "--bf16", "false"])).reward_func_names
    ['countdown_reward', 'soft_overlong_punishment_reward']
    ```
    """
    script_args, training_args, model_args = run.arguments
    with exit_on_user_error(run.debug):
        tokenizer = load_tokenizer(script_args, training_args, model_args)
        trainer = ForkingGRPOTrainer(
            args=training_args,
            reward_funcs=build_rewards(script_args, training_args),
            train_dataset=load_dataset(script_args, training_args, model_args, tokenizer),
            eval_dataset=load_eval_dataset(script_args, training_args, model_args, tokenizer),
            processing_class=tokenizer,
            peft_config=get_peft_config(model_args),
            **load_model(script_args.gguf_file, training_args, model_args),
        )
        trainer.prints_verdict = False  # the end of the command does
        add_fork_pages(trainer, script_args.report_forks_every)
        return trainer


def begin_run(run: MathRun, trainer: ForkingGRPOTrainer) -> None:
    """
    Print the batch of a run, and write the settings of the run into its folder.

    A new run first moves the files of an earlier run aside, because the card would show them as its own.

    Args:
        run ([`MathRun`]):
            The run.
        trainer ([`ForkingGRPOTrainer`]):
            The trainer, before its first step.
    """
    _, training_args, _ = run.arguments
    trainer.accelerator.print(describe_batch(training_args))
    if trainer.is_world_process_zero():
        if run.checkpoint is None:
            set_aside_other_run(training_args.output_dir)
        write_config(training_args.output_dir, run.settings)


def train_and_save(run: MathRun, trainer: ForkingGRPOTrainer) -> None:
    """
    Train, and save the model into the folder of the run.

    Args:
        run ([`MathRun`]):
            The run, with the checkpoint to resume from.
        trainer ([`ForkingGRPOTrainer`]):
            The trainer.

    Raises:
        `SystemExit`: with code 2 and one sentence if the disk is full or a push fails.
    """
    begin_run(run, trainer)
    with exit_on_user_error(run.debug, TRAINING_ERRORS):
        trainer.train(resume_from_checkpoint=run.checkpoint)
        trainer.save_model(trainer.args.output_dir)
    end_run(trainer)


def end_run(trainer: ForkingGRPOTrainer) -> None:
    """
    Print what the run shows, and where it is.

    Args:
        trainer ([`ForkingGRPOTrainer`]):
            The trainer, after its last step.
    """
    if trainer.is_world_process_zero():
        settings = {"dynamic_sampling": trainer.args.dynamic_sampling}
        print("\n".join(judge_run(collect_history(trainer.state.log_history, settings)).sentences))
    trainer.accelerator.print(f"Saved to {trainer.args.output_dir}")
    trainer.accelerator.end_training()


def main(args: list[str] | None = None) -> ForkingGRPOTrainer | None:
    """
    Train a model on math problems.

    Args:
        args (`list[str]`, *optional*, defaults to `sys.argv[1:]`):
            The command line, with its YAML file.

    Returns:
        [`ForkingGRPOTrainer`] or `None`: the trainer after training, or `None` after a dry run.

    Raises:
        `SystemExit`: with code 2 and one sentence for a mistake of the user; with code 130 or 143 after a signal, and the
            command that goes on.

    Example:
    ```python
    >>> from trl_forking.commands.train_math import main
    >>> sizes = ["--max_steps", "1", "--num_generations", "2", "--per_device_train_batch_size", "2"]
    >>> names = ["--model_name_or_path", "countdown", "--dataset_name", "countdown", "--output_dir", "runs/one-step"]
    >>> trainer = main([*names, *sizes, "--use_cpu", "--bf16", "false", "--report_to", "none"])
    1 prompt x 2 answers a rollout on 1 process (2 answers each); 1 optimizer step a rollout, 1 prompt each.
    ...
    >>> trainer.state.global_step
    1
    ```
    """
    is_parallel = int(os.environ.get("WORLD_SIZE", "1")) > 1
    is_first = os.environ.get("RANK", "0") == "0"
    place: dict[str, Any] = {}
    with exit_on_interruption(_describe_interruption(args, place), is_quiet=not is_first, at_once=is_parallel):
        run = read_run(args)
        if run is None:
            return None
        place |= {"output_dir": run.arguments[1].output_dir, "since": 0.0 if run.checkpoint else time.time()}
        trainer = build_trainer(run)
        train_and_save(run, trainer)
        return trainer


def _describe_interruption(args: list[str] | None, place: dict[str, Any]) -> Callable[[], str]:
    """Say which checkpoint of this run is complete, and the command that goes on from it, or the one that starts again."""

    def describe() -> str:
        flags = sys.argv[1:] if args is None else args
        checkpoint = find_last_complete(**place) if place else None
        if checkpoint is None:
            return f"Interrupted. No checkpoint is complete yet; this starts again:\n{describe_command('grpo', flags)}"
        left_out = ("resume_from_checkpoint", "overwrite_output_dir")
        command = describe_command("grpo", flags, left_out, ["--resume_from_checkpoint", "true"])
        return f"Interrupted. The last complete checkpoint is {checkpoint}; this goes on from it:\n{command}"

    return describe


if __name__ == "__main__":
    main()
