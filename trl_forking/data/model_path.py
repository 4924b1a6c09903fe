"""Whether there is a model at a path, before anything is imported that could load it."""

import os
from pathlib import Path

from .nearest import find_nearest


def check_model_path(name_or_path: str) -> None:
    """
    Check that a model exists if its name is a path. A name of the Hub is not checked.

    Raises:
        `ValueError`: if there is no such folder or file.

    Example:
    ```python
    >>> check_model_path("Qwen/Qwen3-0.6B")
    ```
    """
    path = Path(name_or_path)
    if path.is_file() and path.suffix.lower() != ".gguf":
        raise ValueError(f"{name_or_path} is a file: give the folder of a model, a GGUF file or a name of the Hub.")
    names = ("config.json", "adapter_config.json")
    if path.is_dir() and not any((path / name).is_file() for name in names) and not any(path.glob("*.gguf")):
        raise ValueError(
            f"The folder {name_or_path} holds no model: there is neither a {' nor an '.join(names)} in it."
        )
    if not path.exists() and _looks_like_path(name_or_path):
        nearest = find_nearest(path)
        remedy = f"did you mean {nearest}?" if nearest else "give a folder, a GGUF file or a name of the Hub."
        raise ValueError(f"There is no model at {name_or_path}: {remedy}")


def _looks_like_path(name: str) -> bool:
    """Whether a name is that of a file or folder here: of the Hub are `model` and `owner/model` only."""
    is_path = name.endswith(".gguf") or name.startswith((".", "~", os.sep)) or name.count("/") > 1 or not name.strip()
    # `runs/model`, where there is a folder `runs`
    return is_path or (name.count("/") == 1 and Path(name).parent.is_dir())
