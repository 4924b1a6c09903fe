"""What this machine has: versions, devices, and what is missing for which feature. It never fails."""

import os
import platform
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple


PACKAGES = (
    *("trl-forking", "trl", "transformers", "torch", "accelerate", "datasets", "peft", "deepspeed", "vllm"),
    *("math-verify", "bitsandbytes", "flash-attn", "kernels", "liger-kernel", "triton", "xformers", "gguf"),
    *("matplotlib", "huggingface-hub", "wandb", "trackio", "tensorboard"),
)
"""Packages whose versions help to explain a bug, in the order in which they are shown."""

_CORE = {"trl-forking", "trl", "transformers", "torch", "accelerate", "datasets"}


class Feature(NamedTuple):
    """
    A feature that needs packages of its own.

    Attributes:
        name (`str`): what it does.
        packages (`tuple[str, ...]`): packages that it needs.
        remedy (`str`): command that installs them.
    """

    name: str
    packages: tuple[str, ...]
    remedy: str


FEATURES = (
    Feature("rewards on math problems (math_reward, verify)", ("math-verify",), "pip install 'trl-forking[math]'"),
    Feature("LoRA (--use_peft)", ("peft",), "pip install 'trl-forking[peft]'"),
    Feature("QLoRA (--load_in_4bit)", ("peft", "bitsandbytes"), "pip install 'trl-forking[peft]' bitsandbytes"),
    Feature("ZeRO (--deepspeed, zero2 and zero3)", ("deepspeed",), "pip install 'trl-forking[deepspeed]'"),
    Feature("fast generation (--use_vllm)", ("vllm",), "pip install 'trl-forking[vllm]'"),
    Feature("plots (demo, analyze, compare, cards)", ("matplotlib",), "pip install 'trl-forking[analysis]'"),
    Feature("GGUF files (--gguf_file)", ("gguf",), "pip install gguf"),
)

_VARIABLES = (
    *("CUDA_VISIBLE_DEVICES", "HF_HUB_OFFLINE", "HF_HOME", "OMP_NUM_THREADS", "OMP_WAIT_POLICY"),
    *("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED", "WORLD_SIZE", "NCCL_P2P_DISABLE", "TRITON_INTERPRET"),
)


def find_version(package: str) -> str | None:
    """
    Find the version of an installed package without importing it.

    Example:
    ```python
    >>> find_version("no-such-package") is None
    True
    ```
    """
    try:
        return version(package)
    except PackageNotFoundError:
        return None
    except Exception as error:  # a damaged installation is worth a line in the report, not a traceback
        return f"cannot be read ({type(error).__name__})"


def describe_environment() -> str:
    """
    Describe the machine and its packages as text that can be pasted into a bug report.

    Returns:
        `str`: versions, devices, attention kernels, and what is missing for which feature. It holds no token and no path of
        a home folder.

    Example:
    ```python
    >>> describe_environment().startswith("Versions")
    True
    ```
    """
    versions = {package: find_version(package) for package in PACKAGES}
    lines = ["Versions", f"  {'python':16s} {platform.python_version()} ({platform.platform()})"]
    lines += [
        f"  {package:16s} {found or 'not installed'}"
        for package, found in versions.items()
        if found or package in _CORE
    ]
    lines += ["", "Devices", *(f"  {line}" for line in _try(_list_devices))]
    lines += ["", "Attention", *(f"  {line}" for line in _try(_list_attention))]
    lines += ["", "Missing", *(f"  {line}" for line in list_missing(versions))]
    found = [f"{name}={os.environ[name]}" for name in _VARIABLES if name in os.environ]
    lines += ["", "Environment", f"  {' '.join(found) or 'no variable that matters is set'}"]
    return "\n".join(lines).replace(os.path.expanduser("~") + os.sep, f"~{os.sep}")


def list_missing(versions: dict[str, str | None]) -> list[str]:
    """
    List the features whose packages are missing.

    Args:
        versions (`dict[str, str | None]`):
            Version of each package, `None` where it is not installed.

    Returns:
        `list[str]`: a line for each feature, with the command that installs it.

    Example:
    ```python
    >>> list_missing({"peft": "0.18", "math-verify": "0.9"})[:1]
    ["QLoRA (--load_in_4bit): needs bitsandbytes; pip install 'trl-forking[peft]' bitsandbytes"]
    ```
    """
    lines = []
    for feature in FEATURES:
        missing = [package for package in feature.packages if not versions.get(package)]
        if missing:
            lines.append(f"{feature.name}: needs {' and '.join(missing)}; {feature.remedy}")
    return lines or ["nothing: every feature has its packages"]


def _try(describe: Callable[[], list[str]]) -> list[str]:
    try:
        return describe()
    except Exception as error:
        return [f"cannot be told: {type(error).__name__}: {' '.join(str(error).split())[:200]}"]


def _list_devices() -> list[str]:
    import torch

    lines = [f"CPU: {os.cpu_count()} cores, {platform.machine()}, {torch.get_num_threads()} threads in torch"]
    if torch.version.cuda:
        lines.append(f"CUDA {torch.version.cuda}, bf16: {'yes' if _has_bf16() else 'no'}")
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        lines.append(
            f"GPU {index}: {device.name}, {device.total_memory / 2**30:.0f} GiB, compute {device.major}.{device.minor}"
        )
    if not torch.cuda.device_count():
        lines.append("no GPU is visible to torch")
    return lines


def _has_bf16() -> bool:
    import torch

    return torch.cuda.is_available() and torch.cuda.is_bf16_supported()


def _list_attention() -> list[str]:
    kernels = [package for package in ("flash-attn", "kernels", "xformers") if find_version(package)]
    lines = ["eager and sdpa: part of torch"]
    lines.append(
        f"also installed: {', '.join(kernels)}" if kernels else "flash_attention_2: not installed (flash-attn)"
    )
    return lines
