"""Settings that change in a run, or between a run and the one that resumes it."""

import json

import numpy as np
import pytest
import torch
from transformers import TrainerCallback

from helpers.tiny import build_trainer, record_rollouts
from trl_forking.run.live_settings import CHANGEABLE


# Two optimizer steps a rollout, of two micro-batches each.
SETTINGS = {"gradient_accumulation_steps": 2, "steps_per_generation": 4, "learning_rate": 1e-2, "max_steps": 6}
SETTINGS |= {"optim": "adamw_torch", "rollout_func": None}


class Change(TrainerCallback):
    """Changes settings at the end of a step; the rollout under way is trained for one step more."""

    def __init__(self, at: int = 1, **settings):
        self.at, self.settings = at, settings

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.at:
            for name, value in self.settings.items():
                setattr(args, name, value)


def build(folder, *callbacks, **settings):
    trainer = build_trainer(str(folder), **(SETTINGS | settings))
    for callback in callbacks:
        trainer.add_callback(callback)
    return trainer


def train(trainer) -> list[dict]:
    """Train, and return for each micro-batch what was trained with."""
    seen, compute_loss = [], trainer._compute_loss

    def record(model, inputs):
        settings = trainer.rollout_settings
        seen.append({name: getattr(settings, name) for name in CHANGEABLE} | {"kept": "kept" in inputs})
        return compute_loss(model, inputs)

    trainer._compute_loss = record
    torch.manual_seed(0)
    trainer.train()
    return seen


CHANGES = [
    ({}, {"top_entropy_quantile": 1.0}),
    ({"top_entropy_quantile": 1.0}, {"top_entropy_quantile": 0.2}),
    ({}, {"top_entropy_quantile": np.float32(0.5)}),
    ({}, {"selection_scope": "micro_batch"}),
    ({}, {"selection_scope": "sequence"}),
    ({"selection_scope": "micro_batch"}, {"selection_scope": "batch"}),
    ({"top_entropy_quantile": 1.0, "selection_scope": "micro_batch"}, {"top_entropy_quantile": 0.2}),
    ({}, {"token_selection": "random", "loss_normalizer": "all"}),
    ({}, {"count_zero_advantage": True}),
    ({}, {"sparse_update": False}),
    ({"sparse_update": False}, {"sparse_update": True}),
    ({"log_completions": True}, {"log_entropy": True}),
    ({"log_completions": True, "log_entropy": True}, {"log_entropy": False}),
    ({"dynamic_sampling": True}, {"top_entropy_quantile": 1.0}),
    ({}, {"top_entropy_quantile": 1.0, "selection_scope": "micro_batch", "sparse_update": False}),
]


