"""DDP, ZeRO-2, ZeRO-3, FSDP2: two processes have the gradient of one, also if one has zero-variance groups only."""

from importlib.util import find_spec

import pytest

from helpers.processes import run_steps
from helpers.strategies import EXPECTED
from helpers.tiny import relative_error
from workers.layout_worker import run_step


pytestmark = pytest.mark.slow
SETTINGS = [
    {},
    {"first_rank_has_zero_variance": True},
    {"sparse_update": False},
    {"selection_scope": "sequence", "loss_type": "grpo"},
    {"num_iterations": 2, "learning_rate": 0.1},
    {"lora": True},
    {"token_selection": "gradient_norm"},
    {"token_selection": "entropy_weights", "num_iterations": 2, "learning_rate": 0.1},
    {"long_tailed": True, "first_rank_has_zero_variance": True, "loss_type": "grpo"},
    {"long_tailed": True, "top_entropy_quantile": 1.0, "loss_type": "dr_grpo"},
    {"gradient_path": "forks", "first_rank_has_zero_variance": True},
    {"gradient_path": "forks", "gradient_path_window": 1, "num_iterations": 2, "learning_rate": 0.1, "lora": True},
]


@pytest.fixture(scope="module", params=EXPECTED)
def strategy_and_records(request, tmp_path_factory):
    if request.param.startswith("zero") and find_spec("deepspeed") is None:
        pytest.skip("deepspeed is not installed")
    output_file = tmp_path_factory.mktemp(request.param) / "records.pt"
    return request.param, run_steps("sharded_worker.py", output_file, SETTINGS, request.param)


@pytest.mark.parametrize("index", range(len(SETTINGS)), ids=lambda index: str(SETTINGS[index]))
def test_gradient_is_that_of_one_process(strategy_and_records, index):
    strategy, records = strategy_and_records
    record, settings = records[index], SETTINGS[index]
    whole = run_step({**settings, "per_device_train_batch_size": 64, "gradient_accumulation_steps": 1})
    # accelerate falls back to another strategy, or to one process, without a word.
    assert record["num_processes"] == 2
    assert {key: record[key] for key in EXPECTED[strategy]} == EXPECTED[strategy]
    drops_tokens = settings.get("top_entropy_quantile", 0.2) < 1
    assert record["is_sparse"] == (drops_tokens and settings.get("sparse_update", True))
    assert whole["gradient"].any()
    assert relative_error(record["gradient"], whole["gradient"]) < 1e-5
    assert record["loss"] == pytest.approx(whole["loss"], rel=1e-4, abs=1e-7)
