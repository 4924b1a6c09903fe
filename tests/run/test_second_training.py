"""A training begins from a clean rollout state, whatever an earlier one of the same trainer left behind."""

import pytest
import torch
from transformers import TrainerCallback

from helpers.tiny import build_model, build_trainer, record_rollouts, reward_fixed


# Two optimizer steps a rollout, of four micro-batches each.
SETTINGS = {"gradient_accumulation_steps": 4, "steps_per_generation": 8, "learning_rate": 1e-2, "max_steps": 4}
SETTINGS |= {"per_device_train_batch_size": 4, "optim": "sgd", "rollout_func": None, "shuffle_dataset": True}


class Interrupted(Exception):
    """What ends the first training."""


class Raise(TrainerCallback):
    """Ends a training in the middle of an accumulation window, once."""

    def __init__(self, step: int, substep: int):
        self.step, self.substep, self.seen = step, substep, 0

    def __str__(self) -> str:
        return f"error in step {self.step + 1} after micro-batch {self.substep}"

    def on_substep_end(self, args, state, control, **kwargs):
        self.seen = self.seen + 1 if state.global_step == self.step else 0
        if self.seen == self.substep:
            self.step = -1
            raise Interrupted


class Stop(TrainerCallback):
    """Ends a training in the middle of a rollout, once."""

    def __init__(self, step: int):
        self.step = step

    def __str__(self) -> str:
        return f"end after step {self.step}"

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            control.should_training_stop, self.step = True, -1


def restore(trainer) -> None:
    """Give the trainer the weights of a new one; what is left is its state."""
    trainer.model.load_state_dict(build_model().state_dict())


def train(trainer) -> dict:
    batches, compute_loss = [], type(trainer)._compute_loss

    def record(model, inputs):
        batches.append(inputs["completion_ids"].tolist())
        return compute_loss(trainer, model, inputs)

    trainer._compute_loss = record
    rollouts = record_rollouts(trainer)
    torch.manual_seed(0)
    trainer.train()
    return {
        "batches": batches,
        "num_rollouts": len(rollouts),
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        "rewards": [entry["reward"] for entry in trainer.state.log_history if "reward" in entry],
        "weights": torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()]),
        "counts": trainer.selector.token_counts.state_dict(),
        "logged": {name: list(trainer._logs[name]) for name in ("prompt", "completion", "advantages")},
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "end"),
    [
        ({}, Raise(0, 1)),
        ({}, Raise(1, 2)),
        ({}, Stop(1)),
        ({"dynamic_sampling": True}, Raise(2, 3)),
        ({"dynamic_sampling": True}, Stop(3)),
        ({"top_entropy_quantile": 1.0}, Stop(1)),
    ],
    ids=str,
)
def test_a_second_training_is_that_of_a_new_trainer(tmp_path, settings, end):
    fresh = train(build_trainer(str(tmp_path / "fresh"), **(SETTINGS | settings)))
    trainer = build_trainer(str(tmp_path / "twice"), **(SETTINGS | settings))
    trainer.add_callback(end)
    torch.manual_seed(1)
    if isinstance(end, Raise):
        with pytest.raises(Interrupted):
            trainer.train()
    else:
        trainer.train()
    restore(trainer)
    again = train(trainer)
    assert again["batches"] == fresh["batches"] and again["num_rollouts"] == fresh["num_rollouts"]
    assert again["losses"] == fresh["losses"] and again["rewards"] == fresh["rewards"]
    assert torch.equal(again["weights"], fresh["weights"])
    assert str(again["counts"]) == str(fresh["counts"]) and again["logged"] == fresh["logged"]


def test_an_error_in_a_reward_leaves_nothing_behind(tmp_path):
    """The round that failed is in no table and no mean."""
    fails = [True]

    def reward(log_extra, log_metric, completion_ids, number, **kwargs):
        log_extra("length", [len(ids) for ids in completion_ids])
        log_metric("mean_length", 1.0 if fails else 5.0)
        if fails:
            fails.clear()
            raise Interrupted
        return reward_fixed(completion_ids, number)

    trainer = build_trainer(str(tmp_path), reward_funcs=reward, log_completions=True)
    with pytest.raises(Interrupted):
        trainer.train()
    trainer.train()
    assert len(trainer._logs["extra"]["length"]) == len(trainer._logs["prompt"]) == 64
    assert trainer.state.log_history[0]["mean_length"] == 5.0


def test_a_training_that_trains_nothing_says_so(tmp_path, caplog):
    trainer = build_trainer(str(tmp_path), save_strategy="steps", save_steps=1)
    trainer.train()
    assert "Nothing was trained" not in caplog.text
    build_trainer(str(tmp_path), save_strategy="steps", save_steps=1).train(resume_from_checkpoint=True)
    assert "Nothing was trained: the run was at step 1, which is its last (max_steps=1" in caplog.text


def test_upstream_keeps_its_rollout_where_it_is_forgotten(tmp_path):
    trainer = build_trainer(str(tmp_path))
    names = ("_step", "_buffered_inputs", "_current_train_step_time", "_metrics", "_logs", "_pending_extra_logs")
    missing = [name for name in (*names, "_pending_metrics", "_inner_training_loop") if not hasattr(trainer, name)]
    assert not missing, f"TRL's GRPOTrainer has no {missing} any more: ResumeMixin clears them before a training."
