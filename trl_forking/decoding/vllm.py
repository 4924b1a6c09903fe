"""Decoding with two temperatures in vLLM. Each request has its own two. The module can be imported without vLLM.

    LLM(model, logits_processors=["trl_forking.decoding.vllm:ForkTemperatureLogitsProcessor"])
    SamplingParams(
        temperature=1.0, extra_args={"fork_threshold": 0.672, "fork_temperature": 1.2, "other_temperature": 1.0}
    )

vLLM has two model runners with different interfaces. V1 tells a processor which request is in which row of the batch. V2
gives a request a slot, and maps rows to slots at every step. Until vLLM 0.30, V1 runs all requests with logits processors;
from 0.31 on, V2 runs most of them. One class supports both, so that one name works with every version.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np
import torch

from ..selection.entropies import compute_entropies
from .transformers import check_fork_temperature


# The keys of SamplingParams.extra_args, in the order of the columns below.
EXTRA_ARGS = ("fork_threshold", "fork_temperature", "other_temperature")
_NEUTRAL = (0.0, 1.0, 1.0)  # for requests without them, because a division by 1 changes nothing

_INTERFACES = ("vllm.v1.sample.logits_processor", "vllm.v1.worker.gpu.sample.logits_processor")


def _find_interfaces() -> tuple[type, ...]:
    """Find the base classes that the model runners of vLLM require: none, one or two, depending on the version."""
    found = []
    for name in _INTERFACES:
        try:
            found.append(import_module(name).LogitsProcessor)
        except ModuleNotFoundError as error:
            if not (error.name or "").startswith("vllm"):
                raise
    return tuple(found)


def read_fork_temperature(
    extra_args: Mapping[str, Any] | None, temperature: float
) -> tuple[float, float, float] | None:
    """
    Read and check the values of a request.

    Args:
        extra_args (`Mapping[str, Any]`, *optional*):
            `SamplingParams.extra_args`: all of `fork_threshold` (nats), `fork_temperature` and `other_temperature`, or
            none of them.
        temperature (`float`):
            `SamplingParams.temperature`.

    Returns:
        `tuple[float, float, float]` or `None`: the three values in this order, or `None` for a request without them.

    Raises:
        `ValueError`: if some of the values are missing or not allowed, or if `temperature` is not 1.0, because vLLM would
            divide the logits by it too.

    Example:
    ```python
    >>> read_fork_temperature({"fork_threshold": 0.672, "fork_temperature": 2.0}, temperature=1.0)
    Traceback (most recent call last):
        ...
    ValueError: extra_args lacks other_temperature: give fork_threshold, fork_temperature and other_temperature.
    ```
    """
    given = extra_args or {}
    missing = [name for name in EXTRA_ARGS if name not in given]
    if len(missing) == len(EXTRA_ARGS):
        return None
    if missing:
        raise ValueError(
            f"extra_args lacks {' and '.join(missing)}: give fork_threshold, fork_temperature and other_temperature."
        )
    threshold, fork, other = (given[name] for name in EXTRA_ARGS)
    check_fork_temperature(threshold, fork, other)
    if temperature != 1.0:
        raise ValueError(
            f"temperature must be 1.0 beside fork_temperature and other_temperature, but it is {temperature!r}: vLLM "
            "would divide the logits by it too."
        )
    return float(threshold), float(fork), float(other)


class ForkTemperatureLogitsProcessor(*_find_interfaces()):  # type: ignore[misc]
    """
    Sample the forks of a request at one temperature and its other tokens at another, in vLLM.

    vLLM creates and calls the processor. Give it the name `"trl_forking.decoding.vllm:ForkTemperatureLogitsProcessor"`, and
    give each request its values in `SamplingParams.extra_args`, as shown at the top of this file. The processor does not
    change requests without these values. Equation and source are those of
    [`~trl_forking.decoding.apply_fork_temperature`].

    Args:
        vllm_config (`vllm.config.VllmConfig`):
            Configuration. V1 reads from `scheduler_config.max_num_seqs` how many requests a batch can have.
        place (`torch.device` or `LogitsProcRequestState`):
            V1 passes the device, and V2 the state of the requests.
        is_pin_memory (`bool`, *optional*, defaults to `False`):
            V1 passes it. It is not used, because only a few numbers are copied, when requests come or go.

    Example:
    ```python
    >>> from types import SimpleNamespace
    >>> config = SimpleNamespace(scheduler_config=SimpleNamespace(max_num_seqs=8))
    >>> ForkTemperatureLogitsProcessor(config, torch.device("cpu")).apply(torch.ones(2, 3)).tolist()  # no requests
    [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    ```
    """

    def __init__(self, vllm_config: Any, place: Any, is_pin_memory: bool = False):
        is_v1 = isinstance(place, torch.device | str)
        num_slots = vllm_config.scheduler_config.max_num_seqs if is_v1 else place.max_num_reqs
        # In V1 a slot is a row of the batch. In V2 it is the place of a request as long as the request lives.
        self._settings = torch.tensor([_NEUTRAL] * num_slots)  # (slots, 3)
        self._is_used = np.zeros(num_slots, dtype=bool)
        self._on_device = torch.tensor([_NEUTRAL] * num_slots, device=place if is_v1 else place.device)
        self._is_stale = False

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """Raise `ValueError` for a request with wrong values. vLLM refuses the request with this message."""
        read_fork_temperature(sampling_params.extra_args, sampling_params.temperature)

    def is_argmax_invariant(self) -> bool:
        """
        Return False, so that V1 passes the logits before its temperature.

        In fact the division never changes the argmax. But V1 calls the processors that return True, such as min-p, after
        the temperature, and this processor needs the entropy before it.
        """
        return False

    def update_state(self, batch_update: Any) -> None:
        """Follow the requests in the batch of V1: some are removed, some are added, and some move to another row."""
        if batch_update is None:
            return
        for index in batch_update.removed:
            self._write(index, None)
        for index, params, _, _ in batch_update.added:
            self.add_request(index, params)
        for source, target, direction in batch_update.moved:
            self._move(source, target, is_swap=direction.name == "SWAP")
        self.apply_staged_writes()

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:
        """Write the values of a request into its slot, over those of an earlier request. Return whether it has any."""
        settings = read_fork_temperature(sampling_params.extra_args, sampling_params.temperature)
        self._write(req_idx, settings)
        return settings is not None

    def apply_staged_writes(self) -> None:
        """Copy changed values to the device."""
        if self._is_stale:
            self._on_device.copy_(self._settings)
            self._is_stale = False

    def apply(self, logits: torch.Tensor, ctx: Any = None) -> torch.Tensor:
        """
        Divide the logits of each row by the temperature of its kind (fork or other token), in place.

        Args:
            logits (`torch.Tensor` of shape `(B, V)`):
                Logits before any temperature, float32.
            ctx (`LogitsContext`, *optional*):
                The rows of this step in V2. In V1 a row is a slot.

        Returns:
            `torch.Tensor` of shape `(B, V)`: the same tensor.
        """
        rows, slots = (slice(len(logits)),) * 2 if ctx is None else (ctx.expanded_idx_mapping, ctx.idx_mapping_np)
        if not self._is_used[slots].any():
            return logits
        threshold, fork, other = self._on_device[rows].split(1, dim=1)  # (B, 1) each
        return logits.div_(torch.where(compute_entropies(logits) >= threshold, fork, other))

    def _write(self, slot: int, settings: tuple[float, float, float] | None) -> None:
        self._settings[slot] = torch.tensor(settings or _NEUTRAL)
        self._is_used[slot] = settings is not None
        self._is_stale = True

    def _move(self, source: int, target: int, is_swap: bool) -> None:
        moved, replaced = (self._settings[slot].clone() for slot in (source, target))
        moved_used, replaced_used = self._is_used[[source, target]]
        self._settings[target], self._is_used[target] = moved, moved_used
        # After a move in one direction, the old row is empty.
        self._settings[source] = replaced if is_swap else torch.tensor(_NEUTRAL)
        self._is_used[source] = replaced_used if is_swap else False
        self._is_stale = True
