"""Dynamic sampling on the built-in task gives the weights of one process under DDP, ZeRO-2, ZeRO-3 and FSDP2."""

import math
from importlib.util import find_spec

import pytest
import torch

from helpers.processes import run_steps
from helpers.strategies import EXPECTED
from trl_forking.countdown import WORDS_PER_ATTEMPT
from workers import countdown_worker


pytestmark = pytest.mark.slow
# The sampled answers have room for one attempt alone: each token costs a round of messages between the processes.
SHORT = {"max_completion_length": WORDS_PER_ATTEMPT + 1}
SETTINGS = [
    {"fixed": True},
    {"fixed": True, "lora": True},
    {"fixed": False, "config": SHORT},
    {"fixed": False, "lora": True, "config": SHORT},
]
NAMES = [f"{'lora' if s.get('lora') else 'full'}-{'fixed' if s['fixed'] else 'sampled'}" for s in SETTINGS]


@pytest.fixture(scope="module", params=EXPECTED)
def strategy_and_records(request, tmp_path_factory):
    if request.param.startswith("zero") and find_spec("deepspeed") is None:
        pytest.skip("deepspeed is not installed")
    output_file = tmp_path_factory.mktemp(request.param) / "records.pt"
    return request.param, run_steps("countdown_worker.py", output_file, SETTINGS, request.param)


@pytest.fixture(scope="module")
def one_process():
    """Runs of a single process, by index of the settings; made once."""
    return {index: countdown_worker.run("ddp", SETTINGS[index], num_processes=1) for index in (0, 1)}


@pytest.mark.parametrize("index", range(len(SETTINGS)), ids=NAMES)
def test_five_steps_with_dynamic_sampling(strategy_and_records, one_process, index):
    strategy, records = strategy_and_records
    record = records[index]
    # accelerate falls back to another strategy, or to one process, without a word.
    assert record["num_processes"] == 2
    assert {key: record[key] for key in EXPECTED[strategy]} == EXPECTED[strategy]
    assert len(record["losses"]) == 5 and all(map(math.isfinite, record["losses"]))
    assert record["zero_variance_trained"] == [0] * 5
    assert max(record["rounds"]) > 1  # there was something to refill
    assert record["change"] > 1e-3
    if SETTINGS[index]["fixed"]:
        whole = one_process[index]
        assert whole["num_processes"] == 1
        assert (record["rounds"], record["prompts_consumed"]) == (whole["rounds"], whole["prompts_consumed"])
        assert (record["weights"] - whole["weights"]).abs().max() < 1e-4
        assert whole["change"] > 1e-3


@pytest.mark.parametrize("strategy", EXPECTED)
def test_resumed_on_two_processes(strategy, tmp_path):
    """In the middle of a rollout of two steps: each process has its own random state and its own answers left."""
    if strategy.startswith("zero") and find_spec("deepspeed") is None:
        pytest.skip("deepspeed is not installed")
    config = {"save_strategy": "steps", "save_steps": 1, "steps_per_generation": 4, "shuffle_dataset": True}
    config |= {"optim": "adamw_torch", "learning_rate": 1e-3}  # PyTorch cannot load the empty state of SGD under FSDP2
    whole = {"folder": str(tmp_path / "whole"), "config": config}
    resumed = {"folder": str(tmp_path / "resumed"), "config": config, "checkpoint": f"{whole['folder']}/checkpoint-3"}
    records = run_steps("countdown_worker.py", tmp_path / "records.pt", [whole, resumed], strategy)
    for record in records:
        assert {key: record[key] for key in EXPECTED[strategy]} == EXPECTED[strategy]
    assert len(records[0]["losses"]) == 5
    assert records[1]["losses"] == records[0]["losses"]
    assert torch.equal(records[1]["weights"], records[0]["weights"])


def test_resumed_on_another_number_of_processes(tmp_path):
    """From one to two and from two to one: all ranks go on with the same prompts, and end with the weights of one."""
    config = {"save_strategy": "steps", "save_steps": 1, "shuffle_dataset": True}
    one, two = ({"folder": str(tmp_path / name), "config": config, "fixed": True} for name in ("one", "two"))
    whole = countdown_worker.run("ddp", one, num_processes=1)
    widened = {**one, "folder": str(tmp_path / "widened"), "checkpoint": f"{one['folder']}/checkpoint-2"}
    records = run_steps("countdown_worker.py", tmp_path / "records.pt", [two, widened], "ddp")
    narrowed = {**two, "folder": str(tmp_path / "narrowed"), "checkpoint": f"{two['folder']}/checkpoint-2"}
    records.append(countdown_worker.run("ddp", narrowed, num_processes=1))
    assert [record["num_processes"] for record in records] == [2, 2, 1]
    for record in records:
        assert record["prompts_consumed"] == whole["prompts_consumed"]
        assert (record["weights"] - whole["weights"]).abs().max() < 1e-4
    assert records[1]["change"] > 1e-3
