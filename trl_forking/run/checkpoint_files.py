"""The files that a checkpoint had when it was saved. This module imports neither torch nor Transformers."""

import zlib
from pathlib import Path
from typing import Any


IDENTITY_NAME = "RunIdentity"
"""The callback that notes them, by the name of its class."""

# Files that a resumed run reads. A checkpoint is as good without its card, tokenizer or arguments.
_READ = (".safetensors", ".bin", ".pt", ".pth", ".distcp", ".metadata", ".index.json")
_READ_TOO = ("config.json", "adapter_config.json")
_NOT_READ = ("training_args.bin",)
_CHECKED_BYTES = 8 * 2**20  # at each end of a file; what is between is too much to read at every save


def get_identity(stateful_callbacks: Any) -> dict[str, Any]:
    """
    Read what [`~trl_forking.run.identity.RunIdentity`] wrote.

    Args:
        stateful_callbacks (`dict`):
            The entry of that name in a `trainer_state.json`.

    Returns:
        `dict[str, Any]`: empty for a checkpoint of another trainer.

    Example:
    ```python
    >>> get_identity({"TrainerControl": {}})
    {}
    ```
    """
    entry = stateful_callbacks.get(IDENTITY_NAME) if isinstance(stateful_callbacks, dict) else None
    attributes = entry.get("attributes") if isinstance(entry, dict) else None
    return attributes if isinstance(attributes, dict) else {}


def measure_files(checkpoint: str | Path) -> dict[str, list[int]]:
    """
    Measure the files of a checkpoint that a resumed run reads.

    Args:
        checkpoint (`str` or `Path`):
            Folder of the checkpoint.

    Returns:
        `dict[str, list[int]]`: size and checksum of each file.

    Example:
    ```python
    >>> measure_files("no-such-checkpoint")
    {}
    ```
    """
    folder = Path(checkpoint)
    paths = [path for path in sorted(folder.rglob("*")) if _is_read(path.name) and path.is_file()]
    return {path.relative_to(folder).as_posix(): _measure(path) for path in paths}


def _is_read(name: str) -> bool:
    return name in _READ_TOO or (name.endswith(_READ) and name not in _NOT_READ)


def find_damaged_file(checkpoint: str | Path, files: Any) -> str | None:
    """
    Compare the files of a checkpoint with what was noted when it was saved.

    Args:
        checkpoint (`str` or `Path`):
            Folder of the checkpoint.
        files (`dict[str, list[int]]`):
            What [`measure_files`] returned when the checkpoint was saved.

    Returns:
        `str` or `None`: what is wrong with the first file that is not as it was; `None` if all are.

    Example:
    ```python
    >>> find_damaged_file("no-such-checkpoint", {"optimizer.pt": [3, 891568578]})
    'optimizer.pt is missing'
    ```
    """
    if files is not None and not isinstance(files, dict):
        return "the list of its files is none"
    for name, noted in (files or {}).items():
        path = Path(checkpoint) / name
        if not isinstance(noted, list) or len(noted) != 2 or not all(isinstance(number, int) for number in noted):
            return f"the list of its files says {noted!r} of {name}"
        try:
            measured = _measure(path)
        except FileNotFoundError:
            return f"{name} is missing"
        except OSError as error:
            return f"{name} cannot be read ({error})"
        if measured[0] != noted[0]:
            return f"{name} has {measured[0]:,} bytes and had {noted[0]:,} when it was saved"
        if measured != noted:
            return f"{name} has other content than when it was saved"
    return None


def _measure(path: Path) -> list[int]:
    size = path.stat().st_size
    with path.open("rb") as file:
        checksum = zlib.crc32(file.read(_CHECKED_BYTES))
        if size > _CHECKED_BYTES:
            file.seek(max(_CHECKED_BYTES, size - _CHECKED_BYTES))
            checksum = zlib.crc32(file.read(), checksum)
    return [size, checksum]
