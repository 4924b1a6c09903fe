"""Whether the learning rate schedule can be built from its settings, asked before anything is loaded."""

from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from ..forking_grpo_config import ForkingGRPOConfig


def check_schedule(settings: "ForkingGRPOConfig") -> None:
    """
    Build the schedule once, for one weight and two steps. Transformers builds it in training only.

    Args:
        settings ([`ForkingGRPOConfig`]):
            The fields `lr_scheduler_type` and `lr_scheduler_kwargs`.

    Raises:
        `ValueError`: if the schedule needs another parameter, or does not take one of those that are set.

    Example:
    ```python
    >>> from trl_forking import ForkingGRPOConfig
    >>> check_schedule(ForkingGRPOConfig("runs/example", use_cpu=True, lr_scheduler_kwargs={"power": 2.0}))
    Traceback (most recent call last):
        ...
    ValueError: lr_scheduler_type=linear does not go with lr_scheduler_kwargs={'power': 2.0} (... unexpected keyword argument ...
    ```
    """
    import torch
    from transformers import get_scheduler

    name = getattr(settings.lr_scheduler_type, "value", settings.lr_scheduler_type)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    steps = {"num_warmup_steps": 0, "num_training_steps": 2}
    try:
        get_scheduler(name, optimizer, scheduler_specific_kwargs=settings.lr_scheduler_kwargs or {}, **steps)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"lr_scheduler_type={name} does not go with lr_scheduler_kwargs={settings.lr_scheduler_kwargs} ({error}): set the "
            "parameters that it takes, or another schedule."
        ) from error
