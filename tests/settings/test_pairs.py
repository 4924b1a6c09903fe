"""Fields that do not go together are refused with what to change, where TRL refuses them and nowhere else."""

import pytest
from trl import GRPOConfig

from trl_forking import ForkingGRPOConfig


BEST = {"load_best_model_at_end": True, "eval_strategy": "steps", "save_strategy": "steps"}
VLLM = "vllm_importance_sampling_clip_"

REFUSED = {
    "both_precisions": ({"fp16": True, "bf16": True}, "fp16=True and bf16=True exclude each other"),
    "both_precisions_of_an_evaluation": (
        {"fp16_full_eval": True, "bf16_full_eval": True},
        "fp16_full_eval=True and bf16_full_eval=True exclude",
    ),
    "plateau": (
        {"lr_scheduler_type": "reduce_lr_on_plateau"},
        "lr_scheduler_type='reduce_lr_on_plateau' follows the eval",
    ),
    "greedy": ({"lr_scheduler_type": "greedy"}, "lr_scheduler_type='greedy' follows the evaluations"),
    "best_without_evaluation": (
        BEST | {"eval_strategy": "no"},
        "load_best_model_at_end=True needs .* eval_strategy is 'no' and save_strategy is 'steps'",
    ),
    "best_at_other_times": (
        BEST | {"save_strategy": "epoch"},
        "eval_strategy is 'steps' and save_strategy is 'epoch'",
    ),
    "best_at_other_steps": (BEST | {"eval_steps": 4, "save_steps": 6}, "save_steps=6 is no multiple of eval_steps=4"),
    "best_at_logged_steps": (
        BEST | {"logging_steps": 4, "save_steps": 6},
        "save_steps=6 is no multiple of eval_steps=4",
    ),
    "completions_for_the_hub": (
        {"log_completions_hub_repo": "me/it"},
        "log_completions_hub_repo is set, but log_comp",
    ),
    "batch_size_that_shrinks": ({"auto_find_batch_size": True}, "auto_find_batch_size=True would cut groups"),
    "prefetch": ({"dataloader_prefetch_factor": 2}, "dataloader_prefetch_factor=2 needs processes that load data"),
    "two_sizes": (
        {"generation_batch_size": 8, "steps_per_generation": 2},
        "generation_batch_size=8 and steps_per_gen",
    ),
    "ratios": ({f"{VLLM}min": 3.0, f"{VLLM}max": 2.0}, f"{VLLM}min=3.0 must be below {VLLM}max=2.0"),
    "equal_ratios": ({f"{VLLM}min": 2.0, f"{VLLM}max": 2.0}, f"{VLLM}min=2.0 must be below {VLLM}max=2.0"),
}
TAKEN = {
    "one_precision": {"fp16": True, "bf16": False},
    "plateau_with_evaluation": {
        "lr_scheduler_type": "reduce_lr_on_plateau",
        "eval_strategy": "steps",
        "eval_steps": 5,
    },
    "evaluation_at_logged_steps": {"eval_strategy": "steps", "logging_steps": 5},
    "best": BEST | {"eval_steps": 4, "save_steps": 8},
    "best_of_epochs": BEST | {"eval_strategy": "epoch", "save_strategy": "epoch"},
    "best_saved_alone": BEST | {"eval_strategy": "epoch", "save_strategy": "best"},
    "best_by_shares": BEST | {"eval_steps": 0.1, "save_steps": 0.2},
    "prefetch": {"dataloader_prefetch_factor": 2, "dataloader_num_workers": 1},
    "ratios": {f"{VLLM}min": 0.5, f"{VLLM}max": 2.0},
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_trl_refuses_is_refused_with_what_to_change(tmp_path, name):
    settings, sentence = REFUSED[name]
    with pytest.raises(ValueError):
        GRPOConfig(tmp_path, use_cpu=True, **{"bf16": False} | settings)
    with pytest.raises(ValueError, match=sentence) as error:
        ForkingGRPOConfig(tmp_path, use_cpu=True, **settings)
    assert ": " in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", TAKEN)
def test_what_trl_takes_is_taken(tmp_path, name):
    GRPOConfig(tmp_path, use_cpu=True, **{"bf16": False} | TAKEN[name])
    ForkingGRPOConfig(tmp_path, use_cpu=True, **TAKEN[name]).check()


def test_the_best_without_a_metric_is_refused_before_the_trainer_is_built(tmp_path):
    with pytest.raises(ValueError, match="save_strategy='best' needs a metric that says what is best"):
        ForkingGRPOConfig(tmp_path, use_cpu=True, save_strategy="best", eval_strategy="steps", eval_steps=5)


def test_an_evaluation_without_steps_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"eval_strategy='steps' needs .*set eval_steps, such as 50|logging_steps must be"
    ):
        ForkingGRPOConfig(tmp_path, use_cpu=True, eval_strategy="steps", logging_steps=0)
