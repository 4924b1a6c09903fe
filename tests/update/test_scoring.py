"""Scoring requests: what a pass is asked for, and that nothing of a request outlives it."""

import pytest
import torch

from helpers.tiny import build_model, build_trainer, roll_out
from trl_forking.update.scoring import ScoringRequest


@pytest.fixture
def trainer(tmp_path):
    return build_trainer(tmp_path, per_device_train_batch_size=64, gradient_accumulation_steps=1)


def score(trainer, batch):
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    return trainer._get_per_token_logps_and_entropies(
        trainer.model, ids, mask, batch["completion_ids"].size(1), compute_entropy=True
    )


def test_a_request_can_skip_keep_to_some_tokens_or_listen(trainer):
    batch = roll_out(trainer)
    plain_logps, plain_entropies, _ = score(trainer, batch)
    with trainer.request_scores(ScoringRequest(skip=True)):
        assert not score(trainer, batch)[0].any()
    with trainer.request_scores(ScoringRequest(only=batch["kept"])):
        logps, entropies, _ = score(trainer, batch)
    assert not logps[~batch["kept"]].any() and not entropies[~batch["kept"]].any()
    torch.testing.assert_close(logps[batch["kept"]], plain_logps[batch["kept"]], atol=1e-5, rtol=0)
    heard = []
    with trainer.request_scores(ScoringRequest(receive=lambda *scores: heard.append(scores))):
        score(trainer, batch)
    ((logps, entropies),) = heard
    assert torch.equal(entropies, plain_entropies) and not logps.requires_grad


def test_an_inner_request_ends_before_the_outer_one(trainer):
    outer, inner = ScoringRequest(skip=True), ScoringRequest()
    with trainer.request_scores(outer):
        with pytest.raises(KeyError), trainer.request_scores(inner):
            raise KeyError
        assert trainer._scoring_request is outer
    assert trainer._scoring_request == ScoringRequest()


@pytest.mark.parametrize("is_training", [True, False])
def test_a_pass_that_fails_leaves_the_mode_of_the_model(trainer, monkeypatch, is_training):
    batch = roll_out(trainer)
    trainer.model.train(is_training)

    def fail(*args, **kwargs):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(trainer.model, "forward", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        trainer.score_rollout(batch)
    assert trainer.model.training == is_training


def test_scores_of_a_rollout_have_no_dropout(tmp_path):
    trainer = build_trainer(
        tmp_path,
        model=build_model(attention_dropout=0.5),
        per_device_train_batch_size=64,
        gradient_accumulation_steps=1,
    )
    batch = roll_out(trainer)
    assert trainer.model.training
    assert torch.equal(trainer.score_rollout(batch), trainer.score_rollout(batch))
