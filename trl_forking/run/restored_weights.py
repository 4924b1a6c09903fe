"""Weights that Transformers saves under other names than the model has, and does not load again at a resume."""

import json
import logging
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME


logger = logging.getLogger(__name__)


def restore_renamed_weights(model: torch.nn.Module, checkpoint: str) -> None:
    """
    Load the weights that a checkpoint has under other names, after Transformers has loaded all others.

    `save_pretrained` writes the experts of a mixture of experts one by one, and the head of GPT-NeoX under its old name.
    `from_pretrained` knows the names, but a resumed trainer reads the file by the names of the model: Transformers 5.23 warns
    of missing keys and goes on with the weights that the model had before.

    Args:
        model (`torch.nn.Module`):
            Model to train; changed in place. With an adapter only the adapter is in a checkpoint, and nothing is done.
        checkpoint (`str`):
            Folder of the checkpoint.

    Raises:
        `ValueError`: if the checkpoint does not have all weights of the model under any name.

    Example:
    ```python
    >>> from trl_forking.countdown import load_countdown_model
    >>> model = load_countdown_model()
    >>> model.save_pretrained("runs/saved")
    >>> restore_renamed_weights(model, "runs/saved")
    ```
    """
    names, weights = read_weight_names(checkpoint), model.state_dict()
    if not isinstance(model, PreTrainedModel) or not names:
        return
    present = {weights[name].data_ptr() for name in names & weights.keys()}
    # A tied weight is in the file once, under one of its names.
    missing = [name for name, weight in weights.items() if name not in names and weight.data_ptr() not in present]
    if not missing:
        return
    types = {weight.dtype for weight in weights.values() if weight.is_floating_point()}
    dtype = types.pop() if len(types) == 1 else torch.float32  # which holds the values of all others
    loaded, info = type(model).from_pretrained(
        checkpoint, dtype=dtype, local_files_only=True, output_loading_info=True
    )
    lost = sorted(set(missing) & set(info["missing_keys"]))
    if lost:
        raise ValueError(
            f"{checkpoint} does not have the weights of {', '.join(lost[:3])}: resume from another checkpoint, or copy it "
            "again from where it was saved."
        )
    restored = loaded.state_dict()
    with torch.no_grad():
        for name in missing:
            weights[name].copy_(restored[name])
    logger.warning(
        f"{checkpoint} has {len(missing)} weights under other names than the model, such as {missing[0]}. They were restored "
        "too, although Transformers warned of missing keys."
    )


def read_weight_names(checkpoint: str) -> set[str]:
    """
    Read the names of the weights in a checkpoint.

    Args:
        checkpoint (`str`):
            Folder of the checkpoint.

    Returns:
        `set[str]`: the names; empty if there is no file of safetensors with a whole model.

    Example:
    ```python
    >>> read_weight_names("no-such-checkpoint")
    set()
    ```
    """
    index, single = Path(checkpoint) / SAFE_WEIGHTS_INDEX_NAME, Path(checkpoint) / SAFE_WEIGHTS_NAME
    if index.is_file():
        return set(json.loads(index.read_text(encoding="utf-8"))["weight_map"])
    if not single.is_file():
        return set()
    with safe_open(single, framework="pt") as file:
        return set(file.keys())


def find_tied_weights(model: torch.nn.Module) -> set[str]:
    """
    Find the names of the weights that have another name too, such as an output embedding that is the input's.

    Example:
    ```python
    >>> layers = torch.nn.ModuleDict({"a": torch.nn.Linear(2, 2, bias=False), "b": torch.nn.Linear(2, 2, bias=False)})
    >>> layers["b"].weight = layers["a"].weight
    >>> sorted(find_tied_weights(layers))
    ['a.weight', 'b.weight']
    ```
    """
    names: dict[int, list[str]] = {}
    for name, weight in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(weight), []).append(name)
    return {name for group in names.values() if len(group) > 1 for name in group}
