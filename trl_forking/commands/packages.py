"""Whether the packages are installed that the settings of a run need, asked before anything is loaded."""

from importlib.util import find_spec
from typing import TYPE_CHECKING

from trl import ModelConfig

from ..run.user_errors import UserError, require
from .arguments import BUILT_IN
from .math_arguments import MathArguments


if TYPE_CHECKING:
    from ..forking_grpo_config import ForkingGRPOConfig


def check_packages(script_args: MathArguments, training_args: "ForkingGRPOConfig", model_args: ModelConfig) -> None:
    """
    Refuse settings that need a package which is not installed.

    Args:
        script_args ([`MathArguments`]):
            Problems and reward.
        training_args ([`ForkingGRPOConfig`]):
            Settings of the trainer.
        model_args ([`~trl.ModelConfig`]):
            The model.

    Raises:
        [`UserError`]: if a package is missing; the message has the command that installs it.

    Example:
    ```python
    >>> from trl_forking.commands.math_arguments import make_parser
    >>> from trl_forking.commands.packages import check_packages
    >>> check_packages(*make_parser().parse_args_and_config(["--dataset_name", "countdown"]))
    ```
    """
    needed = {
        "math_verify": (script_args.dataset_name != BUILT_IN, "trl-forking[math]"),
        "peft": (model_args.use_peft, "trl-forking[peft]"),
        "vllm": (training_args.use_vllm, "trl-forking[vllm]"),
        "gguf": (script_args.gguf_file, "gguf"),
        "liger_kernel": (training_args.use_liger_kernel, "liger-kernel"),
        "bitsandbytes": (model_args.load_in_4bit or model_args.load_in_8bit, "bitsandbytes"),
    }
    for package, (is_needed, install) in needed.items():
        if is_needed:
            require(package, install)
    _check_optimizer(getattr(training_args.optim, "value", training_args.optim) or "")


def _check_optimizer(optim: str) -> None:
    """Refuse an optimizer whose package is not installed. Transformers looks for it in training only."""
    of_bitsandbytes = ("bnb", "paged", "lion", "ademamix", "adamw_8bit")
    needed = {
        "galore_torch": ("galore" in optim, "galore-torch"),
        "apollo_torch": ("apollo" in optim, "apollo-torch"),
        "lomo_optim": (optim in ("lomo", "adalomo"), "lomo-optim"),
        "grokadamw": (optim == "grokadamw", "grokadamw"),
        "schedulefree": ("schedule_free" in optim, "schedulefree"),
        "optimi": (optim == "stable_adamw", "torch-optimi"),
        "torchao": (optim in ("adamw_torch_4bit", "adamw_torch_8bit"), "torchao"),
        "torchdistx": (optim == "adamw_anyprecision", "torchdistx"),
        "bitsandbytes": (optim.startswith(of_bitsandbytes) or "_bnb" in optim, "bitsandbytes"),
    }
    for package, (is_needed, install) in needed.items():
        if is_needed and find_spec(package) is None:
            raise UserError(f"optim is {optim}, but {package} is not installed: pip install {install}")
