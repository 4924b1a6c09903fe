"""Decoding with two temperatures in vLLM: with a stand-in for its batch, and with vLLM itself if installed."""

import inspect
import json
import os
import subprocess
import sys
from dataclasses import dataclass, fields
from enum import Enum, auto
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from helpers.processes import WORKERS
from trl_forking.decoding import apply_fork_temperature, compute_entropies
from trl_forking.decoding import vllm as decoding_vllm
from trl_forking.decoding.vllm import ForkTemperatureLogitsProcessor


NUM_SLOTS, NUM_WORDS = 8, 11
PROCESSOR = "trl_forking.decoding.vllm:ForkTemperatureLogitsProcessor"
INTERFACES = decoding_vllm._find_interfaces()  # none where vLLM is not installed
V1, V2 = "vllm.v1.sample.logits_processor", "vllm.v1.worker.gpu.sample.logits_processor"


# vLLM's own classes, as far as they are used here


class MoveDirectionality(Enum):
    UNIDIRECTIONAL = auto()
    SWAP = auto()


@dataclass(frozen=True)
class BatchUpdate:
    batch_size: int
    removed: list
    added: list
    moved: list


@dataclass(frozen=True)
class LogitsContext:
    expanded_idx_mapping: torch.Tensor  # logits row -> slot
    idx_mapping_np: np.ndarray  # request of this step -> slot


def build_request(threshold=None, fork=None, other=None, temperature=1.0):
    extra = {"fork_threshold": threshold, "fork_temperature": fork, "other_temperature": other}
    return SimpleNamespace(temperature=temperature, extra_args=None if threshold is None else extra)


def draw_request(random: np.random.Generator):
    if random.random() < 0.3:
        return build_request()
    return build_request(random.uniform(0, 2), random.uniform(0.3, 3), random.uniform(0.3, 3))


def build_v1() -> ForkTemperatureLogitsProcessor:
    config = SimpleNamespace(scheduler_config=SimpleNamespace(max_num_seqs=NUM_SLOTS))
    return ForkTemperatureLogitsProcessor(config, torch.device("cpu"), False)


def build_v2() -> ForkTemperatureLogitsProcessor:
    state = SimpleNamespace(device=torch.device("cpu"), max_num_reqs=NUM_SLOTS)
    return ForkTemperatureLogitsProcessor(SimpleNamespace(), state)


def draw_logits(num_rows: int, seed: int = 0) -> torch.Tensor:
    return 2 * torch.randn(num_rows, NUM_WORDS, generator=torch.Generator().manual_seed(seed))


def expected_logits(logits: torch.Tensor, requests: list) -> torch.Tensor:
    """One row at a time, with the function that the Transformers processor is."""
    rows = [
        row
        if request.extra_args is None
        else apply_fork_temperature(row, *(request.extra_args[name] for name in decoding_vllm.EXTRA_ARGS))
        for row, request in zip(logits.split(1), requests, strict=True)
    ]
    return torch.cat(rows)


class Batch:
    """V1's batch: a new request takes the lowest free row, then the last rows fill the gaps, then rows are swapped."""

    def __init__(self, random: np.random.Generator):
        self.rows: list = []
        self.random = random

    def step(self) -> tuple[BatchUpdate, str]:
        free = [row for row in range(len(self.rows)) if self.random.random() < 0.3]
        for row in free:
            self.rows[row] = None
        added = []
        for _ in range(self.random.integers(0, 4)):
            if not free and len(self.rows) == NUM_SLOTS:
                break
            row = free.pop(0) if free else len(self.rows)
            self.rows[row : row + 1] = [draw_request(self.random)]
            added.append((row, self.rows[row], [1, 2], []))
        moved = self._condense(free)
        if len(self.rows) > 1 and self.random.random() < 0.5:
            first, second = map(int, self.random.choice(len(self.rows), 2, replace=False))
            self.rows[first], self.rows[second] = self.rows[second], self.rows[first]
            moved.append((first, second, MoveDirectionality.SWAP))
        return BatchUpdate(len(self.rows), free[::-1], added, moved)

    def _condense(self, free: list[int]) -> list:
        moved = []
        while self.rows and free:
            if self.rows[-1] is None:
                self.rows.pop()
                continue
            if free[0] >= len(self.rows):
                break
            row = free.pop(0)
            self.rows[row] = self.rows.pop()
            moved.append((len(self.rows), row, MoveDirectionality.UNIDIRECTIONAL))
        return moved


@pytest.mark.parametrize("seed", range(5))
def test_v1_follows_requests_that_come_go_and_move(seed):
    processor, batch = build_v1(), Batch(np.random.default_rng(seed))
    seen = set()
    for step in range(200):
        update = batch.step()
        processor.update_state(update)
        seen |= {name for name in ("removed", "added") if getattr(update, name)} | {m[2] for m in update.moved}
        logits = draw_logits(len(batch.rows), seed=step)
        if len(logits):
            expected = expected_logits(logits, batch.rows)
            assert torch.equal(processor.apply(logits.clone()), expected)
    assert seen == {"removed", "added", *MoveDirectionality}


