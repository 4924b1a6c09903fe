"""The flags that `analyze`, `compare` and `evaluate` share. This module imports no torch."""

from dataclasses import dataclass, field

from ..run.device import check_device


@dataclass(kw_only=True)  # or these fields would take the first places of a call
class SamplingArguments:
    """
    How a model is loaded, how its answers are sampled, and what may be in the folder that they are written to.

    Parameters:
        top_k (`int`, *optional*, defaults to `0`):
            Number of likeliest tokens to sample from, 0 for all tokens.
        seed (`int`, *optional*, defaults to `42`):
            Seed of the answers.
        use_vllm (`bool`, *optional*, defaults to `False`):
            Whether vLLM samples the answers.
        dtype, device (`str`, *optional*):
            Type of the weights, and where they are. By default the weights keep their stored type and are on the GPU; on
            a CPU they are float32.
        trust_remote_code (`bool`, *optional*, defaults to `False`):
            Whether to run code that comes with a model of the Hub.
        overwrite (`bool`, *optional*, defaults to `False`):
            Whether to delete other answers that are in the folder. Without it, they are an error.

    Raises:
        `ValueError`: if there is no such device or type.

    Example:
    ```python
    >>> from trl_forking.commands.sampling_arguments import SamplingArguments
    >>> SamplingArguments(device="cpu").seed
    42
    ```
    """

    top_k: int = field(default=0, metadata={"help": "Number of likeliest tokens to sample from; 0 for all tokens."})
    seed: int = field(default=42, metadata={"help": "Seed of the answers."})
    use_vllm: bool = field(default=False, metadata={"help": "Let vLLM sample the answers."})
    dtype: str | None = field(default=None, metadata={"help": "Type of the weights, such as `bfloat16`."})
    device: str | None = field(default=None, metadata={"help": "Device, such as `cuda:1`."})
    trust_remote_code: bool = field(
        default=False, metadata={"help": "Run the code that comes with a model of the Hub."}
    )
    overwrite: bool = field(default=False, metadata={"help": "Delete other answers that are in the folder."})

    def __post_init__(self) -> None:
        check_device(self.device, self.dtype)
