"""Pushing to a stand-in for the Hub on loopback: every file arrives complete, and a failure never loses the run."""

import json
import os
import re
import subprocess
import sys
import time

import pytest

from helpers.hub_server import HubServer
from helpers.processes import TESTS, WORKERS, run_processes


pytestmark = pytest.mark.slow
GROUPS = [
    "full_model adapter strategies secret shell_command private completions xet before_training",
    "cuts one_cut failures no_network in_training slow_hub",
    "cuts_in_training",
]
PLOT = ["PNG", 924, 319]
ADAPTER = {"README.md", "adapter_config.json", "adapter_model.safetensors", "training_args.bin"}
MODEL = {"README.md", "config.json", "generation_config.json", "model.safetensors", "training_args.bin"}
TOKENIZER = {"tokenizer.json", "tokenizer_config.json"}


@pytest.fixture(scope="module")
def look(tmp_path_factory):
    """Return what a scenario of hub_worker.py saw; those of a group run in one process."""
    results = {}

    def read(name: str) -> dict:
        if name not in results:
            group = next(names for names in GROUPS if name in names.split())
            results.update(run_group(group, tmp_path_factory.mktemp("hub")))
        assert "error" not in results[name], results[name]["error"]
        return results[name]

    return read


def run_group(names: str, folder) -> dict:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
    command = [sys.executable, str(WORKERS / "hub_worker.py"), str(folder), *names.split()]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=400)
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads((folder / "results.json").read_text())


def check_sentence(said: list, reason: str, run: str) -> None:
    """What was raised says in one line what failed, what to do, the call and the command, and where the run is."""
    error_type, sentence, cause = said
    assert error_type == "PushError" and cause not in (None, "PushError")
    assert "\n" not in sentence and reason in sentence
    assert "push again with trainer.push_to_hub() or, in a shell, `hf upload " in sentence
    assert re.search(f"Nothing is lost: the run is in [^ ]*{run}[.,]", sentence)


def test_a_full_model_arrives_whole_and_loads(look):
    seen = look("full_model")
    assert seen["whole"] and seen["loads"] and set(seen["paths"]) >= MODEL | TOKENIZER


def test_an_adapter_arrives_whole_with_card_and_plot(look):
    seen = look("adapter")
    paths = ADAPTER | {"training.png", "forking_run.json"}
    assert seen["whole"] and paths | TOKENIZER <= set(seen["paths"])
    assert "model.safetensors" not in seen["paths"]
    assert seen["plot"] == PLOT


@pytest.mark.parametrize("kind", ["full", "adapter"])
@pytest.mark.parametrize("strategy", ["end", "every_save", "checkpoint", "all_checkpoints"])
def test_every_strategy_pushes_what_it_says(look, kind, strategy):
    seen = look("strategies")[f"{kind}-{strategy}"]
    assert seen["whole"] and seen["plot"] == PLOT
    weights = "model.safetensors" if kind == "full" else "adapter_model.safetensors"
    inside = {
        "end": set(),
        "every_save": {""},
        "checkpoint": {"", "last-checkpoint/"},
        "all_checkpoints": {"", "checkpoint-1/", "checkpoint-2/"},
    }[strategy]
    there = {path.replace(path.split("/")[-1], "") for path in seen["after_training"]}
    assert there == inside
    assert seen["commits"][-1] == "Model save"  # by trainer.save_model()
    for folder in inside - {""}:
        assert {f"{folder}optimizer.pt", f"{folder}trainer_state.json"} <= set(seen["after_training"])
    for folder in inside:
        assert f"{folder}{weights}" in seen["after_training"]


def test_ten_cut_connections_lose_nothing_and_the_second_try_is_whole(look):
    trials = look("cuts")
    assert len(trials) == 10 and any("/lfs/" in trial["cut_at"] for trial in trials)
    for trial in trials:
        check_sentence(trial["said"], "cannot be reached", "(adapter|full)")
        assert not trial["half"]  # a commit is made whole or not at all
        assert trial["unchanged"] and trial["whole"], trial


