"""Decoding with two temperatures in vLLM, for each request its own. Importable without vLLM, which it is of no use to.

    LLM(model, logits_processors=["trl_forking.decoding.vllm:ForkTemperatureLogitsProcessor"])
    SamplingParams(
        temperature=1.0, extra_args={"fork_threshold": 0.672, "fork_temperature": 1.2, "other_temperature": 1.0}
    )

vLLM samples with either of two model runners, each with an interface of its own: V1 tells a processor which request is in
which row of the batch, V2 gives a request a slot and maps rows to slots at every step. V1 serves all requests with logits
processors until vLLM 0.30, and V2 most from 0.31 on. One class does both, so that one name works with every version.
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
_NEUTRAL = (0.0, 1.0, 1.0)  # for requests without them: division by 1 changes no bit

_INTERFACES = ("vllm.v1.sample.logits_processor", "vllm.v1.worker.gpu.sample.logits_processor")


def _find_interfaces() -> tuple[type, ...]:
    """The classes that vLLM's model runners ask a processor to inherit from: none, one or two, by the version."""
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
    Read and check what a request asks for.

    Args:
        extra_args (`Mapping[str, Any]`, *optional*):
            `SamplingParams.extra_args`, with `fork_threshold` (nats), `fork_temperature` and `other_temperature`, or
            with none of them.
        temperature (`float`):
            `SamplingParams.temperature`.

    Returns:
        `tuple[float, float, float]` or `None`: the three in this order; `None` for a request without them.

    Raises:
        `ValueError`: if some are missing, a value can't be meant, or `temperature` is not 1.0, which would divide the
        logits once more.

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
            "would divide the logits by it once more."
        )
    return float(threshold), float(fork), float(other)


class ForkTemperatureLogitsProcessor(*_find_interfaces()):  # type: ignore[misc]
    """
    Sample the forks of a request at one temperature and its other tokens at another, in vLLM.

    It is not for calling: vLLM gets its name, `"trl_forking.decoding.vllm:ForkTemperatureLogitsProcessor"`, and each
    request its values through `SamplingParams.extra_args`, as at the top of this file. A request without them is
    sampled as if the processor weren't there. Equation and source are those of
    [`~trl_forking.decoding.apply_fork_temperature`].

    Args:
        vllm_config (`vllm.config.VllmConfig`):
            Its `scheduler_config.max_num_seqs` is the number of requests of a batch.
        place (`torch.device` or `LogitsProcRequestState`):
            The device from the V1 runner, the state of the requests from V2.
        is_pin_memory (`bool`, *optional*, defaults to `False`):
            Given by V1 and not used: what is copied is a few numbers, and only when requests come or go.

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
        # A slot is a row of the batch in V1 and a request's place for life in V2.
        self._settings = torch.tensor([_NEUTRAL] * num_slots)  # (slots, 3)
        self._is_used = np.zeros(num_slots, dtype=bool)
        self._on_device = torch.tensor([_NEUTRAL] * num_slots, device=place if is_v1 else place.device)
        self._is_stale = False

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """Raise `ValueError` for a request whose values can't be meant; vLLM refuses the request with the message."""
        read_fork_temperature(sampling_params.extra_args, sampling_params.temperature)

    def is_argmax_invariant(self) -> bool:
        """
        Say that greedy decoding is changed, so that V1 shows the logits before the temperature.

        Dividing by a positive number moves no argmax, but V1 runs the processors that say so after the temperature,
        min-p among them, and this one has to see the entropy before.
        """
        return False

    def update_state(self, batch_update: Any) -> None:
        """Follow the requests through V1's batch: those removed, those added, and those moved to another row."""
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
        """Note a request's values in its slot, over those of the request before it, and return whether it has any."""
        settings = read_fork_temperature(sampling_params.extra_args, sampling_params.temperature)
        self._write(req_idx, settings)
        return settings is not None

    def apply_staged_writes(self) -> None:
        """Copy what has changed to the device."""
        if self._is_stale:
            self._on_device.copy_(self._settings)
            self._is_stale = False

    def apply(self, logits: torch.Tensor, ctx: Any = None) -> torch.Tensor:
        """
        Divide the logits of each row by the temperature that its entropy calls for, in place.

        Args:
            logits (`torch.Tensor` of shape `(B, V)`):
                Logits before any temperature, float32.
            ctx (`LogitsContext`, *optional*):
                What V2 knows of this step's rows; in V1 row and slot are the same.

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
        # What a one-way move leaves behind is an empty row.
        self._settings[source] = replaced if is_swap else torch.tensor(_NEUTRAL)
        self._is_used[source] = replaced_used if is_swap else False
        self._is_stale = True
