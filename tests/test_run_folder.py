"""A full disk ends a run with one sentence and a way on; another run's folder is warned of."""

import resource
from contextlib import contextmanager

import pytest
from tiny import build_model, build_trainer

from trl_forking.progress import find_last_complete
from trl_forking.run_folder import FullDiskError, explaining_full_disk


def build(folder, **settings):
    settings = {"max_steps": 3, "save_strategy": "steps", "save_steps": 1, "optim": "adamw_torch"} | settings
    return build_trainer(folder, per_device_train_batch_size=16, gradient_accumulation_steps=1, **settings)


@contextmanager
def longest_file(num_bytes: int):
    """No file may grow beyond that, by the system's own limit: a write beyond it fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("file", ["optimizer.pt", "forking_progress_0.pt"])
def test_a_full_disk_while_a_checkpoint_is_written(tmp_path, file):
    """`/dev/full` takes in nothing, as a full disk. (It must not be read: that has no end.)"""
    build(tmp_path / "whole").train()
    blocked = tmp_path / "checkpoint-2" / file
    blocked.parent.mkdir()
    blocked.symlink_to("/dev/full")
    trainer = build(tmp_path)
    with pytest.raises(FullDiskError) as raised:
        trainer.train()
    sentence = str(raised.value)
    assert sentence.startswith(f"{tmp_path}/checkpoint-2 could not be written to its end (") and "\n" not in sentence
    assert f"go on from {tmp_path}/checkpoint-1 with trainer.train(resume_from_checkpoint=True)" in sentence
    assert " MB are free there): make room" in sentence and raised.value.__cause__ is not None
    blocked.unlink()
    resumed = build(tmp_path)
    resumed.train(resume_from_checkpoint=True)
    weights = [folder / "checkpoint-3" / "model.safetensors" for folder in (tmp_path, tmp_path / "whole")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_no_room_for_the_weights(tmp_path):
    trainer = build(tmp_path, model=build_model(intermediate_size=8192))
    with longest_file(1_000_000), pytest.raises(FullDiskError, match="start again: no checkpoint is complete yet"):
        trainer.train()
    assert find_last_complete(str(tmp_path)) is None


def test_no_room_for_the_final_model(tmp_path):
    trainer = build(tmp_path, model=build_model(intermediate_size=8192))
    trainer.train()
    with (
        longest_file(1_000_000),
        pytest.raises(FullDiskError, match=f"^{tmp_path}/final could not be written to its end"),
    ):
        trainer.save_model(str(tmp_path / "final"))
    trainer.save_model(str(tmp_path / "final"))
    saved = (tmp_path / "final" / "model.safetensors").read_bytes()
    assert saved == (tmp_path / "checkpoint-3" / "model.safetensors").read_bytes()


def test_other_errors_are_left_alone(tmp_path):
    with pytest.raises(PermissionError), explaining_full_disk(str(tmp_path), str(tmp_path)):
        raise PermissionError(13, "Permission denied")


def test_another_run_in_the_folder_is_warned_of(tmp_path, caplog):
    build(tmp_path).train()
    assert "holds another run" not in caplog.text
    build(tmp_path, max_steps=4).train(resume_from_checkpoint=True)
    assert "holds another run" not in caplog.text
    trainer = build(tmp_path)
    trainer.train()
    warning = (
        f"{tmp_path} holds another run, up to {tmp_path}/checkpoint-4, which this one writes over: go on with it by"
    )
    assert caplog.text.count(warning) == 1
    trainer.train()  # the folder is its own by now
    assert caplog.text.count("holds another run") == 1


def test_a_run_that_saves_no_checkpoints_is_not(tmp_path, caplog):
    build(tmp_path, max_steps=1).train()
    build(tmp_path, max_steps=1, save_strategy="no").train()
    assert "holds another run" not in caplog.text
