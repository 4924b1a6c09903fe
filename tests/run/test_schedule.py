"""A learning rate schedule that cannot be built is refused before the model is loaded."""

import pytest

from trl_forking import ForkingGRPOConfig, ForkingGRPOTrainer
from trl_forking.countdown import countdown_reward, make_countdown_dataset
from trl_forking.run.schedule import check_schedule


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"lr_scheduler_kwargs": {"power": 2.0}}, "unexpected keyword"),
        ({"lr_scheduler_type": "cosine_with_min_lr"}, "min_lr"),
        ({"lr_scheduler_type": "warmup_stable_decay"}, "num_decay_steps"),
    ],
)
def test_a_schedule_that_cannot_be_built_is_refused(tmp_path, settings, reason):
    args = ForkingGRPOConfig(tmp_path, use_cpu=True, **settings)
    dataset = make_countdown_dataset("train", num_problems=8, seed=0)
    with pytest.raises(ValueError, match="^lr_scheduler_type=") as error:  # and the model is not looked for
        ForkingGRPOTrainer(model="./none", reward_funcs=countdown_reward, args=args, train_dataset=dataset)
    assert reason in str(error.value)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"lr_scheduler_type": "constant"},
        {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr": 0.0}},
        {"lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": '{"power": 2.0}'},
    ],
)
def test_a_schedule_with_its_parameters_passes(tmp_path, settings):
    check_schedule(ForkingGRPOConfig(tmp_path, use_cpu=True, **settings))
