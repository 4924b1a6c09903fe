"""`trl-forking verdict` on runs of this library and of TRL, and on folders that are none."""

import json

import pytest

from helpers.tiny import build_trainer
from trl_forking.commands.verdict import run_verdict


def write_state(folder, steps=30, text=None):
    folder.mkdir(parents=True, exist_ok=True)
    log = [{"step": step, "reward": 0.2 + 0.01 * step} for step in range(1, steps + 1)]
    (folder / "trainer_state.json").write_text(json.dumps({"log_history": log}) if text is None else text)


def test_a_run_of_trl_is_judged_by_its_newest_checkpoint(tmp_path, capsys):
    write_state(tmp_path / "checkpoint-8", steps=8)
    write_state(tmp_path / "checkpoint-30", steps=30)
    run_verdict([str(tmp_path)])
    output = capsys.readouterr().out
    assert output.startswith("The mean reward rose, from 0.26 in the first third of the steps to 0.45 in the last.\n")
    verdict = json.loads((tmp_path / "verdict.json").read_text())
    assert verdict["steps"] == 30 and verdict["findings"][0]["verdict"] == "rose"
    assert verdict["sentences"] == output.splitlines()[:2]


def test_a_record_of_this_library_comes_before_the_state_of_a_checkpoint(tmp_path):
    trainer = build_trainer(str(tmp_path), max_steps=2)
    trainer.train()
    trainer.save_model()
    assert (tmp_path / "forking_run.json").exists()
    write_state(tmp_path / "checkpoint-9", steps=9)
    run_verdict([str(tmp_path)])
    assert json.loads((tmp_path / "verdict.json").read_text())["steps"] == 2


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"log_history": 3}', "null"])
def test_a_broken_state_is_named(tmp_path, capsys, text):
    write_state(tmp_path, text=text)
    with pytest.raises(SystemExit) as stopped:
        run_verdict([str(tmp_path)])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and "trainer_state.json is not the state of a trainer" in error


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "the folder is missing"),
        (["no-such-run"], "no-such-run: there is no such folder"),
        (["."], "has neither forking_run.json nor a trainer_state.json"),
    ],
)
def test_a_folder_without_a_run_is_named(flags, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        run_verdict(flags)
    assert stopped.value.code == 2 and message in capsys.readouterr().err
