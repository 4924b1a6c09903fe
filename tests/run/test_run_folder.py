"""A full disk ends a run with one sentence and a fix. Another run's folder gives a warning, and its card moves."""

import json
import resource
from contextlib import contextmanager
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from huggingface_hub.utils import filter_repo_objects
from transformers import TrainerCallback

from helpers.tiny import build_model, build_trainer
from trl_forking.card.model_card import rebuild_card
from trl_forking.card.run_files import write_config
from trl_forking.hub import push as hub
from trl_forking.run.checkpoints import find_last_complete
from trl_forking.run.run_folder import FullDiskError, check_output_folder, explaining_full_disk
from trl_forking.run.user_errors import UserError


def build(folder, **settings):
    settings = {"max_steps": 3, "save_strategy": "steps", "save_steps": 1, "optim": "adamw_torch"} | settings
    settings = {"overwrite_output_dir": True} | settings
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


@pytest.mark.slow
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
    assert sentence.startswith(f"{tmp_path}/checkpoint-2 could not be written completely (") and "\n" not in sentence
    assert f"resume from {tmp_path}/checkpoint-1 with trainer.train(resume_from_checkpoint=True)" in sentence
    assert " MB are free there): make room" in sentence and raised.value.__cause__ is not None
    blocked.unlink()
    resumed = build(tmp_path)
    resumed.train(resume_from_checkpoint=True)
    weights = [folder / "checkpoint-3" / "model.safetensors" for folder in (tmp_path, tmp_path / "whole")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_no_room_for_the_weights(tmp_path):
    trainer = build(tmp_path, model=build_model(intermediate_size=8192))
    with (
        longest_file(1_000_000),
        pytest.raises(FullDiskError, match="start again, because no checkpoint is complete yet"),
    ):
        trainer.train()
    assert find_last_complete(str(tmp_path)) is None


@pytest.mark.slow
def test_no_room_for_the_final_model(tmp_path):
    trainer = build(tmp_path, model=build_model(intermediate_size=8192))
    trainer.train()
    with (
        longest_file(1_000_000),
        pytest.raises(FullDiskError, match=f"^{tmp_path}/final could not be written completely"),
    ):
        trainer.save_model(str(tmp_path / "final"))
    trainer.save_model(str(tmp_path / "final"))
    saved = (tmp_path / "final" / "model.safetensors").read_bytes()
    assert saved == (tmp_path / "checkpoint-3" / "model.safetensors").read_bytes()


def test_other_errors_are_left_alone(tmp_path):
    with pytest.raises(PermissionError), explaining_full_disk(str(tmp_path), str(tmp_path)):
        raise PermissionError(13, "Permission denied")


def test_another_run_in_the_folder_is_refused_without_consent(tmp_path):
    build(tmp_path, max_steps=1).train()
    trainer = build(tmp_path, max_steps=2, overwrite_output_dir=False)
    with pytest.raises(
        UserError, match="checkpoint-1 is of another run, and this run would write over it: resume that"
    ):
        trainer.train()
    assert trainer.state.global_step == 0
    trainer.train(resume_from_checkpoint=True)
    assert trainer.state.global_step == 2
    trainer.train()  # the folder is its own by now


@pytest.mark.parametrize("name", ["config.json", "adapter_config.json"])
def test_the_model_of_another_run_is_refused_without_consent(tmp_path, name):
    """Its run may have saved no checkpoint."""
    trainer = build(tmp_path, max_steps=1, save_steps=100, overwrite_output_dir=False)
    (tmp_path / name).write_text("{}")
    with pytest.raises(
        UserError, match=f"^{tmp_path} holds the model of another run, and this run would write over it: "
    ):
        trainer.train()
    assert trainer.state.global_step == 0
    (tmp_path / name).unlink()
    trainer.save_model()  # its own
    trainer.train()
    assert trainer.state.global_step == 1


def test_the_model_of_another_run_is_warned_of_with_consent(tmp_path, caplog):
    (tmp_path / "config.json").write_text("{}")
    build(tmp_path, max_steps=1).train()
    assert f"{tmp_path} holds the model of another run. This run overwrites it: set another output_dir" in caplog.text


@pytest.mark.parametrize("name", ["file", "file/run", "/proc/run", "x" * 300, "nul\0l"])
def test_a_folder_that_cannot_be_written_is_refused_and_nothing_is_left(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    with pytest.raises(UserError, match="name another"):
        check_output_folder(name)
    check_output_folder("new/run")
    check_output_folder(".")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.slow
def test_another_run_in_the_folder_is_warned_of_with_consent(tmp_path, caplog):
    build(tmp_path).train()
    assert "holds another run" not in caplog.text
    build(tmp_path, max_steps=4).train(resume_from_checkpoint=True)
    assert "holds another run" not in caplog.text
    trainer = build(tmp_path)
    trainer.train()
    warning = f"{tmp_path} holds another run, whose last checkpoint is {tmp_path}/checkpoint-4. This run overwrites it: resume"
    assert caplog.text.count(warning) == 1
    trainer.train()  # the folder is its own by now
    assert caplog.text.count("holds another run") == 1


def test_a_run_that_saves_no_checkpoints_is_not(tmp_path, caplog):
    build(tmp_path, max_steps=1).train()
    build(tmp_path, max_steps=1, save_strategy="no").train()
    assert "holds another run" not in caplog.text


# The card of another run ------------------------------------------------------------------------------------------------

OF_THE_RUN = ("forking_run.json", "training.png", "eval_results.json", "eval_results_2.json", "forking_config.yaml")
RESULT = {"dataset": "some/exam", "metric": "accuracy", "value": 0.4125}


def write_result(folder, name="eval_results.json", **fields) -> None:
    (folder / name).write_text(json.dumps(RESULT | fields))


@pytest.fixture
def finished(tmp_path):
    """The folder of a run with results, settings of the command line, names, and words of its user in the card."""
    folder = tmp_path / "run"
    trainer = build(folder)
    trainer.train()
    write_result(folder)
    write_result(folder, "eval_results_2.json", metric="pass@8")
    write_config(folder, "dataset_name: openai/gsm8k\nmax_steps: 3\n")
    trainer.create_model_card(dataset_name="some/data", tags="sums", example_prompt="w3 w4")
    text = (
        (folder / "README.md")
        .read_text()
        .replace("library_name:", "license: mit\nbase_model: some/base\nlibrary_name:", 1)
    )
    (folder / "README.md").write_text(text.replace("tags:\n", "tags:\n- mine\n", 1) + "\nMy words.\n")
    rebuild_card(folder)
    return folder


def read_files(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def check_is_of_no_earlier_run(folder) -> str:
    card = ModelCard.load(folder / "README.md")
    data = card.data.to_dict()
    assert not {"datasets", "base_model", "model-index"} & set(data) and data["license"] == "mit"
    assert "sums" not in data["tags"] and {"mine", "forking-grpo"} <= set(data["tags"])
    for word in ("some/data", "openai/gsm8k", "some/exam", "0.4125", "w3 w4", "forking_config.yaml"):
        assert word not in str(card), word
    assert card.text.count("My words.") == 1
    return str(card)


@pytest.mark.slow
def test_a_new_run_has_a_card_of_its_own_and_nothing_is_lost(finished, caplog):
    before = read_files(finished)
    assert all(word in before["README.md"].decode() for word in ("some/data", "pass@8", "0.4125", "max_steps: 3"))
    trainer = build(finished, max_steps=2)
    trainer.train()
    trainer.save_model()
    text = check_is_of_no_earlier_run(finished)
    assert "2 steps; each rollout" in text and "training.png" in text
    aside = finished / "_earlier_run"
    assert read_files(aside) == {name: before[name] for name in (*OF_THE_RUN, "README.md")}
    assert (
        f"{finished} has the card of an earlier run. The files of that card are now in {aside}: move them"
        in caplog.text
    )
    paths = [path.relative_to(finished).as_posix() for path in finished.rglob("*") if path.is_file()]
    pushed = list(filter_repo_objects(paths, ignore_patterns=list(hub._NOT_PUSHED)))
    assert "README.md" in pushed and not [path for path in pushed if "earlier" in path]
    build(finished, max_steps=2).train()
    assert (finished / "_earlier_run_2" / "forking_run.json").is_file() and read_files(aside)["README.md"] == before[
        "README.md"
    ]


@pytest.mark.slow
def test_a_card_without_training_is_no_other_runs_either(finished):
    trainer = build(finished)
    trainer.create_model_card()
    assert "training.png" not in check_is_of_no_earlier_run(finished)
    trainer.train()  # its own record is not set aside again
    assert [path.name for path in finished.glob("_earlier_run*")] == ["_earlier_run"]


@pytest.mark.slow
def test_a_resumed_run_keeps_its_card(finished, caplog):
    before = read_files(finished)
    trainer = build(finished, max_steps=4)
    trainer.train(resume_from_checkpoint=True)
    trainer.save_model()
    after = read_files(finished)
    assert all(after[name] == before[name] for name in OF_THE_RUN[2:]) and not list(finished.glob("_*"))
    text = after["README.md"].decode()
    for word in (
        "some/data",
        "pass@8",
        "0.4125",
        "max_steps: 3",
        "w3 w4",
        "- sums",
        "- mine",
        "4 steps; each",
        "My words.",
    ):
        assert word in text, word
    assert "earlier run" not in caplog.text


class Evaluate(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        write_result(Path(args.output_dir), value=0.75)


@pytest.mark.slow
def test_what_a_new_run_writes_before_its_first_record_is_its_own(finished):
    """Without checkpoints the record is written when training has ended."""
    trainer = build(finished, max_steps=1, save_strategy="no")
    trainer.add_callback(Evaluate())
    trainer.train()
    trainer.save_model()
    text = (finished / "README.md").read_text()
    assert "| 0.75 |" in text and "0.4125" not in text and "openai/gsm8k" not in text


def test_a_record_that_is_broken_is_set_aside_too(finished):
    (finished / "forking_run.json").write_text("{")
    build(finished, max_steps=1).train()
    assert "some/exam" not in (finished / "README.md").read_text()
    assert (finished / "_earlier_run" / "forking_run.json").read_text() == "{"


@pytest.mark.parametrize(("place", "shown"), [("inside", "runs/tiny"), ("outside", "tiny"), ("relative", "runs/tiny")])
def test_the_card_shows_no_folder_of_the_machine(tmp_path, monkeypatch, place, shown):
    (tmp_path / "home" / "runs").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "home")
    parent = {"inside": tmp_path / "home" / "runs", "outside": tmp_path, "relative": Path("runs")}[place]
    trainer = build(parent / "tiny", max_steps=1, save_strategy="no")
    trainer.create_model_card(dataset_name=[str(tmp_path / "sums.jsonl"), "some/data", str(tmp_path / "sums")])
    text, record = ((parent / "tiny" / name).read_text() for name in ("README.md", "forking_run.json"))
    assert f'model="{shown}"' in text and str(tmp_path) not in text and str(tmp_path) not in record
    assert "prompts of `.../sums.jsonl` and [some/data](" in text and "and `.../sums`" in text
    assert ModelCard(text).data.datasets == ["some/data"]


def test_weights_in_a_checkpoint_are_named_with_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    build(tmp_path / "tiny", max_steps=1).train()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert 'model="tiny/checkpoint-1"' in rebuild_card(tmp_path / "tiny").read_text()
