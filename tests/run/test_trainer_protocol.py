"""The list of what is relied on of the trainer is true of the trainer."""

import inspect

import pytest

from helpers.tiny import build_trainer
from trl_forking.run.trainer_protocol import ForkingTrainer


NAMES = sorted({*ForkingTrainer.__annotations__, *(name for name, _ in inspect.getmembers(ForkingTrainer, callable))})
NAMES = [name for name in NAMES if not name.startswith("__") and name not in ("_is_protocol", "_is_runtime_protocol")]
SET_LATER = {"_environment_pool"}  # only a trainer with environments has it


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    trainer = build_trainer(tmp_path_factory.mktemp("run"))
    trainer.train()
    return trainer


@pytest.mark.parametrize("name", NAMES)
def test_the_trainer_has_what_is_relied_on(trainer, name):
    assert name in SET_LATER or hasattr(trainer, name)


def test_the_list_is_not_empty():
    assert {"accelerator", "selector", "score_rollout", "_tokenizer"} <= set(NAMES)
