"""A killed run resumes bit for bit: it has the losses, kept tokens and weights of an uninterrupted run."""

import json
import shutil

import pytest
import torch
from trl import GRPOConfig, GRPOTrainer

from helpers.processes import run_forks
from helpers.tiny import build_trainer
from trl_forking.run.checkpoints import find_last_complete, is_complete
from trl_forking.selection.rules import RULES


MAX_STEPS = 9  # four steps of four prompts are an epoch: the third one is reached


def run(output_dir, resume_from_checkpoint=None, **settings) -> dict:
    """Train nine steps that sample, and record the trained answers, kept tokens, losses and weights."""
    defaults = {"gradient_accumulation_steps": 2, "max_steps": MAX_STEPS, "learning_rate": 1e-2}
    defaults |= {"optim": "adamw_torch", "save_strategy": "steps", "save_steps": 1, "rollout_func": None}
    trainer = build_trainer(output_dir, **(defaults | {"shuffle_dataset": True} | settings))
    batches, compute_loss = [], trainer._compute_loss

    def record(model, inputs):
        batches.append((inputs["completion_ids"].tolist(), inputs["kept"].tolist() if "kept" in inputs else None))
        return compute_loss(model, inputs)

    trainer._compute_loss = record
    torch.manual_seed(len(str(resume_from_checkpoint)))  # nothing may depend on the state of the new process
    trainer.train(resume_from_checkpoint=resume_from_checkpoint)
    return {
        "batches": batches,
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        "weights": torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()]),
    }


def is_same(resumed: dict, whole: dict) -> bool:
    return (
        resumed["batches"] == whole["batches"][-len(resumed["batches"]) :]
        and resumed["losses"] == whole["losses"]
        and torch.equal(resumed["weights"], whole["weights"])
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"dynamic_sampling": True},
        {"dynamic_sampling": True, "num_iterations": 2, "steps_per_generation": 4},
        {"steps_per_generation": 6},
        {"token_selection": "random"},
        {"token_selection": "random_prefix", "top_entropy_quantile_end": 1.0, "steps_per_generation": 4},
        {"token_selection": "entropy_weights", "num_iterations": 2, "steps_per_generation": 4},
        {"selection_scope": "micro_batch", "steps_per_generation": 4},
        {"top_entropy_quantile": 1.0},
    ],
    ids=str,
)
def test_resumed_at_any_step(tmp_path, settings):
    whole = run(tmp_path / "whole", **settings)
    assert len(whole["losses"]) == MAX_STEPS
    for step in (1, 3, 4, 6):  # within a rollout, at its end, at the end of an epoch, in the second
        resumed = run(tmp_path / f"from-{step}", str(tmp_path / "whole" / f"checkpoint-{step}"), **settings)
        assert len(resumed["batches"]) == 2 * (MAX_STEPS - step)
        assert is_same(resumed, whole), f"resumed at step {step}"


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_every_rule_resumes_within_a_rollout(tmp_path, rule):
    """A rollout is of two steps, so that the plan of step 4 was made before the checkpoint of step 3."""
    settings = {"token_selection": rule, "steps_per_generation": 4, "max_steps": 4}
    whole = run(tmp_path / "whole", **settings)
    resumed = run(tmp_path / "resumed", str(tmp_path / "whole" / "checkpoint-3"), **settings)
    assert len(resumed["batches"]) == 2 and is_same(resumed, whole)


@pytest.mark.parametrize(("settings", "step"), [({"steps_per_generation": 6}, 4), ({}, 6)])
def test_trl_itself_does_not(tmp_path, settings, step):
    """The comparison can fail: TRL samples a rollout anew, and repeats the prompts of the first epoch."""
    settings = {"trainer_class": GRPOTrainer, "config_class": GRPOConfig} | settings
    whole = run(tmp_path / "whole", **settings)
    resumed = run(tmp_path / "resumed", str(tmp_path / "whole" / f"checkpoint-{step}"), **settings)
    assert not is_same(resumed, whole)


