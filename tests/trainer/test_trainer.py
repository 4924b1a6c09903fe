import math

import pytest
import torch
from trl import GRPOConfig, GRPOTrainer

from helpers import reference
from helpers.tiny import (
    LOSS_TYPES,
    GradientSpy,
    build_model,
    build_trainer,
    compute_weight_change,
    relative_error,
    roll_out,
)
from trl_forking.selection import NORMALIZER_EXTENT, TOKEN_SELECTIONS
from trl_forking.selection.rules import RULES


TRL = {"trainer_class": GRPOTrainer, "config_class": GRPOConfig, "epsilon_high": 0.28}
# All tokens are computed, so that the dropped ones have log-probabilities whose gradient can be looked at;
# test_sparse_update.py shows that leaving them out changes nothing.
ONE_BATCH = {"per_device_train_batch_size": 64, "gradient_accumulation_steps": 1, "sparse_update": False}


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_rho_1_is_grpo_to_the_bit(tmp_path, loss_type):
    """Two steps with sampled answers: losses, gradient norms and weights. `sparse_update=False` keeps TRL's tensors."""
    settings = {"loss_type": loss_type, "rollout_func": None, "max_steps": 2, "learning_rate": 0.1}
    plain = build_trainer(tmp_path, **TRL, **settings)
    forking = build_trainer(tmp_path, **settings, top_entropy_quantile=1.0, sparse_update=False)
    assert torch.equal(compute_weight_change(forking), compute_weight_change(plain))
    for ours, theirs in zip(forking.state.log_history[:2], plain.state.log_history[:2], strict=True):
        assert theirs["grad_norm"] > 0
        for key in set(theirs) - {"step_time"}:
            assert ours[key] == theirs[key], key


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_micro_batch_and_all_equal_trls_own_mask(tmp_path, loss_type):
    settings = {"loss_type": loss_type, "top_entropy_quantile": 0.2}
    plain = compute_weight_change(build_trainer(tmp_path, **TRL, **settings))
    settings |= {"selection_scope": "micro_batch", "loss_normalizer": "all", "count_zero_advantage": True}
    forking = build_trainer(tmp_path, **settings, sparse_update=False)
    assert torch.equal(compute_weight_change(forking), plain)


@pytest.mark.parametrize("loss_normalizer", ["kept", "all"])
@pytest.mark.parametrize("old_noise", [0.0, 0.3])
def test_loss_and_gradient_equal_eq_6_written_with_loops(tmp_path, loss_normalizer, old_noise):
    trainer = build_trainer(tmp_path, GradientSpy, **ONE_BATCH, loss_normalizer=loss_normalizer)
    batch = roll_out(trainer)
    logps = trainer.seen_logps.detach()
    batch["old_per_token_logps"] = logps + old_noise * torch.randn(
        logps.shape, generator=torch.Generator().manual_seed(0)
    )
    loss = trainer._compute_loss(trainer.model, batch)
    loss.backward()

    advantages, mask = batch["advantages"].double().tolist(), batch["completion_mask"].tolist()
    counted = [[bool(m) and advantages[i] != 0 for m in row] for i, row in enumerate(mask)]
    kept = reference.kept_tokens(trainer.seen_entropies.double().tolist(), counted, rho=0.2)
    divided_by = len(kept) if loss_normalizer == "kept" else sum(map(sum, mask))
    log_probs = trainer.seen_logps.detach().double().requires_grad_()
    expected = -reference.objective(log_probs, batch["old_per_token_logps"].double(), advantages, kept, divided_by)
    expected.backward()

    assert len(kept) == math.ceil(0.2 * sum(map(sum, counted)))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert relative_error(trainer.seen_logps.grad.double(), log_probs.grad) < 1e-5


def test_entropies_are_those_of_a_float64_softmax_at_the_sampling_temperature(tmp_path):
    trainer = build_trainer(tmp_path, GradientSpy, **ONE_BATCH, temperature=0.7)
    batch = roll_out(trainer)
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    attention_mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    logits = trainer.model(input_ids=ids, attention_mask=attention_mask).logits.detach().double() / 0.7
    start = batch["prompt_ids"].size(1) - 1
    for row, position in batch["completion_mask"].nonzero().tolist():
        expected = reference.entropy(logits[row, start + position].tolist())
        assert trainer.seen_entropies[row, position].item() == pytest.approx(expected, abs=1e-5)