@pytest.mark.parametrize("kind", ["full", "adapter"])
@pytest.mark.parametrize("strategy", ["checkpoint", "all_checkpoints"])
def test_connections_cut_in_training_cost_one_push(look, kind, strategy):
    trials = [trial for trial in look("cuts_in_training") if trial["run"].startswith(f"{kind}-{strategy}-")]
    assert len(trials) == 2
    for trial in trials:
        assert trial["step"] == 2 and trial["unchanged"]
        (warning,) = trial["warnings"]
        check_sentence(["PushError", warning, "said"], "cannot be reached", trial["run"])
        assert warning.endswith("training continues, and the next save pushes again.")
        assert trial["checkpoints"].pop("last-checkpoint" if strategy == "checkpoint" else "checkpoint-2")
        assert all(trial["checkpoints"].values())  # those of the push that was cut are whole or not there
        assert trial["whole"], trial


def test_connections_are_cut_in_both_pushes_of_a_save_and_amid_files(look):
    trials = look("cuts_in_training")
    assert all(len(trial["lost"]) == 1 for trial in trials)
    for kind in ("full", "adapter"):
        lost = {trial["lost"][0] for trial in trials if trial["run"].startswith(kind)}
        assert lost == {"Training in progress, step 1", "Training in progress, step 1, checkpoint"}
    assert sum("/lfs/" in trial["cut_at"] for trial in trials) >= 4


def test_a_connection_that_is_cut_once_needs_no_second_try(look):
    seen = look("one_cut")
    assert len(seen["cut"]) == 1 and "/lfs/" in seen["cut"][0] and seen["whole"]


@pytest.mark.parametrize(
    ("trial", "reason"),
    [
        ("create 401", "the Hub does not accept the token (401: "),
        ("create 403", "the token may not write there (403: "),
        ("create 503", "the Hub has trouble (503: "),
        ("preupload 401", "the Hub does not accept the token (401: "),
        ("preupload 403", "the token may not write there (403: "),
        ("batch 429", "too many requests were sent (429: "),
        ("upload 500", "the Hub has trouble (500: "),
        ("upload 507", "the Hub has no room left (507: "),
        ("commit 409", "something else was written at the same time (409: "),
        ("commit 500", "the Hub has trouble (500: "),
    ],
)
def test_a_refused_push_saves_says_why_and_can_be_repeated(look, trial, reason):
    seen = look("failures")[trial]
    check_sentence(seen["said"], reason, "failed")
    assert seen["saved"] and seen["whole"]


def test_without_network_the_model_is_saved(look):
    seen = look("no_network")
    check_sentence(seen["said"], "cannot be reached ([Errno 111] Connection refused): check the network", "unplugged")
    assert seen["saved"]


@pytest.mark.parametrize(
    ("trial", "error_type", "sentence"),
    [
        ("no_token", "ValueError", "there is no token for the Hub: run `hf auth login`, or set HF_TOKEN"),
        ("offline", "ValueError", "HF_HUB_OFFLINE is set: unset it"),
        ("name", "ValueError", "'me/my run (3)', which the Hub does not allow: set it to 'me/my-run-3'"),
        ("my run", "ValueError", "'my run', which the Hub does not allow: set it to 'my-run'"),
        (
            "wrong_token",
            "PushError",
            "wrong_token cannot be pushed to, because the Hub does not accept the token (401",
        ),
        ("not_mine", "PushError", "someone/model cannot be pushed to, because the token may not write there (403"),
        ("reads_only", "PushError", "me/fine cannot be pushed to, because the token may not write there (403"),
        ("trouble", "PushError", "trouble cannot be pushed to, because the Hub has trouble (503"),
        ("no_network", "PushError", "cannot be reached ([Errno 111] Connection refused): check the network"),
    ],
)
def test_what_cannot_be_pushed_is_refused_before_training(look, trial, error_type, sentence):
    seen = look("before_training")[trial]
    assert seen[0] == error_type and sentence in seen[1] and "\n" not in seen[1]