@pytest.mark.slow
def test_another_layout_takes_up_the_stream(tmp_path, caplog):
    """The rollout under way is lost, and said so; the prompts go on where they were."""
    run(tmp_path / "whole", dynamic_sampling=True, steps_per_generation=4)
    resumed = run(
        tmp_path / "other",
        str(tmp_path / "whole" / "checkpoint-3"),
        dynamic_sampling=True,
        per_device_train_batch_size=16,
        gradient_accumulation_steps=1,
    )
    assert "is from another batch layout" in caplog.text
    assert "which prompts come next" not in caplog.text
    assert len(resumed["losses"]) == MAX_STEPS


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ({}, {"dynamic_sampling": True}, "that run had no dynamic sampling"),
        ({"dynamic_sampling": True}, {"dynamic_sampling": True, "seed": 7}, "seed is 7, and was 42"),
        ({"dynamic_sampling": True}, {}, None),
    ],
    ids=str,
)
def test_another_stream_begins_anew_and_says_so(tmp_path, caplog, before, after, said):
    run(tmp_path / "whole", **before)
    resumed = run(tmp_path / "other", str(tmp_path / "whole" / "checkpoint-3"), **after)
    assert (said is None) == ("which prompts come next" not in caplog.text)
    assert said is None or said in caplog.text
    assert len(resumed["losses"]) == MAX_STEPS


@pytest.mark.slow
def test_checkpoint_of_trl_can_be_taken_up(tmp_path):
    run(tmp_path / "trl", trainer_class=GRPOTrainer, config_class=GRPOConfig)
    resumed = run(tmp_path / "ours", str(tmp_path / "trl" / "checkpoint-4"))
    assert len(resumed["losses"]) == MAX_STEPS


@pytest.mark.slow
def test_half_a_checkpoint_is_passed_over(tmp_path):
    whole = run(tmp_path / "whole")
    state = tmp_path / "whole" / "checkpoint-9" / "trainer_state.json"
    state.unlink()
    cut = tmp_path / "whole" / "checkpoint-8" / "trainer_state.json"
    cut.write_text(cut.read_text()[:100])
    assert not is_complete(str(state.parent)) and not is_complete(str(cut.parent))
    assert find_last_complete(str(tmp_path / "whole")) == str(tmp_path / "whole" / "checkpoint-7")
    with pytest.raises(ValueError, match="checkpoint-8 is missing or was not written completely: resume from .*-7"):
        run(tmp_path / "whole", str(cut.parent))
    assert is_same(run(tmp_path / "whole", True), whole)


@pytest.mark.slow
def test_a_checkpoint_that_is_written_over_is_incomplete_until_it_is_written(tmp_path, monkeypatch):
    """What a run resumed from an earlier step writes in the place of an old checkpoint may be cut off."""
    run(tmp_path / "whole")
    checkpoint = str(tmp_path / "whole" / "checkpoint-2")

    def is_killed(trainer, folder):
        assert not is_complete(checkpoint)
        raise KeyboardInterrupt

    monkeypatch.setattr("trl_forking.run.resume.save_progress", is_killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "whole", str(tmp_path / "whole" / "checkpoint-1"))
    assert not is_complete(checkpoint)


def test_nothing_to_resume_is_said(tmp_path):
    with pytest.raises(ValueError, match="has no complete checkpoint to resume from: start without"):
        run(tmp_path / "none", True)


@pytest.mark.slow
def test_five_kills(tmp_path):
    """SIGKILL at five random moments, in the middle of a step or of a checkpoint."""
    max_steps = 14
    done = run_forks("killed_worker.py", str(tmp_path), str(max_steps), "5")
    assert done.returncode == 0, done.stderr[-2000:]
    results = [torch.load(tmp_path / folder / "result.pt") for folder in ("whole", "killed")]
    assert len(results[0]["losses"]) == max_steps
    assert results[0]["losses"] == results[1]["losses"]
    assert results[0]["thresholds"] == results[1]["thresholds"]
    assert torch.equal(results[0]["weights"], results[1]["weights"])


@pytest.mark.slow
def test_state_in_a_checkpoint_is_of_tensors_and_numbers(tmp_path):
    """A checkpoint may come from elsewhere: nothing in it is run on loading."""
    run(tmp_path / "whole", dynamic_sampling=True, steps_per_generation=6)
    checkpoint = tmp_path / "whole" / "checkpoint-4"
    progress = torch.load(checkpoint / "forking_progress_0.pt", weights_only=True)
    assert progress["step"] == 8 and len(progress["rollout"]) == 6
    assert json.loads((checkpoint / "trainer_state.json").read_text())["global_step"] == 4
    finished = torch.load(tmp_path / "whole" / "checkpoint-3" / "forking_progress_0.pt", weights_only=True)
    assert finished["rollout"] is None  # a rollout that is trained need not be kept
    shutil.rmtree(tmp_path / "whole")
