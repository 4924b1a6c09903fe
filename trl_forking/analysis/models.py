"""Loads a model and its tokenizer from a folder, the Hub, an adapter or a GGUF file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..data.model_path import check_model_path
from ..run.user_errors import require


if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def load_model(
    name_or_path: str, dtype: str | None = None, device: str | None = None, trust_remote_code: bool = False
) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """
    Load a causal language model and its tokenizer, ready to answer and to score.

    Args:
        name_or_path (`str`):
            Folder of a model or of a PEFT adapter, name of either on the Hub, or path of a file that ends in `.gguf`.
            An adapter names its base model, which is loaded too. If the adapter has no tokenizer, the tokenizer is that
            of the base model.
        dtype (`str`, *optional*):
            Type of the weights, such as `"bfloat16"`, or `"auto"` for the type in which they are stored. The default is
            `"float32"` on a CPU and `"auto"` on other devices.
        device (`str`, *optional*):
            Device to load to. The default is the accelerator, or the CPU if there is no accelerator.
        trust_remote_code (`bool`, *optional*, defaults to `False`):
            Whether to run code that comes with a model of the Hub.

    Returns:
        `tuple`: [`~transformers.PreTrainedModel`] in evaluation mode and [`~transformers.PreTrainedTokenizerBase`].

    Raises:
        `ValueError`: if there is no such folder or file, or if a package that the model needs is not installed.

    Example:
    ```python
    >>> from trl_forking.analysis import load_model
    >>> load_model("./runs/no_such_model")
    Traceback (most recent call last):
        ...
    ValueError: There is no model at ./runs/no_such_model: give a folder, a GGUF file or a name of the Hub.
    ```
    """
    from transformers import AutoModelForCausalLM

    check_model_path(name_or_path)
    source = Path(name_or_path)
    if (source / "adapter_config.json").is_file():
        require("peft", "trl-forking[peft]")
    device = device or _find_device()
    kwargs: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    folder = name_or_path
    if name_or_path.endswith(".gguf"):
        folder, kwargs = str(source.parent), kwargs | _read_gguf(source)
    dtype = dtype or ("float32" if torch.device(device).type == "cpu" else "auto")
    with naming_model(name_or_path):
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, **kwargs)
    model.name_or_path = (
        name_or_path  # Transformers sets the name of an adapter's base model, or of the folder of a file
    )
    kwargs.pop("quantization_config", None)
    with naming_model(name_or_path):
        return model.to(device).eval(), _load_tokenizer(folder, model, kwargs)


@contextmanager
def naming_model(name_or_path: str) -> Iterator[None]:
    """
    Name the model that cannot be loaded. The errors of Transformers name the address of the Hub.

    Args:
        name_or_path (`str`):
            The model.

    Raises:
        `ValueError`: in place of an error of the file system or the network.

    Example:
    ```python
    >>> with naming_model("some/model"):
    ...     raise OSError("there is no network.")
    Traceback (most recent call last):
        ...
    ValueError: The model some/model cannot be loaded: there is no network.
    ```
    """
    try:
        yield
    except OSError as error:
        raise ValueError(f"The model {name_or_path} cannot be loaded: {' '.join(str(error).split())}") from error


def _find_device() -> str:
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return "cpu" if accelerator is None else str(accelerator)


def _read_gguf(file: Path) -> dict[str, Any]:
    from transformers import GgufConfig

    require("gguf", "gguf")
    return {"gguf_file": file.name, "quantization_config": GgufConfig(dequantize=True)}


def _load_tokenizer(folder: str, model: Any, kwargs: dict[str, Any]) -> "PreTrainedTokenizerBase":
    from transformers import AutoTokenizer

    adapters = getattr(model, "peft_config", None)
    if adapters and not (Path(folder) / "tokenizer_config.json").is_file():
        try:
            return AutoTokenizer.from_pretrained(folder, **kwargs)
        except (OSError, ValueError):  # the adapter was saved without a tokenizer
            folder = next(iter(adapters.values())).base_model_name_or_path
    return AutoTokenizer.from_pretrained(folder, **kwargs)
