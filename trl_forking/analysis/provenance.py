"""Where answers come from: settings that a folder's answers share, and fingerprints of a model and of its prompts."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from .shards import clear_records, read_settings, write_settings


# A collection may go on with other versions: this entry names those that began it.
_NOT_COMPARED = ("versions",)


def compute_hash(value: Any) -> str:
    """
    Compute a short hash of a value that JSON can hold; any other part of it counts as its text.

    Args:
        value (`Any`):
            Such as the rows of a data set.

    Returns:
        `str`: 16 hexadecimal digits.

    Example:
    ```python
    >>> from trl_forking.analysis.provenance import compute_hash
    >>> compute_hash([{"prompt": "1 + 1?"}]) == compute_hash([{"prompt": "1 + 1?"}])
    True
    ```
    """
    return hashlib.sha256(json.dumps(value, default=str, sort_keys=True).encode()).hexdigest()[:16]


def compute_fingerprint(model: Any) -> str:
    """
    Compute a fingerprint of a model from every value of its weights and buffers.

    It tells checkpoints with the same name apart, also if they differ in a single value. SHA-256 reads a gigabyte in about
    a second.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            Any model.

    Returns:
        `str`: 16 hexadecimal digits.

    Example:
    ```python
    >>> from trl_forking.analysis.provenance import compute_fingerprint
    >>> from trl_forking.countdown import load_countdown_model
    >>> len(compute_fingerprint(load_countdown_model()))
    16
    ```
    """
    digest = hashlib.sha256()
    seen: dict[tuple[int, Any, Any], str] = {}
    for name, tensor in model.state_dict().items():
        if not isinstance(tensor, torch.Tensor):  # such as what a quantized layer notes about itself
            digest.update(f"{name} {tensor!r}".encode())
            continue
        first = seen.setdefault((tensor.data_ptr(), tensor.shape, tensor.dtype), name)
        digest.update(f"{name} {first} {tuple(tensor.shape)} {tensor.dtype}".encode())
        if first == name and tensor.numel() and not tensor.is_meta:  # tied weights are read once
            digest.update(memoryview(tensor.detach().contiguous().flatten().view(torch.uint8).cpu().numpy()))
    return digest.hexdigest()[:16]


def list_versions() -> dict[str, str]:
    """
    List the versions that decide which answers a model draws.

    Returns:
        `dict[str, str]`: versions by package.

    Example:
    ```python
    >>> from trl_forking.analysis.provenance import list_versions
    >>> sorted(list_versions())
    ['torch', 'transformers', 'trl_forking']
    ```
    """
    import transformers

    from .. import __version__

    return {"trl_forking": __version__, "transformers": transformers.__version__, "torch": torch.__version__}


def prepare_folder(folder: Path, settings: dict[str, Any], overwrite: bool) -> None:
    """
    Write the settings, or check that the answers in the folder were collected with the same settings.

    Args:
        folder (`Path`):
            Folder of a collection. It does not have to exist.
        settings (`dict`):
            Values that JSON can hold, for [`write_settings`].
        overwrite (`bool`):
            Whether to remove the answers that are in the folder first.

    Raises:
        `ValueError`: if the folder has answers that were collected with other settings.

    Example:
    ```python
    >>> from trl_forking.analysis.provenance import prepare_folder
    >>> prepare_folder(Path("analysis"), {"seed": 1, "num_shards": 2}, overwrite=False)
    >>> prepare_folder(Path("analysis"), {"seed": 2, "num_shards": 2}, overwrite=False)
    Traceback (most recent call last):
        ...
    ValueError: analysis holds answers that were collected with seed 1, not 2: choose another folder, or overwrite...
    ```
    """
    if overwrite:
        clear_records(folder)
    if not (folder / "run.json").is_file():
        write_settings(folder, settings)
        return
    written = read_settings(folder)
    wanted = json.loads(json.dumps(settings))
    names = [name for name in {**wanted, **written} if name not in _NOT_COMPARED]
    differing = [name for name in names if written.get(name) != wanted.get(name)]
    # The number of shards follows from other settings, and a reader learns nothing from the fingerprints.
    telling = [name for name in differing if name not in ("num_shards", "prompts", "weights")] or differing
    if differing:
        differences = " and ".join(f"{name} {written.get(name)!r}, not {wanted.get(name)!r}" for name in telling)
        raise ValueError(
            f"{folder} holds answers that were collected with {differences}: choose another folder, or overwrite them "
            "(--overwrite)."
        )
