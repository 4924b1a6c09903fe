"""`trl-forking grpo`: finds mistakes first, then starts examples/train_math.py on the processes that are asked for."""

import dataclasses
import difflib
import importlib.util
import os
import shlex
import sys
import textwrap
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from ..forking_grpo_config import ForkingGRPOConfig
from ..run.user_errors import UserError, check_at_least, exit_on_user_error, require
from .arguments import ForkingParser
from .settings import count, plan_config, suggest_batch


@dataclass
class LaunchArguments:
    """
    What `trl-forking grpo` starts. The script itself reads `num_processes`, which it compares with what runs, and
    `dry_run`.

    Parameters:
        num_processes (`int`, *optional*):
            Processes over all machines, one for each GPU, that the batch sizes are meant for.
        accelerate_config (`str`, *optional*):
            `"ddp"`, `"zero2"`, `"zero3"`, `"fsdp2"` or `"multi_node"`, or a file that `accelerate config` wrote.
        num_machines (`int`, *optional*):
            Machines that share the processes evenly.
        machine_rank, main_process_ip, main_process_port (`int`, `str`, `int`, *optional*):
            On several machines: the number of this one, and where the first one is.
        dry_run (`bool`, *optional*, defaults to `False`):
            Whether to print the settings and the batch they make, and to stop before anything is loaded.

    Raises:
        `ValueError`: if a number of processes or machines is below 1.

    Example:
    ```python
    >>> from trl_forking.commands.grpo import LaunchArguments
    >>> LaunchArguments(num_processes=8, accelerate_config="zero3").dry_run
    False
    ```
    """

    num_processes: int | None = field(
        default=None, metadata={"help": "Processes over all machines, one a GPU, that the batch sizes are meant for."}
    )
    accelerate_config: str | None = field(
        default=None,
        metadata={"help": "`ddp`, `zero2`, `zero3`, `fsdp2`, `multi_node` or a file of `accelerate config`."},
    )
    num_machines: int | None = field(default=None, metadata={"help": "Machines that share the processes evenly."})
    machine_rank: int | None = field(default=None, metadata={"help": "Number of this machine, from 0."})
    main_process_ip: str | None = field(default=None, metadata={"help": "Address of the machine with number 0."})
    main_process_port: int | None = field(default=None, metadata={"help": "Free port on the machine with number 0."})
    dry_run: bool = field(
        default=False, metadata={"help": "Print settings and batch sizes, and stop before anything is loaded."}
    )

    def __post_init__(self) -> None:
        check_at_least(1, self, "num_processes", "num_machines")


# The folder of examples ------------------------------------------------------------------------------------------------


def find_examples() -> Path:
    """
    Find the folder with `train_math.py`, the recipes and the accelerate configs.

    Returns:
        `Path`: `trl_forking/examples` of an installed wheel, or `examples` of a checkout.

    Example:
    ```python
    >>> from trl_forking.commands.grpo import find_examples
    >>> (find_examples() / "train_math.py").is_file()
    True
    ```
    """
    installed = Path(__file__).parents[1] / "examples"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "examples"


def find_config(name: str, folder: str) -> Path:
    """
    Find a YAML file by its path, or by its name in one of the folders of examples.

    Args:
        name (`str`):
            A path, or the name of a file in the folder, with or without `.yaml`.
        folder (`str`):
            `"recipes"` or `"accelerate_configs"`.

    Returns:
        `Path`: the file.

    Raises:
        [`UserError`]: if there is neither; the message has the nearest name.

    Example:
    ```python
    >>> from trl_forking.commands.grpo import find_config
    >>> find_config("cpu_smoke", "recipes").name
    'cpu_smoke.yaml'
    ```
    """
    known = {path.stem: path for path in sorted((find_examples() / folder).glob("*.yaml"))}
    if Path(name).is_file():
        return Path(name)
    if name.removesuffix(".yaml") in known:
        return known[name.removesuffix(".yaml")]
    flag, kind = {"recipes": ("--config", "recipe"), "accelerate_configs": ("--accelerate_config", "config")}[folder]
    beside = [str(path) for path in Path(name).parent.glob("*.y*ml")] if Path(name).parent.is_dir() else []
    close = difflib.get_close_matches(name.removesuffix(".yaml"), known, n=1)
    close = close or difflib.get_close_matches(name, beside, n=1)
    hint = f"did you mean {close[0]}?" if close else f"the {kind}s are {', '.join(known)}."
    raise UserError(f"{flag} {name}: there is no such file and no such {kind}; {hint}")


