"""The batch sizes that follow from the settings of a run, and a YAML file that repeats the run."""

import dataclasses
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import yaml

from ..run.user_errors import UserError
from ..settings.plain import make_plain


if TYPE_CHECKING:
    from ..forking_grpo_config import ForkingGRPOConfig


def plan_config(num_processes: int) -> "type[ForkingGRPOConfig]":
    """
    Make a config class that computes batch sizes for processes that have not been started.

    Args:
        num_processes (`int`):
            Number of processes that will run.

    Returns:
        `type[ForkingGRPOConfig]`: its instances resolve and check batch sizes as TRL does on that many processes.

    Example:
    ```python
    >>> from trl_forking.commands.settings import plan_config
    >>> plan_config(32)("runs/x", per_device_train_batch_size=1, steps_per_generation=256).generation_batch_size
    8192
    ```
    """

    from ..forking_grpo_config import ForkingGRPOConfig

    class PlannedConfig(ForkingGRPOConfig):
        world_size = property(lambda self: num_processes)  # type: ignore[assignment]

    return PlannedConfig


@dataclass(frozen=True)
class Batch:
    """
    The batch of a run, in prompts, answers and steps.

    Attributes:
        prompts_per_rollout (`int`): prompts of a rollout batch.
        answers_per_prompt (`int`): answers to each prompt.
        prompts_per_step (`Fraction`): prompts of an optimizer step.
        steps_per_rollout (`Fraction`): optimizer steps on a rollout batch, below 1 if a step takes several batches.

    Example:
    ```python
    >>> from trl_forking.commands.settings import compute_batch, plan_config
    >>> compute_batch(plan_config(2)("runs/x", per_device_train_batch_size=8, num_generations=4)).prompts_per_rollout
    4
    ```
    """

    prompts_per_rollout: int
    answers_per_prompt: int
    prompts_per_step: Fraction
    steps_per_rollout: Fraction


def compute_batch(args: "ForkingGRPOConfig") -> Batch:
    """
    Compute the batch of a config on its number of processes.

    Args:
        args ([`ForkingGRPOConfig`]):
            Settings, resolved.

    Returns:
        [`Batch`]: prompts, answers and steps.

    Example:
    ```python
    >>> from trl_forking.commands.settings import compute_batch, plan_config
    >>> sizes = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 16, "steps_per_generation": 256}
    >>> compute_batch(plan_config(32)("runs/x", num_generations=16, **sizes)).steps_per_rollout
    Fraction(16, 1)
    ```
    """
    answers_per_step = args.per_device_train_batch_size * args.world_size * args.gradient_accumulation_steps
    return Batch(
        prompts_per_rollout=args.generation_batch_size // args.num_generations,
        answers_per_prompt=args.num_generations,
        prompts_per_step=Fraction(answers_per_step, args.num_generations),
        steps_per_rollout=Fraction(args.generation_batch_size * args.num_iterations, answers_per_step),
    )


def describe_batch(args: "ForkingGRPOConfig") -> str:
    """
    Describe the batch of a config in one sentence.

    Args:
        args ([`ForkingGRPOConfig`]):
            Settings, resolved.

    Returns:
        `str`: the sentence.

    Example:
    ```python
    >>> from trl_forking.commands.settings import describe_batch, plan_config
    >>> sizes = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 16, "steps_per_generation": 256}
    >>> describe_batch(plan_config(32)("runs/x", num_generations=16, **sizes))
    '512 prompts x 16 answers a rollout on 32 processes (256 answers each); 16 optimizer steps a rollout, 32 prompts each.'
    ```
    """
    batch, num_processes = compute_batch(args), args.world_size
    each = Fraction(args.generation_batch_size, num_processes)
    steps = batch.steps_per_rollout
    return (
        f"{count(batch.prompts_per_rollout, 'prompt')} x {count(batch.answers_per_prompt, 'answer')} a rollout on "
        f"{count(num_processes, 'process', 'processes')} ({each} answers each); "
        + (count(steps, "optimizer step") + " a rollout" if steps >= 1 else f"{1 / steps} rollouts an optimizer step")
        + f", {count(batch.prompts_per_step, 'prompt')} each."
    )


