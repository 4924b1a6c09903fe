"""Training with a real vLLM engine in the training process. The tests are skipped without vLLM (GPU or CPU build)."""

import json
import math
import os
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from helpers.processes import WORKERS


pytestmark = [pytest.mark.slow, pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")]


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """Train a scenario of vllm_engine_worker.py, once, and return what was logged at each of its six steps."""

    @cache
    def run(scenario: str) -> list[dict]:
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "2"}
        worker, folder = WORKERS / "vllm_engine_worker.py", tmp_path_factory.mktemp(scenario)
        command = [sys.executable, str(worker), str(folder), scenario]
        result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
        assert result.returncode == 0, result.stderr[-3000:]
        return json.loads(result.stdout.strip().splitlines()[-1])

    return run


def get(steps: list[dict], name: str) -> list[float]:
    """The logged values of a metric; those of a rollout come with its first step."""
    values = [step[name] for step in steps if step.get(name) is not None]
    assert values, name
    return values


@pytest.mark.parametrize(
    "scenario", ["full", "lora", "dynamic_sampling", "token_mask", "token_truncate", "all_tokens"]
)
def test_policy_and_engine_stay_together(train, scenario):
    """The weights of every step arrive: the probabilities differ by no more than the engine's precision."""
    steps = train(scenario)
    assert len(steps) == 6 and all(math.isfinite(step["loss"]) and step["grad_norm"] > 0 for step in steps)
    assert max(get(steps, "sampling/sampling_logp_difference/mean")) < 0.01
    assert all(0.9 < ratio < 1.1 for ratio in get(steps, "sampling/importance_sampling_ratio/mean"))


def test_without_the_weights_they_would_not(train):
    assert train("stale")[-1]["sampling/sampling_logp_difference/mean"] > 0.05


@pytest.mark.parametrize("scenario", ["full", "lora", "sequence_truncate", "dynamic_sampling"])
def test_a_fifth_of_the_tokens_is_trained(train, scenario):
    assert all(0.2 <= share < 0.21 for share in get(train(scenario), "forking/kept_fraction"))


def test_dynamic_sampling_leaves_no_zero_variance_group(train):
    steps = train("dynamic_sampling")
    assert max(get(steps, "frac_reward_zero_std")) == 0
    assert max(get(steps, "forking/zero_variance_groups")) > 0 and max(get(steps, "forking/sampling_rounds")) > 1
