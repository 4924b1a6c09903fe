"""The same answers give the same kept tokens and the same gradient on every hardware layout."""

import itertools
import json

import pytest
from trl import GRPOConfig, GRPOTrainer

from helpers.processes import run_forks, run_steps
from helpers.tiny import build_trainer, compute_weight_change, relative_error
from trl_forking.selection import LOSS_NORMALIZERS, TOKEN_SELECTIONS
from trl_forking.selection.rules import RULES
from workers.layout_worker import run_step


def layout(per_device: int, num_processes: int = 1) -> dict:
    return {
        "per_device_train_batch_size": per_device,
        "gradient_accumulation_steps": 64 // (per_device * num_processes),
    }


@pytest.mark.parametrize(("selection", "normalizer"), [*itertools.product(TOKEN_SELECTIONS, LOSS_NORMALIZERS)])
def test_accumulation_steps_change_nothing(selection, normalizer):
    settings = {"token_selection": selection, "loss_normalizer": normalizer}
    whole = run_step({**settings, **layout(64)})
    for per_device in (32, 16, 8):  # the 64 answers as 1, 2, 4 and 8 micro-batches
        split = run_step({**settings, **layout(per_device)})
        assert split["kept"] == whole["kept"]
        assert relative_error(split["gradient"], whole["gradient"]) < 1e-5
        assert split["threshold"] == whole["threshold"]


TWO_PROCESSES = [
    {"token_selection": selection, "loss_normalizer": normalizer}
    for selection, normalizer in itertools.product(TOKEN_SELECTIONS, LOSS_NORMALIZERS)
] + [
    {"selection_scope": "sequence"},
    {"importance_sampling_level": "sequence"},
    {"dynamic_sampling": True},
    {
        "dynamic_sampling": True,
        "first_rank_has_zero_variance": True,
    },  # one rank finds all its groups informative, the other none
    {"dynamic_sampling": True, "dynamic_sampling_max_rounds": 1, "token_selection": "random"},
    {"long_tailed": True, "loss_type": "grpo"},
    {"long_tailed": True, "first_rank_has_zero_variance": True},
    {"long_tailed": True, "balance_ranks": False, "loss_type": "sapo"},
    *({"token_selection": name} for name in RULES if name not in TOKEN_SELECTIONS),
]


@pytest.fixture(scope="module")
def records_of_two_processes(tmp_path_factory) -> list[dict]:
    """Two processes x 4 steps of 8 answers each, started once for all settings."""
    output_file = tmp_path_factory.mktemp("layouts") / "records.pt"
    return run_steps("layout_worker.py", output_file, [{**settings, **layout(8, 2)} for settings in TWO_PROCESSES])


@pytest.mark.slow
@pytest.mark.parametrize(
    "index", range(len(TWO_PROCESSES)), ids=lambda i: "-".join(map(str, TWO_PROCESSES[i].values()))
)
def test_two_processes_change_nothing(records_of_two_processes, index):
    whole, split = run_step({**TWO_PROCESSES[index], **layout(64)}), records_of_two_processes[index]
    assert (split["num_processes"], split["distributed_type"]) == (2, "DistributedType.MULTI_CPU")
    assert split["kept"] == whole["kept"]
    assert relative_error(split["gradient"], whole["gradient"]) < 1e-5
    assert split["threshold"] == pytest.approx(whole["threshold"], rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_fault_in_one_rank_ends_all_with_its_message(rank, tmp_path):
    settings = {"dynamic_sampling": True, "fault_rank": rank, **layout(8, 2)}
    result = run_forks("layout_worker.py", str(tmp_path / "out.pt"), json.dumps([settings]), ranks=2, timeout=120)
    assert result.returncode != 0
    assert f"RuntimeError: the judge of rank {rank} is gone" in result.stderr


def test_the_comparison_can_fail(tmp_path):
    """TRL's own mask on the same answers: its gradient depends on the layout, by what docs/trl_mask.md says."""
    settings = {"trainer_class": GRPOTrainer, "config_class": GRPOConfig, "top_entropy_quantile": 0.2}
    settings |= {"loss_type": "dapo"}
    changes = [compute_weight_change(build_trainer(tmp_path, **settings, **layout(size))) for size in (64, 8, 4)]
    assert all(relative_error(*pair) > 0.3 for pair in itertools.permutations(changes, 2))
