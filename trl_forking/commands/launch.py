"""What starts the processes of a training run: arguments, the choice of a launcher, and the start itself."""

import math
import os
import shlex
import sys
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..run.user_errors import UserError, check_at_least, require
from ..settings.source import Unreadable, read_value
from .arguments import ForkingParser
from .recipes import find_config, find_examples
from .settings import count, suggest_batch


if TYPE_CHECKING:
    from ..forking_grpo_config import ForkingGRPOConfig


TRAINING_MODULE = "trl_forking.commands.train_math"
"""The module that every process of a training run executes."""
LAUNCHER_MODULE = "trl_forking.commands.launched"
"""The module that runs a launcher."""


@dataclass
class LaunchArguments:
    """
    The processes that `trl-forking grpo` starts. Each process reads two of these fields again: it compares
    `num_processes` with the processes that run, and it stops early for `dry_run`.

    Parameters:
        num_processes (`int`, *optional*):
            Number of processes on all machines, one for each GPU. The batch sizes are computed for this number.
        accelerate_config (`str`, *optional*):
            `"ddp"`, `"zero2"`, `"zero3"`, `"fsdp2"` or `"multi_node"`, or a file that `accelerate config` wrote.
        num_machines (`int`, *optional*):
            Number of machines. Each runs the same number of processes.
        machine_rank, main_process_ip, main_process_port (`int`, `str`, `int`, *optional*):
            On several machines: the number of this machine, and the address and port of the first one.
        dry_run (`bool`, *optional*, defaults to `False`):
            Whether to print the settings and the batch sizes, and to stop before anything is loaded.

    Raises:
        `ValueError`: if a number of processes or machines is below 1, or another number is out of its range.

    Example:
    ```python
    >>> from trl_forking.commands.launch import LaunchArguments
    >>> LaunchArguments(num_processes=8, accelerate_config="zero3").dry_run
    False
    ```
    """

    num_processes: int | None = field(
        default=None, metadata={"help": "Processes on all machines, one for each GPU; the batch is computed for them."}
    )
    accelerate_config: str | None = field(
        default=None,
        metadata={"help": "`ddp`, `zero2`, `zero3`, `fsdp2`, `multi_node` or a file of `accelerate config`."},
    )
    num_machines: int | None = field(
        default=None, metadata={"help": "Machines; each runs the same number of processes."}
    )
    machine_rank: int | None = field(default=None, metadata={"help": "Number of this machine, from 0."})
    main_process_ip: str | None = field(default=None, metadata={"help": "Address of the machine with number 0."})
    main_process_port: int | None = field(default=None, metadata={"help": "Free port on the machine with number 0."})
    dry_run: bool = field(
        default=False, metadata={"help": "Print settings and batch sizes, and stop before anything is loaded."}
    )

    def __post_init__(self) -> None:
        check_at_least(1, self, "num_processes", "num_machines", "main_process_port")
        check_at_least(0, self, "machine_rank")
        if self.main_process_port is not None and self.main_process_port > 65_535:
            raise ValueError(f"main_process_port must be at most 65535, but it is {self.main_process_port}.")
        if self.machine_rank is not None and self.machine_rank >= (self.num_machines or math.inf):
            raise ValueError(
                f"machine_rank is {self.machine_rank}, but num_machines is {self.num_machines}: the machines count from 0."
            )


@dataclass
class _DeviceArguments(LaunchArguments):
    use_cpu: bool = False


def read_launch_arguments(args: list[str] | None = None) -> LaunchArguments:
    """
    Read the launch arguments alone. Only the number of processes makes it possible to check the batch sizes.

    Args:
        args (`list[str]`, *optional*, defaults to `sys.argv[1:]`):
            The command line of a training run, with its YAML file.

    Returns:
        [`LaunchArguments`]: the command line wins over the file.

    Example:
    ```python
    >>> from trl_forking.commands.launch import read_launch_arguments
    >>> read_launch_arguments(["--num_processes", "8", "--learning_rate", "1e-5"]).num_processes
    8
    ```
    """
    return _read_known(LaunchArguments, args)


def _read_known(dataclass_type: type, args: list[str] | None) -> Any:
    parser = ForkingParser(dataclass_type, add_help=False)  # --help is for the parser that knows all flags
    known, _ = parser.parse_args_and_config(args, return_remaining_strings=True)
    return known


def choose_num_processes(flags: list[str], num_gpus: int) -> tuple[list[str], int]:
    """
    Choose one process for each GPU, where the settings do not say how many.

    Args:
        flags (`list[str]`):
            The command line of a training run.
        num_gpus (`int`):
            GPUs of this machine.

    Returns:
        `tuple[list[str], int]`: the command line, which now names the number, and the number.

    Example:
    ```python
    >>> from trl_forking.commands.launch import choose_num_processes
    >>> choose_num_processes(["--num_machines", "2"], num_gpus=8)
    (['--num_machines', '2', '--num_processes', '16'], 16)
    ```
    """
    launch = _read_known(_DeviceArguments, flags)
    if launch.num_processes is not None:
        return flags, launch.num_processes
    num_processes = 1 if launch.use_cpu else max(num_gpus, 1) * (launch.num_machines or 1)
    return [*flags, "--num_processes", str(num_processes)], num_processes


