"""The flags of a training run on math problems, and the checks that come before anything is loaded."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from trl import ModelConfig, ScriptArguments

from ..data.model_path import check_model_path
from ..data.sources import check_source
from ..run.checkpoints import describe_finished, find_any_checkpoint, resolve_checkpoint
from ..run.run_folder import find_saved_model
from ..run.user_errors import UserError, check_at_least
from ..settings.limits import check_choice
from .arguments import BUILT_IN, ForkingParser
from .launch import LaunchArguments, read_launch_arguments
from .settings import count, plan_config


if TYPE_CHECKING:
    from ..forking_grpo_config import ForkingGRPOConfig


LORA_TASKS = ("CAUSAL_LM", "SEQ_2_SEQ_LM", "SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS", "FEATURE_EXTRACTION")
_NUM_REWARDS = 2  # of `build_rewards`
_ELSEWHERE = {
    *("top_entropy_quantile", "token_selection", "selection_scope", "loss_normalizer", "count_zero_advantage"),
    *("dynamic_sampling", "dynamic_sampling_max_rounds", "loss_type", "epsilon_high", "sparse_update", "log_entropy"),
    *("balance_micro_batches", "balance_ranks", "max_tokens_per_micro_batch", "entropy_from_generation"),
    "overwrite_output_dir",
}
_GROUPS = {
    "Model": ("gguf_file",),
    "Data and reward": (
        *("prompt_template", "max_prompt_length", "soft_overlong_cache", "eval_data", "eval_num_problems"),
    ),
    "Forks": (
        *("top_entropy_quantile", "token_selection", "selection_scope", "loss_normalizer", "count_zero_advantage"),
        *("dynamic_sampling", "dynamic_sampling_max_rounds", "loss_type", "epsilon_high"),
        # Further fields of the method come here by themselves: see `_list_groups`.
    ),
    "Batch": ("sparse_update", "balance_micro_batches", "balance_ranks", "max_tokens_per_micro_batch"),
    "Generation": ("entropy_from_generation",),
    "Launch": tuple(LaunchArguments.__annotations__),
    "Hub": (),
    "Logging": ("log_entropy", "report_forks_every", "overwrite_output_dir"),
}
# What of TRL and Transformers is often set. `--help` shows the names.
_ALSO = {
    "Model": ("model_name_or_path", "dtype", "use_peft", "lora_r", "load_in_4bit", "attn_implementation"),
    "Data and reward": ("dataset_name", "dataset_config", "dataset_train_split", "reward_weights"),
    "Batch": (
        *("max_steps", "num_train_epochs", "learning_rate", "per_device_train_batch_size", "num_generations"),
        *("gradient_accumulation_steps", "steps_per_generation", "num_iterations", "seed"),
    ),
    "Generation": ("max_completion_length", "temperature", "top_p", "top_k", "use_vllm", "vllm_mode"),
    "Launch": ("use_cpu", "bf16", "gradient_checkpointing"),
    "Hub": ("push_to_hub", "hub_model_id", "hub_private_repo", "hub_token"),
    "Logging": (
        *("output_dir", "logging_steps", "report_to", "save_steps", "save_total_limit", "resume_from_checkpoint"),
        *("log_completions", "eval_strategy", "eval_steps"),
    ),
}
_OFTEN_SET = tuple(name for names in _ALSO.values() for name in names)


@dataclass
class MathArguments(LaunchArguments, ScriptArguments):
    """
    Problems, prompt and reward of a training run on math problems.

    Parameters:
        prompt_template (`str`, *optional*, defaults to `"chat"`):
            `"chat"`: the chat template of the model; `"paper"`: the plain text of the paper, for base models.
        max_prompt_length (`int`, *optional*):
            Largest number of tokens of a prompt. Longer prompts are left out.
        soft_overlong_cache (`int`, *optional*, defaults to `0`):
            How many of the last tokens of `max_completion_length` are penalized, each a little more.
        gguf_file (`str`, *optional*):
            A GGUF file in the folder `model_name_or_path`.
        eval_data (`list[str]`, *optional*):
            Problem sets of evaluations while training, as for `trl-forking evaluate --data`: `aime24`, `aime25`, `amc23`,
            `math500`, `minerva`, `olympiad`, files, data sets of the Hub, or `"countdown"`. The default is the split
            `dataset_test_split` of `dataset_name`.
        eval_num_problems (`int`, *optional*):
            Number of problems to take from each set, from the first one on; by default all.
        report_forks_every (`int`, *optional*):
            Steps from one page of forks to the next, see [`~trl_forking.analysis.ForkReportCallback`]; 0 for no page. By
            default the last step alone has a page.

    Raises:
        `ValueError`: if a number is below 1.

    Example:
    ```python
    >>> from trl_forking.commands.math_arguments import MathArguments
    >>> MathArguments(dataset_name="problems.jsonl").prompt_template
    'chat'
    ```
    """

    prompt_template: Literal["chat", "paper"] = field(
        default="chat", metadata={"help": "`chat`: the model's own; `paper`: the paper's plain text, for base models."}
    )
    max_prompt_length: int | None = field(default=None, metadata={"help": "Leave out prompts that have more tokens."})
    soft_overlong_cache: int = field(
        default=0, metadata={"help": "How many of the last tokens of `max_completion_length` are penalized."}
    )
    gguf_file: str | None = field(default=None, metadata={"help": "GGUF file in the folder `model_name_or_path`."})
    eval_data: list[str] | None = field(
        default=None,
        metadata={"help": "Problem sets of evaluations while training, as of `evaluate --data`."},
    )
    eval_num_problems: int | None = field(
        default=None, metadata={"help": "Number of problems of each of these sets; all by default."}
    )
    report_forks_every: int | None = field(
        default=None,
        metadata={"help": "Steps from one page of forks to the next; 0: none; by default the last step."},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, self, "max_prompt_length", "eval_num_problems")
        check_at_least(0, self, "report_forks_every")


def make_parser(
    config_class: "type[ForkingGRPOConfig] | None" = None, notes: Iterable[str] = (), **kwargs: Any
) -> ForkingParser:
    """
    Make the parser of a training run on math problems.

    Args:
        config_class (`type[ForkingGRPOConfig]`, *optional*, defaults to [`ForkingGRPOConfig`]):
            The config of the trainer.
        notes (`Iterable[str]`, *optional*):
            Paragraphs that `--help` shows at its end.
        **kwargs:
            Additional keyword arguments of [`~trl_forking.commands.arguments.ForkingParser`].

    Returns:
        [`~trl_forking.commands.arguments.ForkingParser`]: it parses into `MathArguments`, the config and `ModelConfig`.

    Example:
    ```python
    >>> from trl_forking.commands.math_arguments import make_parser
    >>> script_args, training_args, model_args = make_parser().parse_args_and_config(["--dataset_name", "x"])
    >>> script_args.dataset_name
    'x'
    ```
    """
    kwargs.setdefault("description", "Train a model on math problems, with gradient on its forking tokens only.")
    if config_class is None:
        from ..forking_grpo_config import ForkingGRPOConfig

        config_class = ForkingGRPOConfig
    groups = _list_groups(config_class)
    return ForkingParser((MathArguments, config_class, ModelConfig), groups=groups, also=_ALSO, notes=notes, **kwargs)


def _list_groups(config_class: type) -> dict[str, tuple[str, ...]]:
    own = next(kind for kind in config_class.__mro__ if kind.__name__ == "ForkingGRPOConfig").__annotations__
    return _GROUPS | {"Forks": (*_GROUPS["Forks"], *(name for name in own if name not in _ELSEWHERE))}


def choose_config_class(args: list[str] | None = None) -> "type[ForkingGRPOConfig]":
    """
    Choose the config class: a dry run needs one that counts for the processes that the real run would have.

    Args:
        args (`list[str]`, *optional*, defaults to `sys.argv[1:]`):
            The command line of a training run, with its YAML file.

    Returns:
        `type[ForkingGRPOConfig]`: the class to parse the rest into.

    Example:
    ```python
    >>> from trl_forking.commands.math_arguments import choose_config_class
    >>> choose_config_class(["--num_processes", "8"]).__name__, choose_config_class(["--dry_run"]).__name__
    ('ForkingGRPOConfig', 'PlannedConfig')
    ```
    """
    from ..forking_grpo_config import ForkingGRPOConfig

    launch = read_launch_arguments(args)
    return plan_config(launch.num_processes or 1) if launch.dry_run else ForkingGRPOConfig


# Checks before anything is loaded --------------------------------------------------------------------------------------


def check_arguments(
    script_args: MathArguments, training_args: "ForkingGRPOConfig", model_args: ModelConfig, source: str
) -> None:
    """
    Refuse values that would fail later, before anything is loaded.

    Args:
        script_args ([`MathArguments`]):
            Problems and reward.
        training_args ([`ForkingGRPOConfig`]):
            Settings of the trainer.
        model_args ([`~trl.ModelConfig`]):
            The model.
        source (`str`):
            Where the values were written, for the message.

    Raises:
        [`UserError`]: if a value is missing or does not fit another one.

    Example:
    ```python
    >>> from trl_forking.commands.math_arguments import check_arguments, make_parser
    >>> check_arguments(*make_parser().parse_args_and_config([]), "train.yaml")
    Traceback (most recent call last):
        ...
    trl_forking.run.user_errors.UserError: train.yaml: model_name_or_path is missing: give a model of the Hub or a folder.
    ```
    """
    if not model_args.model_name_or_path:
        raise UserError(f"{source}: model_name_or_path is missing: give a model of the Hub or a folder.")
    if not script_args.dataset_name:
        raise UserError(
            f"{source}: dataset_name is missing: give a data set of the Hub, or a file such as problems.jsonl."
        )
    if (script_args.dataset_name == BUILT_IN) != (model_args.model_name_or_path == BUILT_IN):
        raise UserError(
            f"{source}: the built-in model knows the built-in task only, but model_name_or_path is "
            f"{model_args.model_name_or_path} and dataset_name is {script_args.dataset_name}: set both to {BUILT_IN}, or none."
        )
    if model_args.model_name_or_path == BUILT_IN and script_args.gguf_file is not None:
        raise UserError(
            f"{source}: gguf_file is {script_args.gguf_file}, but the built-in model has none: leave it out."
        )
    if model_args.use_peft:
        check_choice("lora_task_type", model_args.lora_task_type, LORA_TASKS)
    weights = training_args.reward_weights
    if weights is not None and len(weights) != _NUM_REWARDS:
        raise UserError(
            f"reward_weights has {count(len(weights), 'number')}, but this command has two rewards, for a right answer and for "
            "an overlong one: set two, such as 1.0 and 1.0."
        )
    longest = training_args.max_completion_length
    if not 0 <= script_args.soft_overlong_cache <= longest:
        raise UserError(
            f"soft_overlong_cache must be 0 to {longest} (max_completion_length), but it is "
            f"{script_args.soft_overlong_cache}."
        )
    needed, window = longest + (script_args.max_prompt_length or 1), training_args.vllm_max_model_length
    if window is not None and window < needed:
        raise UserError(f"vllm_max_model_length is {window}: prompt and answer take up to {needed} tokens.")


def check_dataset_name(script_args: MathArguments) -> None:
    """
    Refuse a data set whose name looks like a file that does not exist, before anything is loaded.

    Args:
        script_args ([`MathArguments`]):
            Which problems.

    Raises:
        [`UserError`]: if there is no such file. The message names the nearest one.

    Example:
    ```python
    >>> from trl_forking.commands.math_arguments import MathArguments
    >>> from trl_forking.commands.math_arguments import check_dataset_name
    >>> check_dataset_name(MathArguments(dataset_name="./problems"))
    Traceback (most recent call last):
        ...
    trl_forking.run.user_errors.UserError: There is no file or folder ./problems...
    ```
    """
    if script_args.dataset_name != BUILT_IN:
        check_source(script_args.dataset_name)


def check_model_name(model_args: ModelConfig) -> None:
    """
    Refuse a model whose name looks like a folder that does not exist, before anything is loaded.

    Args:
        model_args ([`~trl.ModelConfig`]):
            The model.

    Raises:
        `ValueError`: if there is no such folder. The message names the nearest one.

    Example:
    ```python
    >>> from trl import ModelConfig
    >>> from trl_forking.commands.math_arguments import check_model_name
    >>> check_model_name(ModelConfig("./runs/no_such_model"))
    Traceback (most recent call last):
        ...
    ValueError: There is no model at ./runs/no_such_model: give a folder, a GGUF file or a name of the Hub.
    ```
    """
    if model_args.model_name_or_path and model_args.model_name_or_path != BUILT_IN:
        check_model_path(model_args.model_name_or_path)


def find_checkpoint(training_args: "ForkingGRPOConfig") -> str | bool | None:
    """
    Find the checkpoint that the trainer resumes from.

    Args:
        training_args ([`ForkingGRPOConfig`]):
            Settings. `resume_from_checkpoint` may be a folder, or `true` or `last` for the newest checkpoint.

    Returns:
        `str`, `bool` or `None`: the folder, or `None` for a new run.

    Raises:
        [`UserError`]: if a new run would write over another run.
        `ValueError`: if there is no such checkpoint.

    Example:
    ```python
    >>> from trl_forking import ForkingGRPOConfig
    >>> from trl_forking.commands.math_arguments import find_checkpoint
    >>> find_checkpoint(ForkingGRPOConfig("runs/new")) is None
    True
    ```
    """
    folder = str(training_args.resume_from_checkpoint)
    if folder.lower() in ("none", "false"):
        last = find_any_checkpoint(training_args.output_dir)
        if last and not training_args.overwrite_output_dir:
            raise UserError(
                f"{last} is of another run: --resume_from_checkpoint true goes on with that run, or set another "
                "output_dir for a new one."
            )
        model = find_saved_model(str(training_args.output_dir))
        if model and not training_args.overwrite_output_dir:
            raise UserError(
                f"output_dir {model} holds the model of another run: set another output_dir, or write over it with "
                "--overwrite_output_dir."
            )
        return None
    return resolve_checkpoint(True if folder.lower() in ("true", "last") else folder, training_args.output_dir)


def find_finished(training_args: "ForkingGRPOConfig", checkpoint: str | bool | None) -> str | None:
    """
    Say that the run to resume is finished and its model is saved, before anything is loaded.

    Args:
        training_args ([`ForkingGRPOConfig`]):
            Settings.
        checkpoint (`str`, *optional*):
            What [`find_checkpoint`] found.

    Returns:
        `str` or `None`: a sentence, or `None` if there is something left to do.

    Example:
    ```python
    >>> from trl_forking import ForkingGRPOConfig
    >>> from trl_forking.commands.math_arguments import find_finished
    >>> find_finished(ForkingGRPOConfig("runs/new"), None) is None
    True
    ```
    """
    if find_saved_model(str(training_args.output_dir)) is None:
        return None  # it was ended before its model was saved
    return describe_finished(checkpoint, training_args.max_steps, training_args.num_train_epochs)
