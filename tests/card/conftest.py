import shutil

import pytest

from helpers.cards import SAMPLED
from helpers.tiny import build_trainer


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run of four steps."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    trainer = build_trainer(str(folder), **SAMPLED, hub_token="hf_secret")
    trainer.train()
    trainer.save_model()
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    """A copy of it."""
    return shutil.copytree(finished, tmp_path / "tiny", ignore=shutil.ignore_patterns("checkpoint-*"))