def count(number: int | Fraction, noun: str, plural: str | None = None) -> str:
    """
    Write a number with its noun.

    Args:
        number (`int` or `Fraction`):
            The number.
        noun (`str`):
            The noun in the singular.
        plural (`str`, *optional*):
            Its plural, where it is not the noun with an `s`.

    Returns:
        `str`: the number, and the noun in the singular or plural.

    Example:
    ```python
    >>> from trl_forking.commands.settings import count
    >>> count(1, "process", "processes"), count(2, "prompt")
    ('1 process', '2 prompts')
    ```
    """
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def check_num_processes(num_processes: int | None, args: "ForkingGRPOConfig", source: str) -> None:
    """
    Check that the number of processes that run is the one in the settings.

    Args:
        num_processes (`int` or `None`):
            Number of processes in the settings, if they have one.
        args ([`ForkingGRPOConfig`]):
            Settings, resolved for the processes that run.
        source (`str`):
            Where the number was written, for the message.

    Raises:
        [`UserError`]: if another number runs; the message has the flags that keep the batch on that number.

    Example:
    ```python
    >>> from trl_forking.commands.settings import check_num_processes, plan_config
    >>> args = plan_config(8)("runs/x", per_device_train_batch_size=1, gradient_accumulation_steps=16)
    >>> check_num_processes(32, args, "paper.yaml")
    Traceback (most recent call last):
        ...
    trl_forking.run.user_errors.UserError: paper.yaml: num_processes is 32, but 8 run: start 32 with trl-forking grpo or
    accelerate launch, or keep the batch with --num_processes 8 --gradient_accumulation_steps 64 --steps_per_generation 64.
    ```
    """
    if num_processes is None or num_processes == args.world_size:
        return
    raise UserError(
        f"{source}: num_processes is {num_processes}, but {args.world_size} run: start {num_processes} with trl-forking "
        f"grpo or accelerate launch{suggest_batch(args, num_processes, args.world_size)}."
    )


def suggest_batch(args: "ForkingGRPOConfig", meant_for: int, num_processes: int) -> str:
    """
    Suggest flags that keep the batch on another number of processes.

    Args:
        args ([`ForkingGRPOConfig`]):
            Settings.
        meant_for (`int`):
            Number of processes that the settings are made for.
        num_processes (`int`):
            Number of processes to keep the batch on.

    Returns:
        `str`: the end of a sentence, or nothing if the flags would not be whole numbers.

    Example:
    ```python
    >>> from trl_forking.commands.settings import plan_config, suggest_batch
    >>> suggest_batch(plan_config(8)("runs/x", gradient_accumulation_steps=3), meant_for=8, num_processes=6)
    ', or keep the batch with --num_processes 6 --gradient_accumulation_steps 4 --steps_per_generation 4'
    ```
    """
    names = ("gradient_accumulation_steps", "steps_per_generation")
    values = [Fraction(getattr(args, name) * meant_for, num_processes) for name in names]
    if any(value.denominator != 1 for value in values):
        return ""
    flags = " ".join(f"--{name} {value}" for name, value in zip(names, values, strict=True))
    return f", or keep the batch with --num_processes {num_processes} {flags}"


# The batch sizes and the method are printed even where they are the defaults.
_ALWAYS_SHOWN = {
    *("per_device_train_batch_size", "gradient_accumulation_steps", "steps_per_generation", "num_generations"),
    *("num_iterations", "seed"),
}
# TRL refuses generation_batch_size together with steps_per_generation, from which it follows. The file should start the
# run, and not print it again.
_NEVER_SHOWN = ("generation_batch_size", "dry_run")


def format_settings(*dataclass_instances: Any) -> str:
    """
    Write settings as a YAML file for `--config`. Fields that have their default are left out, except for the batch sizes
    and the method.

    Args:
        *dataclass_instances:
            Parsed dataclasses.

    Returns:
        `str`: YAML that gives the same settings when it is parsed.

    Example:
    ```python
    >>> from trl_forking.commands.launch import LaunchArguments
    >>> from trl_forking.commands.settings import format_settings
    >>> print(format_settings(LaunchArguments(num_processes=8, dry_run=True)))
    num_processes: 8
    ```
    """
    from ..forking_grpo_config import ForkingGRPOConfig

    always_shown = {*_ALWAYS_SHOWN, *ForkingGRPOConfig.__annotations__}
    settings: dict[str, Any] = {}
    for instance in dataclass_instances:
        default = _make_default(instance)
        for name in (entry.name for entry in dataclasses.fields(instance) if entry.init):
            value = getattr(instance, name)
            if name not in _NEVER_SHOWN and (name in always_shown or value != getattr(default, name)):
                settings[name] = make_plain(value)
    return yaml.safe_dump(settings, sort_keys=False, width=1000).strip()


def _make_default(instance: Any) -> Any:
    """Build the instance with nothing set: the defaults of the fields, as `__post_init__` resolves them."""
    from ..forking_grpo_config import ForkingGRPOConfig

    default_class = type(instance)
    if isinstance(instance, ForkingGRPOConfig):
        # A new config would look for its device, and for that set up the processes of Accelerate again in a run that
        # has them already.
        found = {name: getattr(instance, name) for name in ("device", "n_gpu", "world_size")}
        default_class = type(default_class.__name__, (default_class,), found)
    return default_class()