# What a run is about to do ---------------------------------------------------------------------------------------------


def read_launch_arguments(args: list[str] | None = None) -> LaunchArguments:
    """
    Read the launch arguments alone: the batch sizes can be checked only when the number of processes is known.

    Args:
        args (`list[str]`, *optional*, defaults to `sys.argv[1:]`):
            The command line of the script, with its YAML file.

    Returns:
        [`LaunchArguments`]: the command line wins over the file.

    Example:
    ```python
    >>> from trl_forking.commands.grpo import read_launch_arguments
    >>> read_launch_arguments(["--num_processes", "8", "--learning_rate", "1e-5"]).num_processes
    8
    ```
    """
    return _read_known(LaunchArguments, args)


def _read_known(dataclass_type: type, args: list[str] | None) -> Any:
    parser = ForkingParser(dataclass_type, add_help=False)  # --help is for the parser that knows all flags
    known, _ = parser.parse_args_and_config(args, return_remaining_strings=True)
    return known


def choose_config_class(args: list[str] | None = None) -> type[ForkingGRPOConfig]:
    """
    Choose the config class of a script: for a dry run, one that counts for the processes that a real run would have.

    Args:
        args (`list[str]`, *optional*, defaults to `sys.argv[1:]`):
            The command line of the script, with its YAML file.

    Returns:
        `type[ForkingGRPOConfig]`: the class to parse the rest into.

    Example:
    ```python
    >>> from trl_forking.commands.grpo import choose_config_class
    >>> choose_config_class(["--num_processes", "8"]).__name__, choose_config_class(["--dry_run"]).__name__
    ('ForkingGRPOConfig', 'PlannedConfig')
    ```
    """
    launch = read_launch_arguments(args)
    return plan_config(launch.num_processes or 1) if launch.dry_run else ForkingGRPOConfig


# trl-forking grpo ------------------------------------------------------------------------------------------------------