def test_v1_keeps_its_rows_where_nothing_changes():
    processor = build_v1()
    request = build_request(0.5, 2.0, 0.5)
    processor.update_state(BatchUpdate(1, [], [(0, request, [1], [])], []))
    processor.update_state(None)
    logits = draw_logits(1)
    assert torch.equal(processor.apply(logits.clone()), expected_logits(logits, [request]))


@pytest.mark.parametrize("seed", range(3))
def test_v2_follows_slots_that_are_taken_again_and_rows_in_any_order(seed):
    random, processor = np.random.default_rng(seed), build_v2()
    slots: dict = {}
    for step in range(100):
        for slot in random.choice(NUM_SLOTS, 2, replace=False):
            slots[slot] = draw_request(random)  # a slot may hold the values of a request that has ended
            assert processor.add_request(int(slot), slots[slot]) == (slots[slot].extra_args is not None)
        processor.apply_staged_writes()
        requests = random.permutation(list(slots))[: random.integers(1, len(slots) + 1)]
        rows = np.repeat(requests, random.integers(1, 4, len(requests)))  # several where tokens were drafted
        logits = draw_logits(len(rows), seed=step)
        result = processor.apply(logits.clone(), LogitsContext(torch.from_numpy(rows), requests))
        assert torch.equal(result, expected_logits(logits, [slots[row] for row in rows]))


def test_requests_without_it_are_not_touched_nor_scored(monkeypatch):
    processor = build_v1()
    processor.update_state(BatchUpdate(2, [], [(row, build_request(), [1], []) for row in range(2)], []))
    monkeypatch.setattr(decoding_vllm, "compute_entropies", None)  # a call would fail
    logits = draw_logits(2)
    assert processor.apply(logits) is logits and torch.equal(logits, draw_logits(2))


def test_equal_temperatures_are_that_temperature():
    """Which is how vLLM applies a plain one: by a tensor of float32 numbers, one for each row."""
    processor = build_v1()
    processor.update_state(BatchUpdate(1, [], [(0, build_request(0.5, 0.7, 0.7), [1], [])], []))
    logits = draw_logits(1)
    assert torch.equal(processor.apply(logits.clone()), logits / torch.tensor([[0.7]]))


def test_impossible_words_stay_impossible():
    processor = build_v1()
    processor.update_state(BatchUpdate(1, [], [(0, build_request(0.5, 3.0, 0.1), [1], [])], []))
    logits = draw_logits(1)
    logits[0, ::2] = float("-inf")
    result = processor.apply(logits.clone())
    assert torch.equal(result.isneginf(), logits.isneginf()) and not result.isnan().any()


@pytest.mark.parametrize(
    ("extra", "temperature", "message"),
    [
        ({"fork_threshold": 0.5}, 1.0, "extra_args lacks fork_temperature and other_temperature: give"),
        ({"fork_temperature": 2.0, "other_temperature": 1.0}, 1.0, "extra_args lacks fork_threshold: give"),
        ((0.5, 0.0, 1.0), 1.0, "fork_temperature must be a positive number, but it is 0.0"),
        ((0.5, 1.0, "hot"), 1.0, "other_temperature must be a positive number, but it is 'hot'"),
        ((float("nan"), 1.0, 1.0), 1.0, "threshold must be an entropy in nats, 0 or more, but it is nan."),
        ((0.5, 2.0, 1.0), 0.7, "temperature must be 1.0 beside fork_temperature and other_temperature, but it is 0.7"),
        ((0.5, 2.0, 1.0), 0.0, "temperature must be 1.0 beside fork_temperature and other_temperature, but it is 0.0"),
    ],
)
def test_requests_that_cannot_be_meant_are_refused(extra, temperature, message):
    extra = extra if isinstance(extra, dict) else dict(zip(decoding_vllm.EXTRA_ARGS, extra, strict=True))
    with pytest.raises(ValueError, match=f"^{message}"):
        ForkTemperatureLogitsProcessor.validate_params(SimpleNamespace(extra_args=extra, temperature=temperature))


@pytest.mark.parametrize("extra", [None, {}, {"of_another_processor": 3}])
def test_requests_without_it_may_have_any_temperature(extra):
    ForkTemperatureLogitsProcessor.validate_params(SimpleNamespace(extra_args=extra, temperature=0.0))


def test_v1_is_told_to_run_it_before_the_temperature():
    assert build_v1().is_argmax_invariant() is False


# vLLM's own code, where it is installed

needs_vllm = pytest.mark.skipif(not INTERFACES, reason="vLLM is not installed")
needs_v2 = pytest.mark.skipif(len(INTERFACES) < 2, reason="no vLLM that takes processors in the V2 runner (0.31)")