def test_what_can_be_pushed_is_not_refused(look):
    assert look("before_training")["works"] == []


def test_training_goes_on_while_the_hub_fails(look):
    seen = look("in_training")
    assert seen["step"] == 3 and seen["checkpoints"] == ["checkpoint-1", "checkpoint-2", "checkpoint-3"]
    assert len(seen["warnings"]) == 3  # once for each save
    for warning in seen["warnings"]:
        check_sentence(["PushError", warning, "said"], "the Hub has trouble (503", "troubled")
        assert warning.endswith("training continues, and the next save pushes again.")
    assert len(seen["warnings_of_saving"]) == 1  # saving was asked for, and done
    check_sentence(seen["said"], "the Hub has trouble (503", "troubled")
    assert seen["pushed"] == [] and seen["whole"]


@pytest.mark.parametrize("name", ["every_push", "one_checkpoint"])
def test_slow_uploads_are_of_one_step(look, name):
    """Transformers itself copies the next step's files over those that are being read (5.23)."""
    seen = look("slow_hub")[name]
    assert seen["warnings"] == [] and all(seen["whole"])
    assert [commit for commit in seen["commits"] if "checkpoint" in commit] == [
        f"Training in progress, step {step}, checkpoint" for step in (1, 2, 3)
    ]
    if name == "every_push":
        assert seen["steps"] == [1, 2, 3] and seen["different"] == 3


def test_the_token_is_in_nothing_that_is_pushed(look):
    seen = look("secret")
    assert {"training_args.bin", "last-checkpoint/training_args.bin", "forking_run.json"} <= set(seen["paths"])
    assert seen["leaks"] == [] and seen["token"] is None and seen["own"] == "hf_writes"


def test_the_command_in_the_sentence_pushes_the_run(look):
    seen = look("shell_command")
    assert seen["whole"], seen["output"]


def test_the_command_makes_no_private_run_public(look):
    seen = look("private")
    assert seen["whole"] and seen["private"], seen["output"]
    assert " --private" not in seen["public"] and " --private" in seen["asked_for"]


def test_logged_completions_are_pushed_unless_the_command_leaves_them_out(look):
    seen = look("completions")
    assert {"completions/completions_00001.parquet", "forking_run.json"} <= set(seen["paths"])
    expected = [path for path in seen["paths"] if not path.startswith("completions/")]
    assert seen["without"] == expected, seen["output"]


def test_a_refusal_of_hf_xet_is_as_clear(look):
    seen = look("xet")
    check_sentence(seen["said"], "it does not exist or the token may not see it (404: Not Found)", "xet")
    assert seen["whole"]


def test_two_processes(tmp_path, monkeypatch):
    with HubServer() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        start = time.time()
        result = run_processes("hub_worker.py", 2, str(tmp_path), "two_processes", "two_processes_end", timeout=200)
        assert result.returncode != 0 and time.time() - start < 150
        assert "someone/two cannot be pushed to, because the token may not write there (403" in result.stderr
        first, second = [json.loads((tmp_path / rank / "results.json").read_text()) for rank in "01"]
        assert "error" not in first["two_processes"], first["two_processes"]["error"]
        check_sentence(first["two_processes"]["late"], "the Hub does not accept the token (401", "two")
        check_sentence(first["two_processes"]["not_mine"], "the token may not write there (403", "two")
        assert second["two_processes"] == {"late": [], "not_mine": []}
        files = hub.repositories["me/two"].files
        last = {path.split("/")[1] for path in files if path.startswith("last-checkpoint/")}
        assert {"forking_progress_0.pt", "forking_progress_1.pt", "trainer_state.json"} <= last
        for path in (MODEL | TOKENIZER) - {"README.md", "training_args.bin"}:  # which name the last repository tried
            assert files[path] == (tmp_path / "two" / path).read_bytes()
        commits = hub.repositories["me/two"].commits
        assert commits.count("Training in progress, step 1") == 1 and commits.count("Model save") <= 1
