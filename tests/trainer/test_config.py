import math

import numpy as np
import pytest
from trl import GRPOConfig

from trl_forking import ForkingGRPOConfig


def build(tmp_path, **settings):
    return ForkingGRPOConfig(str(tmp_path), use_cpu=True, **settings)


def test_defaults_are_the_papers(tmp_path):
    config = build(tmp_path)
    expected = {
        "top_entropy_quantile": 0.2, "token_selection": "high_entropy", "selection_scope": "batch",
        "loss_normalizer": "kept", "count_zero_advantage": False, "log_entropy": False, "loss_type": "dapo",
        "epsilon": 0.2, "epsilon_high": 0.28, "beta": 0.0, "entropy_coef": 0.0, "temperature": 1.0, "top_p": 1.0,
        "importance_sampling_level": "token",
    }  # fmt: skip
    assert {name: getattr(config, name) for name in expected} == expected


def test_every_other_default_is_trls(tmp_path):
    ours, theirs = build(tmp_path).to_dict(), GRPOConfig(str(tmp_path), use_cpu=True).to_dict()
    changed = {name for name in theirs if ours[name] != theirs[name]}
    assert changed <= {"top_entropy_quantile", "loss_type", "epsilon_high", "bf16", "logging_dir", "run_name"}


def test_precision_is_chosen_by_the_machine(tmp_path):
    assert build(tmp_path).bf16 is False
    assert build(tmp_path, bf16=True).bf16 is True


@pytest.mark.parametrize("rho", [0, 0.0, -0.2, 1.0001, 20, math.nan, math.inf, "0.2", None, True, [0.2]])
def test_share_out_of_range_is_refused(tmp_path, rho):
    """TRL accepts 20, which switches its mask off, and fails on -0.2 only after the first generation."""
    with pytest.raises(ValueError, match=r"^top_entropy_quantile must be a number in \(0, 1\], but it is"):
        build(tmp_path, top_entropy_quantile=rho)


def test_a_percentage_is_recognized(tmp_path):
    with pytest.raises(ValueError, match="such as 0.2 for 20 %"):
        build(tmp_path, top_entropy_quantile=20)


@pytest.mark.parametrize("rho", [1.0000000001, 1 + 2**-52, sum([0.1] * 10) + 3e-16, 1.001])
def test_a_share_just_above_one_means_all_tokens(tmp_path, rho):
    with pytest.raises(ValueError, match=r"set the share of tokens to train, such as 1.0 for all tokens\.$"):
        build(tmp_path, top_entropy_quantile=rho)


@pytest.mark.parametrize("rho", [1e-9, 0.2, 1, 1.0, np.float32(0.5)])
def test_share_in_range_is_accepted(tmp_path, rho):
    assert build(tmp_path, top_entropy_quantile=rho).drops_tokens == (rho < 1)


@pytest.mark.parametrize(
    ("field", "value", "meant"),
    [
        ("token_selection", "high-entropy", "high_entropy"),
        ("token_selection", "low", "low_entropy"),
        ("selection_scope", "microbatch", "micro_batch"),
        ("selection_scope", "sequences", "sequence"),
        ("loss_normalizer", "keep", "kept"),
        ("loss_type", "dappo", "dapo"),
        ("importance_sampling_level", "sequences", "sequence"),
    ],
)
def test_unknown_choice_gets_the_nearest_one(tmp_path, field, value, meant):
    with pytest.raises(ValueError, match=f"^{field}='{value}' is not one of .*: did you mean '{meant}'\\?$"):
        build(tmp_path, **{field: value})


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"beta": 0.001}, r"^beta=0.001 adds a KL term on every token, dropped ones too"),
        ({"entropy_coef": 0.01}, r"^entropy_coef=0.01 adds an entropy bonus"),
        ({"use_adaptive_entropy": True}, r"^use_adaptive_entropy=True adds an entropy bonus"),
        (
            {"importance_sampling_level": "sequence", "selection_scope": "micro_batch"},
            r"^importance_sampling_level='sequence' needs the kept tokens before",
        ),
        ({"token_selection": "low_entropy", "top_entropy_quantile": 1.0}, r"^token_selection='low_entropy' trains"),
        ({"log_entropy": True}, r"^log_entropy=True writes beside the logged completions, but log_completions is"),
        (
            {"log_entropy": True, "log_completions": True, "selection_scope": "micro_batch"},
            r"^log_entropy=True writes the kept flags when",
        ),
    ],
)
def test_refused_combinations_name_field_and_remedy(tmp_path, settings, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        build(tmp_path, **settings)
    assert ": set " in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("settings", [{"beta": 0.001}, {"entropy_coef": 0.01}, {"use_adaptive_entropy": True}])
def test_all_tokens_may_be_trained_with_any_of_trls_terms(tmp_path, settings):
    build(tmp_path, top_entropy_quantile=1.0, **settings)


@pytest.mark.parametrize(("size", "remedy"), [(7, "set num_generations to 4 or 8"), (3, "to 2 or 4"), (65, "to 64")])
def test_group_size_that_divides_nothing_names_its_neighbors(tmp_path, size, remedy):
    with pytest.raises(ValueError, match=f"num_generations={size} does not divide a rollout of 64 answers") as error:
        ForkingGRPOConfig(
            tmp_path, num_generations=size, per_device_train_batch_size=8, steps_per_generation=8, use_cpu=True
        )
    assert remedy in str(error.value)


def test_other_errors_of_trl_stay_as_they_are(tmp_path):
    with pytest.raises(ValueError, match="at least 2 generations"):
        ForkingGRPOConfig(tmp_path, num_generations=1, use_cpu=True)
