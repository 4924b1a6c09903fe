"""Callbacks that see rollouts: any number of them, whatever the scope."""

import pytest
import torch

from helpers.tiny import build_dataset, build_trainer, compute_weight_change
from trl_forking.rollout.callback import RolloutCallback


class Listener(RolloutCallback):
    def __init__(self):
        self.seen = []

    def on_rollout(self, args, state, control, rollout, **kwargs):
        self.seen.append((state.global_step, rollout))


def test_all_of_them_see_every_rollout(tmp_path):
    first, second = Listener(), Listener()
    trainer = build_trainer(tmp_path, max_steps=2, trainer_kwargs={"callbacks": [first]})
    trainer.add_callback(second)
    trainer.train()
    assert [step for step, _ in first.seen] == [step for step, _ in second.seen] == [0, 1]
    rollout = first.seen[0][1]
    num_rows = len(rollout.batch["completion_ids"])
    assert len(rollout.inputs) == num_rows == 64 and rollout.rewards_per_func.shape == (64, 1)
    assert rollout.inputs[0]["prompt"] == build_dataset()["prompt"][0]
    assert rollout.batch["kept"].any() and not (rollout.batch["kept"] & ~rollout.batch["counted"]).any()
    mask = rollout.batch["completion_mask"].bool()
    assert (rollout.batch["entropies"][mask] > 0).all()  # those of answers without an advantage too


@pytest.mark.parametrize("scope", ["batch", "micro_batch", "sequence"])
def test_who_looks_changes_nothing(tmp_path, scope):
    listener = Listener()
    settings = {"selection_scope": scope, "sparse_update": False}
    seen = build_trainer(tmp_path, **settings, trainer_kwargs={"callbacks": [listener]})
    unseen = build_trainer(tmp_path, **settings)
    assert torch.equal(compute_weight_change(seen), compute_weight_change(unseen))
    assert ("kept" in listener.seen[0][1].batch) == (scope != "micro_batch")


def test_an_evaluation_is_not_shown(tmp_path):
    listener = Listener()
    trainer = build_trainer(tmp_path, trainer_kwargs={"eval_dataset": build_dataset(), "callbacks": [listener]})
    trainer.evaluate()
    assert not listener.seen
