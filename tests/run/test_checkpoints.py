"""A checkpoint says which run it is of and what it holds: the newest is taken, and a damaged one is told in one sentence."""

import json
import os
import random
import shutil

import pytest
import torch
from trl import GRPOConfig, GRPOTrainer

from helpers.tiny import build_trainer
from trl_forking.run.checkpoints import find_damage, find_last_complete, is_complete, resolve_checkpoint


SETTINGS = {"gradient_accumulation_steps": 2, "steps_per_generation": 4, "learning_rate": 1e-2, "rollout_func": None}
SETTINGS |= {"optim": "adamw_torch", "save_strategy": "steps", "save_steps": 1}


def run(folder, checkpoint=None, max_steps=4, **settings):
    trainer = build_trainer(str(folder), **(SETTINGS | settings | {"max_steps": max_steps}))
    torch.manual_seed(0)
    trainer.train(resume_from_checkpoint=checkpoint)
    return trainer


def read_state(folder) -> dict:
    return json.loads((folder / "trainer_state.json").read_text())


def get_run(folder) -> str:
    return read_state(folder)["stateful_callbacks"]["RunIdentity"]["attributes"]["run"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "run"
    run(folder)
    return folder


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the run, whose files have the dates of the copy."""
    return shutil.copytree(finished, tmp_path / "run", copy_function=shutil.copyfile)


# Which checkpoint ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_newest_is_taken_and_not_the_highest(tmp_path, caplog):
    """Four steps of an old run, and two of a new one in the same folder."""
    run(tmp_path / "both", max_steps=4)
    run(tmp_path / "both", max_steps=2, seed=7, overwrite_output_dir=True)
    assert find_last_complete(str(tmp_path / "both")) == str(tmp_path / "both" / "checkpoint-2")
    for path in (tmp_path / "both").glob("checkpoint-[34]/*"):  # neither a date nor a copy changes that
        os.utime(path)
    shutil.copytree(tmp_path / "both", tmp_path / "copy", copy_function=shutil.copyfile)
    for folder in (tmp_path / "both", tmp_path / "copy"):
        caplog.clear()
        assert resolve_checkpoint(True, str(folder)) == str(folder / "checkpoint-2")
        assert f"{folder} holds checkpoints of 2 runs: {folder}/checkpoint-2 was saved last" in caplog.text
    resumed = run(tmp_path / "copy", True, max_steps=3, seed=7)
    assert resumed.resumed_at == [2] and get_run(tmp_path / "copy" / "checkpoint-3") == get_run(
        tmp_path / "both" / "checkpoint-2"
    )


@pytest.mark.slow
def test_a_run_that_goes_on_from_an_earlier_step_is_resumed_there(copied):
    """The later checkpoints are of the way that was given up."""
    run(copied, str(copied / "checkpoint-1"), max_steps=2)
    assert get_run(copied / "checkpoint-2") == get_run(copied / "checkpoint-4")
    assert find_last_complete(str(copied)) == str(copied / "checkpoint-2")


def test_checkpoints_of_trl_are_ordered_by_their_date(copied):
    for step in (1, 2, 3, 4):
        state = read_state(copied / f"checkpoint-{step}")
        del state["stateful_callbacks"]["RunIdentity"]
        (copied / f"checkpoint-{step}" / "trainer_state.json").write_text(json.dumps(state))
        os.utime(copied / f"checkpoint-{step}" / "trainer_state.json", (1e9 + step % 4, 1e9 + step % 4))
    assert find_last_complete(str(copied)) == str(copied / "checkpoint-3")


def test_another_run_has_another_name(finished, tmp_path):
    names = {get_run(finished / f"checkpoint-{step}") for step in (1, 2, 3, 4)}
    assert len(names) == 1
    run(tmp_path, max_steps=1)
    assert get_run(tmp_path / "checkpoint-1") not in names


def test_a_checkpoint_lists_its_files(finished):
    files = read_state(finished / "checkpoint-1")["stateful_callbacks"]["RunIdentity"]["attributes"]["files"]
    assert set(files) == set(READ)
    assert all((finished / "checkpoint-1" / name).stat().st_size == size for name, (size, _) in files.items())


# Damage --------------------------------------------------------------------------------------------------------------------

READ = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "forking_progress_0.pt", "config.json")


def overwrite(path) -> None:
    content = bytearray(path.read_bytes())
    start = len(content) // 2
    content[start : start + 8] = bytes(255 - byte for byte in content[start : start + 8])
    path.write_bytes(bytes(content))


DAMAGES = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-50]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"more"),
    "overwritten": overwrite,
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", READ)
def test_a_damaged_file_is_named(copied, name, damage):
    checkpoint = copied / "checkpoint-3"
    DAMAGES[damage](checkpoint / name)
    assert name in find_damage(str(checkpoint)) and not is_complete(str(checkpoint))
    with pytest.raises(ValueError) as error:
        resolve_checkpoint(str(checkpoint), str(copied))
    sentence = str(error.value)
    assert sentence.startswith(f"{checkpoint} is damaged ({name} ") and "\n" not in sentence
    assert sentence.endswith(f": resume from {copied}/checkpoint-4.")


@pytest.mark.slow
def test_a_damaged_checkpoint_is_passed_over_and_told(copied, caplog):
    DAMAGES["cut"](copied / "checkpoint-4" / "optimizer.pt")
    trainer = run(copied, True)
    assert trainer.resumed_at == [3] and trainer.state.global_step == 4
    assert f"{copied}/checkpoint-4 is damaged (optimizer.pt has " in caplog.text
    assert f"the run goes on from {copied}/checkpoint-3." in caplog.text


def change_files(files: object):
    def change(state: dict) -> dict:
        state["stateful_callbacks"]["RunIdentity"]["attributes"]["files"] = files
        return state

    return change


STATES = {
    "a list of files that is text": change_files("text"),
    "a file without a size": change_files({"optimizer.pt": None}),
    "a file whose size is text": change_files({"optimizer.pt": ["9", 1]}),
    "no number": lambda state: state | {"global_step": "3"},
    "another step": lambda state: state | {"global_step": 2},
    "no log": lambda state: state | {"log_history": None},
    "a log of numbers": lambda state: state | {"log_history": [1]},
    "an unknown field": lambda state: state | {"surprise": 1},
    "no callbacks": lambda state: state | {"stateful_callbacks": [1]},
    "a callback that is a number": lambda state: state | {"stateful_callbacks": {"TrainerControl": 7}},
    "a part": lambda state: {"global_step": 3},
    "a list": lambda state: [state],
    "text": lambda state: "text",
}


@pytest.mark.parametrize("kind", STATES)
def test_a_damaged_state_is_told(copied, kind):
    path = copied / "checkpoint-3" / "trainer_state.json"
    path.write_text(json.dumps(STATES[kind](json.loads(path.read_text()))))
    with pytest.raises(
        ValueError, match=r"checkpoint-3 is (damaged \((trainer_state|the list of)|missing or was not).*: resume from"
    ):
        resolve_checkpoint(str(path.parent), str(copied))


def test_files_that_a_resumed_run_does_not_read_may_be_missing(copied):
    for name in (
        "README.md",
        "training_args.bin",
        "tokenizer.json",
        "tokenizer_config.json",
        "generation_config.json",
    ):
        (copied / "checkpoint-4" / name).unlink(missing_ok=True)
    assert is_complete(str(copied / "checkpoint-4"))


# Progress files -------------------------------------------------------------------------------------------------------------


def forget_files(checkpoint) -> None:
    """Leave the damage to the reader of the file: as in a checkpoint whose files were not listed."""
    state = read_state(checkpoint)
    state["stateful_callbacks"]["RunIdentity"]["attributes"]["files"] = {}
    (checkpoint / "trainer_state.json").write_text(json.dumps(state))


CONTENTS = {
    "no dictionary": lambda progress: [1, 2],
    "nothing": lambda progress: {},
    "no rollout": lambda progress: {name: value for name, value in progress.items() if name != "rollout"},
    "a step that is text": lambda progress: progress | {"step": "4"},
    "a layout that is a number": lambda progress: progress | {"layout": 3},
    "another run": lambda progress: progress | {"identity": {"run": "0" * 32, "step": 3}},
}


@pytest.mark.parametrize("kind", [*CONTENTS, "cut", "empty", "overwritten by text"])
def test_a_damaged_progress_file_is_told_in_one_sentence(copied, kind):
    checkpoint = copied / "checkpoint-3"
    path = checkpoint / "forking_progress_0.pt"
    forget_files(checkpoint)
    if kind in CONTENTS:
        torch.save(CONTENTS[kind](torch.load(path, weights_only=True)), path)
    else:
        path.write_bytes({"cut": path.read_bytes()[:200], "empty": b"", "overwritten by text": b"hello" * 99}[kind])
    with pytest.raises(ValueError) as error:
        run(copied, str(checkpoint))
    sentence = str(error.value)
    assert sentence.startswith(f"{path} ") and "\n" not in sentence
    assert "copy the checkpoint again from where it was saved, or resume from another one" in sentence


def test_a_missing_progress_file_is_told(copied):
    (copied / "checkpoint-3" / "forking_progress_0.pt").unlink()
    with pytest.raises(ValueError, match=r"checkpoint-3 is damaged \(forking_progress_0.pt is missing\): resume from"):
        run(copied, str(copied / "checkpoint-3"))


def test_a_random_cut_of_any_file_is_never_silent(copied):
    source = random.Random(0)
    for _ in range(40):
        path = copied / f"checkpoint-{source.randint(1, 4)}" / source.choice([*READ, "trainer_state.json"])
        content = path.read_bytes()
        path.write_bytes(content[: source.randrange(len(content))])
        assert not is_complete(str(path.parent)), path
        path.write_bytes(content)
    assert all(is_complete(str(copied / f"checkpoint-{step}")) for step in (1, 2, 3, 4))


@pytest.mark.slow
def test_a_checkpoint_without_the_state_of_the_optimizer_is_none_of_damage(tmp_path):
    """`save_only_model=True` saves weights; a run can go on from them, as in Transformers."""
    run(tmp_path, max_steps=1, save_only_model=True)
    assert is_complete(str(tmp_path / "checkpoint-1"))
    assert run(tmp_path, True, max_steps=2).state.global_step == 2


@pytest.mark.slow
def test_a_checkpoint_of_trl_has_no_progress_file(tmp_path):
    trl = {"trainer_class": GRPOTrainer, "config_class": GRPOConfig}
    trainer = build_trainer(str(tmp_path), **(SETTINGS | trl | {"max_steps": 1, "save_steps": 1}))
    trainer.train()
    assert run(tmp_path, True, max_steps=2).resumed_at == [1]


@pytest.mark.slow
def test_a_callback_that_transformers_restores_keeps_the_identity(copied):
    """With this setting Transformers puts another object in the place of each callback."""
    resumed = run(copied, True, max_steps=5, restore_callback_states_from_checkpoint=True)
    assert resumed.state.global_step == 5
    assert get_run(copied / "checkpoint-5") == get_run(copied / "checkpoint-4") and is_complete(
        str(copied / "checkpoint-5")
    )
