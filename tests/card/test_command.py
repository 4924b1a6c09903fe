"""`trl-forking card` says in one sentence what is wrong."""

import shutil

import pytest

from trl_forking.commands.card import run_card


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: shutil.rmtree(folder), "there is no such folder"),
        (lambda folder: (folder / "forking_run.json").unlink(), "has no forking_run.json, so no run"),
        (lambda folder: (folder / "forking_run.json").write_text('{"format": 1, '), "forking_run.json cannot be read"),
        (lambda folder: (folder / "forking_run.json").write_text('{"format": 99}'), "is not of this version"),
        (lambda folder: (folder / "eval_results.json").write_text("{"), "eval_results.json cannot be read as JSON"),
        (lambda folder: (folder / "forking_config.yaml").write_text("a: [1"), "cannot be read as YAML"),
    ],
)
def test_command_says_in_a_sentence_what_is_wrong(folder, capsys, spoil, message):
    spoil(folder)
    with pytest.raises(SystemExit) as stopped:
        run_card([str(folder)])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and message in error and "Traceback" not in error
    assert len(error.splitlines()) == 2 and error.startswith("error: ")


def test_command_without_a_folder(capsys):
    with pytest.raises(SystemExit):
        run_card([])
    assert "the folder is missing: trl-forking card FOLDER" in capsys.readouterr().err


def test_card_is_a_command(tmp_path, capsys):
    from trl_forking.commands.main import main

    with pytest.raises(SystemExit) as stop:
        main(["card", str(tmp_path / "no-such-run")])
    assert stop.value.code == 2 and "no-such-run" in capsys.readouterr().err
