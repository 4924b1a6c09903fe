"""What this library relies on in pushes to the Hub, of Transformers and huggingface_hub; nothing is sent.

Each test fails with a sentence that names what has changed.
"""

import pickle
from concurrent.futures import Future
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from trl import GRPOConfig, GRPOTrainer

from helpers.tiny import build_dataset, build_trainer


class Api:
    """Stands in for `HfApi`: notes what it is asked for and has done everything at once."""

    def __init__(self, calls):
        self.calls, self.uploads = calls, []

    def create_repo(self, repo_id, **kwargs):
        self.calls.append("create_repo")
        self.created = repo_id
        return SimpleNamespace(repo_id=f"me/{repo_id}")

    def upload_folder(self, **kwargs):
        self.calls.append("upload_folder")
        self.uploads.append(kwargs)
        future = Future()
        future.set_result(None)
        return future


class Pusher(GRPOTrainer):
    def save_model(self, output_dir=None, _internal_call=False):
        self.calls.append("save_model")
        super().save_model(output_dir, _internal_call)

    def create_model_card(self, *args, **kwargs):
        self.calls.append("create_model_card")

    def _push_from_checkpoint(self, checkpoint_folder):
        self.calls.append("_push_from_checkpoint")
        super()._push_from_checkpoint(checkpoint_folder)


@pytest.fixture
def build(tmp_path, monkeypatch):
    calls = []
    api = Api(calls)
    monkeypatch.setattr("transformers.trainer.hf_api", lambda: api)
    monkeypatch.setattr(Pusher, "calls", calls, raising=False)

    def build_pusher(**settings):
        sizes = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 1, "num_generations": 2}
        settings = sizes | {"hub_token": "hf_secret"} | settings
        folder = str(tmp_path / "run")
        return build_trainer(folder, Pusher, GRPOConfig, train_dataset=build_dataset(2), **settings), api

    return build_pusher


def test_a_trainer_that_is_to_push_creates_the_repository_when_it_is_built(build):
    trainer, api = build(push_to_hub=True)
    assert api.calls == ["create_repo"], (
        f"Transformers does {api.calls} when a trainer with push_to_hub=True is built, and no longer creates the "
        "repository: a token without rights would show after training."
    )
    assert (api.created, trainer.hub_model_id) == ("run", "me/run"), (
        "Transformers no longer names a repository by output_dir, or Trainer.hub_model_id is not its whole name."
    )


def test_a_push_saves_then_makes_the_card_then_uploads_all_but_what_is_private(build):
    trainer, api = build()
    trainer.push_to_hub()
    assert api.calls == ["create_repo", "save_model", "create_model_card", "upload_folder"], (
        f"Transformers' push_to_hub does {api.calls} in this order: PushMixin knows by it what is saved when a push fails."
    )
    upload = api.uploads[0]
    assert upload["ignore_patterns"] == ["_*", "checkpoint-*"] and upload["folder_path"] == trainer.args.output_dir, (
        "Transformers no longer uploads output_dir without _* and checkpoint-*: half-written files begin with _."
    )
    trainer.push_to_hub(blocking=False)
    assert api.calls[4:] == ["save_model", "create_model_card", "upload_folder"] and api.uploads[1]["run_as_future"], (
        "Transformers no longer pushes a second time without creating the repository, or blocking=False in the background."
    )


def test_save_model_pushes_where_the_user_calls_it(build):
    trainer, api = build(push_to_hub=True)
    api.calls.clear()
    trainer.save_model(_internal_call=True)
    assert api.calls == ["save_model"], "Transformers pushes what it saves by save_model(_internal_call=True)."
    trainer.save_model()
    assert api.calls[1:] == ["save_model", "save_model", "create_model_card", "upload_folder"], (
        "Transformers' save_model no longer pushes what a user saves, after it is saved."
    )


def test_a_checkpoint_is_pushed_in_the_background_and_its_jobs_are_known(build):
    trainer, api = build(push_to_hub=True, hub_strategy="checkpoint", save_strategy="steps", save_steps=1)
    api.calls.clear()
    trainer.train()
    assert api.calls.count("_push_from_checkpoint") == 1 and api.calls[-2:] == ["upload_folder"] * 2, (
        f"Transformers no longer pushes a checkpoint by _push_from_checkpoint, with the model and the folder, but {api.calls}."
    )
    assert all(upload["run_as_future"] for upload in api.uploads), (
        "Transformers no longer pushes checkpoints in the background."
    )
    jobs = trainer.push_in_progress.jobs
    assert [type(job) for job in jobs] == [Future, Future], (
        "Transformers no longer keeps the futures of a push in Trainer.push_in_progress.jobs: PushMixin looks at them, "
        "since nobody else tells of a push that failed."
    )


def test_the_pushed_arguments_are_pickled(build):
    """`WrittenSettings` leaves secrets out of `training_args.bin` by the way the settings are pickled."""

    class Hidden(str):
        def __reduce__(self):
            return type(None), ()

    trainer, _ = build()
    trainer.args.hub_token = Hidden("hf_secret")
    trainer.save_model(_internal_call=True)
    path = f"{trainer.args.output_dir}/training_args.bin"
    assert torch.load(path, weights_only=False).hub_token is None, (
        "Transformers no longer pickles the training arguments as they are into training_args.bin."
    )
    assert b"hf_secret" not in pickle.dumps(trainer.args), "The token is in the training arguments a second time."


def is_allowed(name):
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def test_names_that_the_hub_refuses_are_told_from_others():
    names = ["me/my-run_3.1", "my-run", "my run", "me/my--run", "me/my/run"]
    assert [is_allowed(name) for name in names] == [True, True, False, False, False], (
        "huggingface_hub's validate_repo_id no longer raises HFValidationError for a name that is not allowed, and for no "
        "other: a run is refused by it before it is trained."
    )


def test_metadata_of_a_card_come_back(tmp_path):
    result = EvalResult(
        task_type="text-generation", dataset_type="d", dataset_name="D", metric_type="accuracy", metric_value=0.5
    )
    data = ModelCardData(model_name="tiny", eval_results=[result], tags=["grpo"], extra="kept")
    (tmp_path / "README.md").write_text(f"---\n{data.to_yaml()}\n---\n\ntext\n")
    card = ModelCard.load(tmp_path / "README.md", ignore_metadata_errors=True)
    found = card.data.to_dict()
    values = [result.metric_value for result in card.data.eval_results or []]
    assert values == [0.5] and "model-index" in found, (
        "huggingface_hub no longer writes eval_results as model-index, or reads them back."
    )
    assert (found["extra"], card.text.strip()) == ("kept", "text"), (
        "huggingface_hub's ModelCard no longer keeps metadata that it does not know, or the text as it is."
    )