@needs_vllm
def test_vllm_asks_for_no_other_methods():
    for interface in INTERFACES:
        assert issubclass(ForkTemperatureLogitsProcessor, interface)
        for name, theirs in inspect.getmembers(interface, inspect.isfunction):
            ours = inspect.signature(getattr(ForkTemperatureLogitsProcessor, name))
            placeholders = [None] * len(inspect.signature(theirs).parameters)
            ours.bind(*placeholders)  # a TypeError where vLLM passes what we don't take
    assert not inspect.isabstract(ForkTemperatureLogitsProcessor)


@needs_vllm
def test_vllm_loads_it_by_its_name():
    from vllm.v1.sample.logits_processor import LogitsProcessors, _load_logitsprocs_by_fqcns

    assert _load_logitsprocs_by_fqcns([PROCESSOR]) == [ForkTemperatureLogitsProcessor]
    processor = build_v1()
    assert LogitsProcessors([processor]).non_argmax_invariant == [processor]


@needs_vllm
def test_the_stand_in_has_the_fields_of_vllms_batch():
    from vllm.v1.sample import logits_processor as v1

    assert [field.name for field in fields(v1.BatchUpdate)] == [field.name for field in fields(BatchUpdate)]
    assert [member.name for member in v1.MoveDirectionality] == [member.name for member in MoveDirectionality]


@needs_vllm
@pytest.mark.parametrize("seed", range(3))
def test_v1_agrees_with_vllms_own_bookkeeping(seed):
    from vllm.v1.sample import logits_processor as v1
    from vllm.v1.sample.logits_processor.builtin import process_dict_updates

    processor, batch, entries = build_v1(), Batch(np.random.default_rng(seed)), {}
    for step in range(100):
        update = batch.step()
        moved = [(a, b, v1.MoveDirectionality[direction.name]) for a, b, direction in update.moved]
        real = v1.BatchUpdateBuilder(update.removed, update.added, moved).get_and_reset(update.batch_size)
        processor.update_state(real)
        process_dict_updates(entries, real, lambda params, *_: params if params.extra_args else None)
        if batch.rows:
            requests = [entries.get(row, build_request()) for row in range(len(batch.rows))]
            logits = draw_logits(len(requests), seed=step)
            assert torch.equal(processor.apply(logits.clone()), expected_logits(logits, requests))


@needs_v2
def test_v2_has_the_fields_that_are_read():
    from vllm.v1.worker.gpu.sample import logits_processor as v2
    from vllm.v1.worker.gpu.sample.logits_processor.loader import _load_v2_logitsprocs_by_fqcns

    assert {field.name for field in fields(LogitsContext)} <= {field.name for field in fields(v2.LogitsContext)}
    assert {"device", "max_num_reqs"} <= {field.name for field in fields(v2.LogitsProcRequestState)}
    assert _load_v2_logitsprocs_by_fqcns([PROCESSOR]) == [ForkTemperatureLogitsProcessor]


@needs_vllm
def test_vllm_shows_the_logits_before_the_temperature():
    """V1's own sampler: what reaches the cuts has been divided by the temperature of the kind, and by no other."""
    from vllm.v1.sample.logits_processor import LogitsProcessors
    from vllm.v1.sample.metadata import SamplingMetadata
    from vllm.v1.sample.sampler import Sampler

    processor, request = build_v1(), build_request(1.5, 2.0, 0.5)
    processor.update_state(BatchUpdate(4, [], [(row, request, [1], []) for row in range(4)], []))
    defaults = {field.name: None for field in fields(SamplingMetadata)}
    metadata = SamplingMetadata(
        **defaults
        | {
            "temperature": torch.ones(4),
            "all_greedy": False,
            "all_random": True,
            "generators": {},
            "no_penalties": True,
            "output_token_ids": [[]] * 4,
            "bad_words_token_ids": {},
            "logitsprocs": LogitsProcessors([processor]),
        }
    )
    sampler, seen = Sampler(), []
    sampler.topk_topp_sampler.forward = lambda logits, *_: seen.append(logits.clone()) or (logits.argmax(-1), None)
    logits = draw_logits(4)
    assert len((compute_entropies(logits) >= 1.5).unique()) == 2
    sampler(logits.clone(), metadata)
    assert torch.equal(seen[0], expected_logits(logits, [request] * 4))


@needs_vllm
def test_a_real_engine_samples_with_it():
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    worker = WORKERS / "fork_temperature_worker.py"
    result = subprocess.run([sys.executable, worker], capture_output=True, text=True, env=environment, timeout=900)
    assert result.returncode == 0, result.stderr[-3000:]
    results = json.loads(result.stdout.strip().splitlines()[-1])
    assert results["equal"] == [True] * 3
    assert results["mixed"] and results["two_differ"]
    assert "lacks fork_temperature and other_temperature" in results["refusals"][0]
    assert "fork_temperature must be a positive number" in results["refusals"][1]
    assert "temperature must be 1.0" in results["refusals"][2]
