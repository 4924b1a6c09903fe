"""Dynamic sampling on the embedded task under DDP, ZeRO-2, ZeRO-3 and FSDP2: the weights of one process."""

import math
from importlib.util import find_spec

import countdown_worker
import pytest
from launch import run_steps
from test_sharding import EXPECTED


SETTINGS = [
    {"fixed": True},
    {"fixed": True, "lora": True},
    {"fixed": False},
    {"fixed": False, "lora": True},
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
    assert record["dead_trained"] == [0] * 5
    assert max(record["rounds"]) > 1  # there was something to refill
    assert record["change"] > 1e-3
    if SETTINGS[index]["fixed"]:
        whole = one_process[index]
        assert whole["num_processes"] == 1
        assert (record["rounds"], record["prompts_consumed"]) == (whole["rounds"], whole["prompts_consumed"])
        assert (record["weights"] - whole["weights"]).abs().max() < 1e-4
        assert whole["change"] > 1e-3