ACCEPTED = [
    {
        "loss_type": loss_type,
        "importance_sampling_level": level,
        "selection_scope": scope,
        "loss_normalizer": normalizer,
    }
    for loss_type in LOSS_TYPES
    for level in ("token", "sequence")
    for scope in ("batch", "sequence", "micro_batch")
    for normalizer in ("kept", "all")
    if (level, scope) != ("sequence", "micro_batch")  # refused by name
]
ACCEPTED += [
    {"off_policy_mask_threshold": 0.01},
    {"delta": 1.3},
    {"token_selection": "low_entropy"},
    {"token_selection": "random"},
    {"mask_truncated_completions": True},
    *({"token_selection": name} for name in RULES if name not in TOKEN_SELECTIONS),
]


@pytest.mark.parametrize("settings", ACCEPTED, ids=lambda settings: "-".join(map(str, settings.values())))
def test_no_dropped_token_receives_gradient(tmp_path, settings):
    trainer = build_trainer(tmp_path, GradientSpy, **ONE_BATCH, **settings)
    batch = roll_out(trainer)
    noise = 0.2 * torch.randn(batch["completion_ids"].shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        old = trainer.score_rollout(batch)  # only to have the log-probabilities of the policy
    batch["old_per_token_logps"] = trainer.seen_logps + noise
    batch["sampling_per_token_logps"] = batch["old_per_token_logps"]
    kept = batch.get("kept")
    if kept is None:
        counted = batch["completion_mask"].bool() & (batch["advantages"] != 0).unsqueeze(1)
        kept = torch.zeros_like(counted)
        values = old.masked_fill(~counted, -1).flatten()
        kept.view(-1)[values.topk(math.ceil(counted.sum().item() * 0.2)).indices] = True
    trainer._compute_loss(trainer.model, batch).backward()
    gradient = trainer.seen_logps.grad
    assert (gradient[~kept] == 0).all()
    assert gradient[kept].count_nonzero() > 0.5 * kept.sum()


def test_sequence_level_ratio_is_taken_over_kept_tokens(tmp_path):
    """GSPO's ratio of an answer, but the mean of its log is over the tokens that are trained."""
    settings = {"importance_sampling_level": "sequence", "loss_type": "grpo"}
    trainer = build_trainer(tmp_path, GradientSpy, **ONE_BATCH, **settings)
    batch = roll_out(trainer)
    logps = trainer.seen_logps.detach().double().requires_grad_()
    old = trainer.seen_logps.detach() + 0.1 * torch.randn(logps.shape, generator=torch.Generator().manual_seed(0))
    batch["old_per_token_logps"] = old
    loss = trainer._compute_loss(trainer.model, batch)
    loss.backward()
    expected = 0.0
    for row, kept in enumerate(batch["kept"]):
        if kept.any():
            ratio = (logps[row] - old[row].double())[kept].mean().exp()
            advantage = batch["advantages"][row].double()
            expected = expected - torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.28) * advantage)
    expected = expected / len(batch["kept"])
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert relative_error(trainer.seen_logps.grad.double(), logps.grad) < 1e-5
    entropies = trainer.seen_entropies[batch["counted"]]
    assert trainer._metrics["train"]["entropy"][-1] == pytest.approx(entropies.mean().item(), rel=1e-5)


@pytest.mark.parametrize("loss_type", [name for name, extent in NORMALIZER_EXTENT.items() if extent])
def test_kept_and_all_differ_by_the_share_of_kept_tokens(tmp_path, loss_type):
    changes = {}
    for normalizer in ("kept", "all"):
        trainer = build_trainer(tmp_path, GradientSpy, **ONE_BATCH, loss_type=loss_type, loss_normalizer=normalizer)
        batch = roll_out(trainer)
        trainer._compute_loss(trainer.model, batch).backward()
        changes[normalizer] = trainer.seen_logps.grad
    mask, kept = batch["completion_mask"].float(), batch["kept"].float()
    if NORMALIZER_EXTENT[loss_type] == "sequence":
        share = kept.sum(1, keepdim=True) / mask.sum(1, keepdim=True)
    else:
        share = kept.sum() / mask.sum()
    torch.testing.assert_close(changes["kept"] * share, changes["all"], rtol=1e-5, atol=1e-9)