def count_gpus() -> int:
    """
    Count the GPUs, or other accelerators of PyTorch, that this process may use.

    Returns:
        `int`: their number, 0 on a machine without any.

    Example:
    ```python
    >>> from trl_forking.commands.launch import count_gpus
    >>> count_gpus() >= 0
    True
    ```
    """
    if _is_built_for_cpu():
        return 0
    import torch

    return torch.accelerator.device_count() if torch.accelerator.is_available() else 0


def _is_built_for_cpu() -> bool:
    """Whether PyTorch knows no accelerator, as its own source and its plugins say. Its import would take seconds."""
    if sys.platform == "darwin" or list(entry_points(group="torch.backends")):
        return False
    try:
        return not any(read_value("torch.version", name) for name in ("cuda", "hip", "xpu"))
    except Unreadable:
        return False


def choose_launcher(launch: LaunchArguments, args: "ForkingGRPOConfig", num_gpus: int) -> list[str] | None:
    """
    Choose the launcher of a training run.

    Args:
        launch ([`LaunchArguments`]):
            Processes and machines.
        args ([`ForkingGRPOConfig`]):
            Settings, resolved for that number of processes.
        num_gpus (`int`):
            GPUs of this machine.

    Returns:
        `list[str]` or `None`: the arguments of `python` that name the launcher. The list is empty where a new process
        needs no launcher. `None` means that this very process can train.

    Raises:
        [`UserError`]: if this machine does not have what the settings ask for.

    Example:
    ```python
    >>> from trl_forking.commands.launch import LaunchArguments, choose_launcher
    >>> from trl_forking.commands.settings import plan_config
    >>> choose_launcher(LaunchArguments(num_processes=2), plan_config(2)("runs/x", use_cpu=True), num_gpus=0)
    ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2']
    ```
    """
    num_processes = args.world_size
    config = None if launch.accelerate_config is None else find_config(launch.accelerate_config, "accelerate_configs")
    cluster = None if config is None else _read_accelerate_config(config)
    if args.use_cpu or num_gpus == 0:
        if config is not None and config.parent == find_examples() / "accelerate_configs":
            why = "use_cpu is true" if args.use_cpu else "this machine has none"
            raise UserError(
                f"--accelerate_config {config.stem} starts one process for each GPU, and {why}: leave it out, or add "
                "--dry_run to see the settings only."
            )
        # `accelerate launch --cpu` starts one process, whatever number it is asked for.
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(num_processes)]
        return None if num_processes == 1 else launcher
    if config is None and num_processes == 1:
        return None if num_gpus == 1 else []
    config = config or find_config("ddp", "accelerate_configs")
    _check_machines(launch, args, num_gpus, cluster or _read_accelerate_config(config))
    launcher = ["-m", "accelerate.commands.launch", "--config_file", str(config)]
    launcher += ["--num_processes", str(num_processes)]
    for name in ("num_machines", "machine_rank", "main_process_ip", "main_process_port"):
        if getattr(launch, name) is not None:
            launcher += [f"--{name}", str(getattr(launch, name))]
    return launcher


def _read_accelerate_config(config: Path) -> Any:
    from accelerate.commands.config.config_args import load_config_from_file

    try:
        cluster = load_config_from_file(str(config))
    except Exception as error:  # an unknown key, a value that is none of an enum, a file that is no mapping
        raise UserError(f"--accelerate_config {config}: {error}") from error
    if cluster.deepspeed_config:
        require("deepspeed", "trl-forking[deepspeed]")
    return cluster


def _check_machines(launch: LaunchArguments, args: "ForkingGRPOConfig", num_gpus: int, cluster: Any) -> None:
    """Check that the machines have enough GPUs, share the processes evenly, and can find each other."""
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
            f"a run on {num_machines} machines needs the number of each machine and the address of the first one: "
            f"--machine_rank 0 to {num_machines - 1} --main_process_ip ADDRESS."
        )


def replace_process(launcher: list[str], flags: list[str], environment: dict[str, str], num_processes: int) -> None:
    """
    Replace this process by the launcher, so that signals reach it and its exit code is the one of the command.

    Args:
        launcher (`list[str]`):
            What [`choose_launcher`] chose.
        flags (`list[str]`):
            Flags of the training run.
        environment (`dict[str, str]`):
            Environment variables.
        num_processes (`int`):
            Number of processes that the launcher will start.

    Example:
    ```python
    >>> from trl_forking.commands.launch import replace_process
    >>> replace_process(["-m", "torch.distributed.run"], ["--config", "train.yaml"], {}, 2)  # doctest: +SKIP
    ```
    """
    if not launcher:  # TRL refuses several GPUs in one process
        visible = environment.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
        environment = environment | {"CUDA_VISIBLE_DEVICES": visible}
    training = ["-m", TRAINING_MODULE, *flags]
    shown = shlex.join([sys.executable, *launcher, *training])
    print(f"Starting {count(num_processes, 'process', 'processes')}: {shown}", file=sys.stderr)
    # The launcher runs inside a module of ours, which ends without a traceback after a mistake or a signal.
    command = [sys.executable, *(["-m", LAUNCHER_MODULE, *launcher[1:]] if launcher else []), *training]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, command, environment)
