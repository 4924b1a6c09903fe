"""The arms of the grid are trained as their settings say, and a run can be repeated."""

import arms
import numpy as np
import pytest
import torch
from measuring import evaluate, follow_forks
from run_arm import run
from training import COMMON_SETTINGS, build_trainer, train

from trl_forking.rollout.callback import RolloutCallback


class FirstRollout(RolloutCallback):
    def on_rollout(self, args, state, control, rollout, **kwargs):
        if not hasattr(self, "batch"):
            self.batch = {name: rollout.batch[name].clone() for name in ("completion_ids", "kept", "counted")}


def see_first_rollout(arm, folder):
    trainer = build_trainer(arms.ARMS[arm].settings, seed=0, num_steps=1, folder=str(folder))
    callback = FirstRollout()
    trainer.add_callback(callback)
    trainer.train()
    return callback.batch


@pytest.mark.slow
def test_top_and_lowest_tokens_are_disjoint_in_the_same_rollout(tmp_path):
    top, lowest = see_first_rollout("top_20", tmp_path / "top"), see_first_rollout("lowest_80", tmp_path / "lowest")
    assert torch.equal(top["completion_ids"], lowest["completion_ids"])
    assert top["kept"].any() and lowest["kept"].any()
    assert not (top["kept"] & lowest["kept"]).any()
    assert torch.equal(top["kept"] | lowest["kept"], top["counted"])


@pytest.mark.slow
def test_micro_batches_begin_with_the_same_answers(tmp_path):
    settings = arms.ARMS["scope_micro_batch"].settings
    assert (
        settings["per_device_train_batch_size"] * settings["gradient_accumulation_steps"]
        == (COMMON_SETTINGS["per_device_train_batch_size"])
    )
    rewards = [
        train(arms.ARMS[name].settings, seed=1, num_steps=1)[2]["reward"] for name in ("scope_micro_batch", "top_20")
    ]
    assert rewards[0] == pytest.approx(rewards[1], abs=1e-6)


@pytest.mark.slow
def test_a_run_can_be_repeated():
    first, second = (run("top_20", seed=2, num_steps=2, num_problems=8) for _ in range(2))
    assert first.pop("seconds") and second.pop("seconds")
    assert first == second
    assert len(first["log"]["reward"]) == 2 and len(first["scores"]) == 16
    assert 0 < first["log"]["recall"][0] <= 1
    assert [row["checkpoint"] for row in first["forks"]["overlap"]] == ["base", "step 1", "step 2"]


def test_scores_have_a_bit_for_each_right_answer(countdown_model):
    figures, answers = evaluate(countdown_model, num_problems=4)
    bits = int(figures["scores"], 16).bit_count()
    assert figures["accuracy"] == pytest.approx(bits / 32) and len(answers) == 4
    forks = follow_forks(answers, {1: countdown_model.state_dict()})
    assert [row["to_first"] for row in forks["overlap"]] == [1.0, 1.0]
    assert np.allclose([row["step 1"] for row in forks["change_by_bin"] if row["num_tokens"]], 0.0)


def test_arms_are_different():
    settings = [str(sorted(arm.settings.items())) for arm in arms.ARMS.values()]
    assert len(set(settings)) == len(settings)
    assert all(arm.num_seeds >= 3 for arm in arms.ARMS.values())