def test_kept_set_is_fixed_for_the_life_of_the_rollout(tmp_path):
    """Two steps on one rollout: the second has other entropies and the same kept tokens."""
    seen = []

    class Recorder(GradientSpy):
        def _compute_loss(self, model, inputs):
            loss = super()._compute_loss(model, inputs)
            seen.append((inputs["row_ids"], inputs["kept"], self.seen_entropies))
            return loss

    trainer = build_trainer(tmp_path, Recorder, **ONE_BATCH, num_iterations=2, max_steps=2, learning_rate=5.0)
    trainer.train()
    (rows, kept, entropies), (later_rows, later_kept, later_entropies) = seen
    assert torch.equal(rows, later_rows) and torch.equal(kept, later_kept)
    assert not torch.allclose(entropies, later_entropies, atol=1e-3)


def test_entropies_of_a_pass_that_trl_makes_anyway_are_used(tmp_path):
    """Off-policy steps make TRL score the rollout; the trainer then scores nothing itself."""
    calls = []

    class Counter(GradientSpy):
        def score_rollout(self, *args, **kwargs):
            calls.append(1)
            return super().score_rollout(*args, **kwargs)

    trainer = build_trainer(tmp_path, Counter, **ONE_BATCH, num_iterations=2)
    batch = roll_out(trainer)
    assert not calls and "old_per_token_logps" in batch
    alone = build_trainer(tmp_path, Counter, **ONE_BATCH)
    assert torch.equal(roll_out(alone)["kept"], batch["kept"]) and len(calls) == 1


@pytest.mark.parametrize("token_selection", TOKEN_SELECTIONS)
@pytest.mark.parametrize("scope", ["batch", "sequence", "micro_batch"])
def test_metrics_are_logged_at_every_step(tmp_path, token_selection, scope):
    trainer = build_trainer(tmp_path, token_selection=token_selection, selection_scope=scope, max_steps=2)
    trainer.train()
    for logs in trainer.state.log_history[:2]:
        metrics = {key.removeprefix("forking/"): value for key, value in logs.items() if "forking/" in key}
        assert set(metrics) == {
            "threshold", "kept_fraction", "counted_fraction", "entropy_p50", "entropy_p80", "entropy_p95",
            "entropy_p99", "entropy_share", "clip_fraction", "selected_entropy_mean", "dropped_entropy_mean",
            "padding_share", "rank_imbalance", "generated_tokens", "repeated_answers",
        }  # fmt: skip
        expected_share = 0.8 if token_selection == "low_entropy" else 0.2
        assert metrics["kept_fraction"] == pytest.approx(expected_share, abs=0.08)
        assert 0.5 < metrics["counted_fraction"] < 0.9
        assert metrics["entropy_p50"] < metrics["entropy_p80"] < metrics["entropy_p95"] <= metrics["entropy_p99"]


def test_evaluation_logs_its_own_metrics(tmp_path):
    trainer = build_trainer(
        tmp_path, per_device_eval_batch_size=16, trainer_kwargs={"eval_dataset": build_trainer(tmp_path).train_dataset}
    )
    metrics = trainer.evaluate()
    assert math.isfinite(metrics["eval_loss"])
    assert metrics["eval_forking/kept_fraction"] == pytest.approx(0.2, abs=0.05)


def test_gradient_checkpointing_and_tied_embeddings_change_nothing(tmp_path):
    for model_settings in ({}, {"tie_word_embeddings": True}):
        changes = [
            compute_weight_change(
                build_trainer(tmp_path, model=build_model(**model_settings), gradient_checkpointing=checkpointing)
            )
            for checkpointing in (False, True)
        ]
        assert relative_error(*changes) < 1e-6
