"""Whether torch knows a device and a type of weights, asked before anything is loaded."""

import re
import sys
from importlib.util import find_spec
from pathlib import Path

from ..settings.source import Unreadable, read_value


_PLUGINS = ("torch_npu", "habana_frameworks", "torch_xla", "torch_musa", "torch_mlu")  # bring devices of their own


def check_device(device: str | None, dtype: str | None) -> None:
    """
    Check the names of a device and of a type of weights, before anything is loaded.

    Args:
        device (`str`, *optional*):
            Device, such as `"cuda:1"`.
        dtype (`str`, *optional*):
            Type, such as `"bfloat16"`, or `"auto"`.

    Raises:
        `ValueError`: if torch knows no such device or type, or this machine has no such device.

    Example:
    ```python
    >>> check_device("cpu", "bfloat16")
    >>> check_device(None, "float23")
    Traceback (most recent call last):
        ...
    ValueError: dtype float23 is no type of weights: take auto, float32, bfloat16 or float16.
    ```
    """
    if dtype is not None and dtype != "auto" and not _is_dtype(dtype):
        raise ValueError(f"dtype {dtype} is no type of weights: take auto, float32, bfloat16 or float16.")
    if device in (None, "cpu", "meta"):
        return
    if not re.fullmatch(r"[a-z]+(:\d+)?", device or ""):
        raise ValueError(f"device {device} is no name of a device: take cpu, or one such as cuda:0.")
    if not device.startswith("cpu:") and _is_cpu_build():
        raise ValueError(f"device {device} is not here: this PyTorch is built for the CPU only; leave device out.")
    import torch

    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device {device} is no name of a device: take cpu, or one such as cuda:0.") from error
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    count = torch.accelerator.device_count() if accelerator is not None else 0
    is_there = accelerator is not None and found.type == accelerator.type and (found.index or 0) < count
    if found.type not in ("cpu", "meta") and not is_there:
        here = "no GPU" if accelerator is None else f"{count} of type {accelerator.type}"
        raise ValueError(f"device {device} is not here: this machine has {here}; leave device out.")


def _is_cpu_build() -> bool:
    """Whether the installed PyTorch knows no accelerator. Its source says so without an import, which takes seconds."""
    if sys.platform == "darwin" or any(find_spec(plugin) for plugin in _PLUGINS):
        return False
    try:
        return not any(read_value("torch.version", name) for name in ("cuda", "hip", "xpu"))
    except Unreadable:
        return False


def _is_dtype(name: str) -> bool:
    """Whether torch has a type of weights of this name. Its own stubs say so without an import, which takes seconds."""
    spec = find_spec("torch")
    stubs = Path(spec.origin).parent / "_C" / "__init__.pyi" if spec is not None and spec.origin else Path()
    if stubs.is_file():
        return re.search(rf"^{re.escape(name)}: dtype\b", stubs.read_text(encoding="utf-8"), re.MULTILINE) is not None
    import torch

    return isinstance(getattr(torch, name, None), torch.dtype)
