"""A finished run says so, and a resumed one does not miss weights that are tied to others."""

import json
import logging

import pytest
import torch

from trl_forking.run.checkpoints import describe_finished
from trl_forking.run.restored_weights import find_tied_weights


@pytest.mark.parametrize(
    ("state", "max_steps", "epochs", "is_finished"),
    [
        ({"global_step": 8}, 8, 3.0, True),
        ({"global_step": 8}, 6, 3.0, True),
        ({"global_step": 8}, 9, 3.0, False),
        ({"global_step": 8, "max_steps": 8, "num_train_epochs": 3}, -1, 3.0, True),
        ({"global_step": 8, "max_steps": 8, "num_train_epochs": 3}, -1, 4.0, False),
        ({"global_step": "8"}, 8, 3.0, False),
        ({}, 8, 3.0, False),
    ],
)
def test_a_checkpoint_at_the_last_step_is_finished(tmp_path, state, max_steps, epochs, is_finished):
    (tmp_path / "trainer_state.json").write_text(json.dumps(state))
    sentence = describe_finished(str(tmp_path), max_steps, epochs)
    assert (sentence is not None) == is_finished
    if sentence:
        assert "The run is finished" in sentence and "Nothing is trained" in sentence


def test_no_checkpoint_is_not_finished():
    assert describe_finished(None, 8, 3.0) is None and describe_finished(True, 8, 3.0) is None


def test_tied_weights_are_not_missing(tmp_path, caplog):
    from trl_forking.commands.train_math import main

    flags = ["--config", "examples/recipes/cpu_smoke.yaml", "--per_device_train_batch_size", "8", "--save_steps", "1"]
    flags += ["--output_dir", str(tmp_path), "--report_forks_every", "0"]
    main([*flags, "--max_steps", "1"])
    with caplog.at_level(logging.WARNING):
        trainer = main([*flags, "--max_steps", "2", "--resume_from_checkpoint", "true"])
    assert trainer.state.global_step == 2 and "missing keys" not in caplog.text
    assert find_tied_weights(trainer.model) == {"lm_head.weight", "model.embed_tokens.weight"}
    assert not find_tied_weights(torch.nn.Linear(2, 2))
    assert main([*flags, "--max_steps", "2", "--resume_from_checkpoint", "true"]) is None  # it is finished