@pytest.mark.parametrize(("before", "change"), CHANGES, ids=str)
def test_a_change_holds_from_the_next_rollout_on(tmp_path, before, change):
    trainer = build(tmp_path, Change(**change), max_steps=4, **before)
    seen = train(trainer)
    assert len(seen) == 8 and trainer.state.global_step == 4
    for name, value in change.items():
        first = before.get(name, build(tmp_path / "other").args.__dict__[name])
        assert [each[name] for each in seen] == [first] * 4 + [value] * 4
    assert all(np.isfinite(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry)


@pytest.mark.slow
@pytest.mark.parametrize(("before", "change"), [CHANGES[0], CHANGES[3], CHANGES[4], CHANGES[7]], ids=str)
def test_the_rollout_under_way_is_trained_as_if_nothing_had_changed(tmp_path, before, change):
    changed, same = (
        build(tmp_path / "a", Change(**change), max_steps=2, **before),
        build(tmp_path / "b", max_steps=2, **before),
    )
    for trainer in (changed, same):
        train(trainer)
    weights = [torch.cat([p.detach().flatten() for p in trainer.model.parameters()]) for trainer in (changed, same)]
    assert torch.equal(*weights)


@pytest.mark.parametrize(
    ("before", "change", "sentence"),
    [
        ({}, {"num_generations": 8}, r"fixed when the trainer is built \(num_generations was 4 and is 8\): undo"),
        ({}, {"steps_per_generation": 8}, r"steps_per_generation was 4 and is 8"),
        ({}, {"gradient_accumulation_steps": 1}, r"gradient_accumulation_steps was 2 and is 1"),
        ({}, {"loss_type": "grpo"}, r"loss_type was 'dapo' and is 'grpo'"),
        ({}, {"beta": 0.1}, r"beta was 0.0 and is 0.1"),
        ({}, {"temperature": 0.5}, r"temperature was 1.0 and is 0.5"),
        ({}, {"dynamic_sampling": True}, r"dynamic_sampling was False and is True"),
        ({}, {"top_entropy_quantile": 20}, r"^top_entropy_quantile must be a number in \(0, 1\], but it is 20"),
        ({}, {"token_selection": "highest"}, r"^token_selection='highest' is not one of"),
        (
            {"top_entropy_quantile": 1.0, "entropy_coef": 0.1},
            {"top_entropy_quantile": 0.2},
            r"^entropy_coef=0.1 adds an entropy",
        ),
        (
            {"importance_sampling_level": "sequence"},
            {"selection_scope": "micro_batch"},
            r"^importance_sampling_level='sequence' needs the kept tokens before",
        ),
        (
            {"log_entropy": True, "log_completions": True},
            {"selection_scope": "micro_batch"},
            r"^log_entropy=True writes the kept flags when",
        ),
    ],
    ids=str,
)
def test_what_may_not_change_is_refused_in_one_sentence(tmp_path, before, change, sentence):
    trainer = build(tmp_path, Change(**change), **before)
    with pytest.raises(ValueError, match=sentence) as error:
        trainer.train()
    assert "\n" not in str(error.value) and trainer.state.global_step in (1, 2)


# Between a run and the one that resumes it ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"top_entropy_quantile": 1.0}, {"top_entropy_quantile": 0.2}),
        ({"top_entropy_quantile": 0.2}, {"top_entropy_quantile": 1.0}),
        ({"selection_scope": "micro_batch"}, {"selection_scope": "batch"}),
        ({"selection_scope": "batch"}, {"selection_scope": "micro_batch"}),
        ({"sparse_update": True}, {"sparse_update": False}),
        ({"token_selection": "random"}, {"token_selection": "low_entropy", "selection_scope": "sequence"}),
    ],
    ids=str,
)
def test_a_resumed_run_ends_its_rollout_with_the_settings_of_the_checkpoint(tmp_path, caplog, before, after):
    """The second step of the rollout is that of the run before, bit for bit; the next rollout has the new settings."""
    save = {"save_strategy": "steps", "save_steps": 1}
    whole = build(tmp_path / "whole", max_steps=2, **save, **before)
    train(whole)
    resumed = build(tmp_path / "resumed", max_steps=4, **save, **after)
    resumed_seen = []
    resumed.add_callback(Change(at=99))
    compute_loss = resumed._compute_loss

    def record(model, inputs):
        resumed_seen.append({name: getattr(resumed.rollout_settings, name) for name in after})
        return compute_loss(model, inputs)

    resumed._compute_loss = record
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-1"))
    assert resumed_seen[:2] == [{name: before.get(name, resumed_seen[0][name]) for name in after}] * 2
    assert resumed_seen[2:] == [after] * 4
    weights = [
        torch.load(tmp_path / run / "checkpoint-2" / "optimizer.pt", weights_only=True) for run in ("whole", "resumed")
    ]
    for first, second in zip(*(state["state"].values() for state in weights), strict=True):
        assert torch.equal(first["exp_avg"], second["exp_avg"])
    assert "The rest of the rollout is trained as it was begun" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ({}, {"num_generations": 8}, "num_generations was 4 and is 8"),
        ({}, {"temperature": 0.5}, "temperature was 1.0 and is 0.5"),
        (
            {"top_entropy_quantile": 1.0},
            {"top_entropy_quantile": 1.0, "entropy_coef": 0.1},
            "entropy_coef was 0.0 and is 0.1",
        ),
        ({}, {"loss_type": "grpo", "scale_rewards": "none"}, "loss_type was 'dapo' and is 'grpo', scale_rewards was"),
        ({}, {"importance_sampling_level": "sequence"}, "importance_sampling_level was 'token' and is 'sequence'"),
        ({}, {"reward_weights": [0.5]}, "reward_weights was None and is [0.5]"),
    ],
    ids=str,
)
def test_another_way_to_make_rollouts_ends_the_one_under_way_and_says_so(tmp_path, caplog, before, after, said):
    save = {"save_strategy": "steps", "save_steps": 1}
    train(build(tmp_path / "whole", max_steps=1, **save, **before))
    resumed = build(tmp_path / "resumed", max_steps=4, **save, **after)
    rollouts = record_rollouts(resumed)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-1"))
    assert f"is from another batch layout ({said}" in caplog.text and len(rollouts) >= 2
    assert resumed.state.global_step == 4


def test_the_layout_holds_what_a_rollout_is_made_with(tmp_path):
    trainer = build(tmp_path, max_steps=1, save_strategy="steps", save_steps=1)
    train(trainer)
    progress = torch.load(tmp_path / "checkpoint-1" / "forking_progress_0.pt", weights_only=True)
    assert progress["layout"]["num_processes"] == 1 and progress["layout"]["num_generations"] == 4
    assert progress["settings"] == {name: getattr(trainer.args, name) for name in CHANGEABLE}
    json.dumps([progress["layout"], progress["settings"], progress["identity"]])