def run_grpo(flags: list[str]) -> None:
    """
    Run `trl-forking grpo`: the short form of `accelerate launch ... examples/train_math.py ...`.

    Mistakes are found here, once, before any process is started. One process runs in this one; more replace it.

    Args:
        flags (`list[str]`):
            Flags of the script. `--config` takes the name of a recipe as well as a file.

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
    environment = dict(os.environ)  # what is started must not inherit what parsing sets
    # TRL sets this field itself: nobody who reads the warning could do anything about it.
    warnings.filterwarnings("ignore", ".*gradient_checkpointing.* is deprecated", FutureWarning)
    script = load_script()
    if {"-h", "--help"} & set(flags):
        print(format_help(script))
        return
    if {"--help_all", "--help-all"} & set(flags):
        print(script.make_parser(ForkingGRPOConfig, prog="trl-forking grpo").format_help())
        return
    with exit_on_user_error("--debug" in flags):
        flags = _resolve_recipe(flags)
    num_gpus = count_gpus()
    flags, num_processes = _choose_num_processes(flags, num_gpus)
    parser = script.make_parser(plan_config(num_processes))
    script_args, training_args, model_args = parser.parse_args_and_config(flags)
    with exit_on_user_error(parser.debug):
        script.check(script_args, training_args, model_args, parser.config_path or "command line")
        if not script_args.dry_run:
            script.check_packages(script_args, training_args, model_args)
            script.find_checkpoint(training_args)
            launcher = choose_launcher(script_args, training_args, num_gpus)
    if script_args.dry_run or launcher is None:
        script.main(flags)
    else:
        replace_process(launcher, find_examples() / "train_math.py", flags, environment, num_processes)


def load_script() -> ModuleType:
    """
    Import `examples/train_math.py` from wherever it is.

    Returns:
        `ModuleType`: the script as a module.

    Example:
    ```python
    >>> from trl_forking.commands.grpo import load_script
    >>> load_script().MathArguments().prompt_template
    'chat'
    ```
    """
    spec = importlib.util.spec_from_file_location("train_math", find_examples() / "train_math.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["train_math"] = module  # its dataclasses are looked up there
    spec.loader.exec_module(module)
    return module


def count_gpus() -> int:
    """
    Count the GPUs, or other accelerators of PyTorch, that this process may use.

    Example:
    ```python
    >>> from trl_forking.commands.grpo import count_gpus
    >>> count_gpus() >= 0
    True
    ```
    """
    return torch.accelerator.device_count() if torch.accelerator.is_available() else 0


@dataclass
class _Device(LaunchArguments):
    use_cpu: bool = False


def _resolve_recipe(flags: list[str]) -> list[str]:
    """Replace the name of a recipe after `--config` by its path."""
    flags = [part for flag in flags for part in (flag.split("=", 1) if flag.startswith("--config=") else [flag])]
    index = flags.index("--config") + 1 if "--config" in flags else len(flags)
    config = [str(find_config(name, "recipes")) for name in flags[index : index + 1]]
    return [*flags[:index], *config, *flags[index + 1 :]]


def _choose_num_processes(flags: list[str], num_gpus: int) -> tuple[list[str], int]:
    """Add `--num_processes` where the settings have none: one for each GPU."""
    launch = _read_known(_Device, flags)
    if launch.num_processes is not None:
        return flags, launch.num_processes
    num_processes = 1 if launch.use_cpu else max(num_gpus, 1) * (launch.num_machines or 1)
    return [*flags, "--num_processes", str(num_processes)], num_processes


def choose_launcher(launch: LaunchArguments, args: ForkingGRPOConfig, num_gpus: int) -> list[str] | None:
    """
    Choose what starts the script.

    Args:
        launch ([`LaunchArguments`]):
            Processes and machines.
        args ([`ForkingGRPOConfig`]):
            Settings, resolved for that number of processes.
        num_gpus (`int`):
            GPUs of this machine.

    Returns:
        `list[str]` or `None`: what stands between `python` and the script, nothing for one process without a launcher;
        `None` if this very process will do.

    Raises:
        [`UserError`]: if the machine has not what is asked for.

    Example:
    ```python
    >>> from trl_forking.commands.grpo import LaunchArguments, choose_launcher
    >>> from trl_forking.commands.settings import plan_config
    >>> choose_launcher(LaunchArguments(num_processes=2), plan_config(2)("runs/x", use_cpu=True), num_gpus=0)
    ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2']
    ```
    """
    num_processes = args.world_size
    config = None if launch.accelerate_config is None else find_config(launch.accelerate_config, "accelerate_configs")
    if args.use_cpu or num_gpus == 0:
        if config is not None and config.parent == find_examples() / "accelerate_configs":
            why = "use_cpu is true" if args.use_cpu else "this machine has none"
            raise UserError(
                f"--accelerate_config {config.stem} starts one process for each GPU, and {why}: leave it out, or see "
                "what it would do with --dry_run."
            )
        # `accelerate launch --cpu` would start one process, however many it is asked for.
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(num_processes)]
        return None if num_processes == 1 else launcher
    if config is None and num_processes == 1:
        return None if num_gpus == 1 else []
    return _choose_accelerate(launch, args, num_gpus, config or find_config("ddp", "accelerate_configs"))


def _choose_accelerate(launch: LaunchArguments, args: ForkingGRPOConfig, num_gpus: int, config: Path) -> list[str]:
    from accelerate.commands.config.config_args import load_config_from_file

    try:
        cluster = load_config_from_file(str(config))
    except Exception as error:  # an unknown key, a value that is none of an enum, a file that is no mapping
        raise UserError(f"--accelerate_config {config}: {error}") from error
    if cluster.deepspeed_config:
        require("deepspeed", "trl-forking[deepspeed]")
    num_processes, num_machines = args.world_size, launch.num_machines or cluster.num_machines
    if num_processes > num_gpus * num_machines:
        machines = f"{num_machines} machines like this one have" if num_machines > 1 else "this machine has"
        raise UserError(
            f"num_processes is {num_processes}, but {machines} {count(num_gpus * num_machines, 'GPU')}: name more "
            f"--num_machines{suggest_batch(args, num_processes, num_gpus * num_machines)}."
        )
    if num_processes % num_machines:
        raise UserError(f"num_processes is {num_processes}, which {num_machines} machines can't share evenly.")
    address = launch.main_process_ip or cluster.main_process_ip
    if num_machines > 1 and (launch.machine_rank is None or address is None):
        raise UserError(
            f"on {num_machines} machines each needs its number and the address of the first: --machine_rank 0 to "
            f"{num_machines - 1} --main_process_ip ADDRESS."
        )
    launcher = [
        "-m",
        "accelerate.commands.launch",
        "--config_file",
        str(config),
        "--num_processes",
        str(num_processes),
    ]
    for name in ("num_machines", "machine_rank", "main_process_ip", "main_process_port"):
        if getattr(launch, name) is not None:
            launcher += [f"--{name}", str(getattr(launch, name))]
    return launcher


def replace_process(
    launcher: list[str], script: Path, flags: list[str], environment: dict[str, str], num_processes: int
) -> None:
    """
    Replace this process by the one that starts the script: signals and exit code are then its own.

    Args:
        launcher (`list[str]`):
            What [`choose_launcher`] chose.
        script (`Path`):
            The script.
        flags (`list[str]`):
            Its flags.
        environment (`dict[str, str]`):
            Environment variables.
        num_processes (`int`):
            Processes that will be started.

    Example:
    ```python
    >>> replace_process(["-m", "torch.distributed.run"], Path("train_math.py"), [], {}, 2)  # doctest: +SKIP
    ```
    """
    if not launcher:  # one process: TRL refuses several GPUs in it
        visible = environment.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
        environment = environment | {"CUDA_VISIBLE_DEVICES": visible}
    command = [sys.executable, *launcher, str(script), *flags]
    print(f"Starting {count(num_processes, 'process', 'processes')}: {shlex.join(command)}", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, command, environment)


# Help ------------------------------------------------------------------------------------------------------------------

_OFTEN_SET = (
    *("model_name_or_path", "dataset_name", "dataset_config", "output_dir", "max_steps", "learning_rate"),
    *("per_device_train_batch_size", "gradient_accumulation_steps", "steps_per_generation", "num_generations"),
    *("max_completion_length", "use_vllm", "vllm_mode", "use_peft", "load_in_4bit", "save_steps"),
    *("resume_from_checkpoint", "report_to", "seed"),
)


def format_help(script: ModuleType) -> str:
    """
    Write the short help: our own flags with their defaults, the ones of TRL that are set often, and the recipes.

    Args:
        script (`ModuleType`):
            `examples/train_math.py`.

    Returns:
        `str`: at most one screen or two.

    Example:
    ```python
    >>> from trl_forking.commands.grpo import format_help, load_script
    >>> print(format_help(load_script()))
    usage: trl-forking grpo --config RECIPE|FILE [flags]
    ...
    ```
    """
    recipes = sorted((find_examples() / "recipes").glob("*.yaml"))
    sections = [
        "usage: trl-forking grpo --config RECIPE|FILE [flags]",
        "The short form of accelerate launch examples/train_math.py. The command line wins over the YAML file, and that\n"
        "over the defaults.",
        "Start\n" + _format_flags(LaunchArguments, LaunchArguments.__annotations__),
        "Problems and reward\n" + _format_flags(script.MathArguments, script.MathArguments.__annotations__),
        "Forking tokens\n" + _format_flags(ForkingGRPOConfig, ForkingGRPOConfig.__annotations__),
        "Often set, of TRL and Transformers (--help-all shows every flag)\n  "
        + textwrap.fill(" ".join(f"--{name}" for name in _OFTEN_SET), 116, subsequent_indent="  "),
        "Recipes\n" + "\n".join(f"  {path.stem:24s} {_read_title(path)}" for path in recipes),
    ]
    return "\n\n".join(sections)


def _format_flags(dataclass_type: type, names: Any) -> str:
    lines, fields = [], {entry.name: entry for entry in dataclasses.fields(dataclass_type)}
    for name in names:
        default = "" if fields[name].default in (None, False) else f" [{fields[name].default}]"
        text = f"  --{name:28s} {fields[name].metadata['help'].replace('`', '')}{default}"
        lines.append(textwrap.fill(text, 118, subsequent_indent=" " * 33))
    return "\n".join(lines)


def _read_title(path: Path) -> str:
    return path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
