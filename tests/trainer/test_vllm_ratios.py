"""TRL corrects what vLLM samples by ratios: they reach the kept tokens alone, and NaN and infinity reach nothing."""

import math

import pytest
import torch

from helpers import reference, vllm_stand_in
from helpers.tiny import (
    LOSS_TYPES,
    GradientSpy,
    build_model,
    build_trainer,
    compute_gradients,
    compute_weight_change,
    relative_error,
    roll_out,
)
from helpers.vllm_runs import LOWER, MODES, NOISE, ONE_BATCH, TRL, UPPER, build, to_mode


pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch):
    vllm_stand_in.put_in_place(monkeypatch)


# References: loops over tokens, in float64 ---------------------------------------------------------------------------


def expected_ratios(batch: dict, mode: str, lower: float = LOWER, upper: float = UPPER) -> list[list[float]]:
    """TRL's correction of what the engine sampled: policy over engine, by token or by answer; 1 where it said NaN."""
    old, sampled = batch["old_per_token_logps"].double().tolist(), batch["sampling_per_token_logps"].double().tolist()
    ratios = []
    for i, row in enumerate(batch["completion_mask"].tolist()):
        logs = [
            old[i][t] - sampled[i][t] if row[t] and not math.isnan(sampled[i][t]) else 0.0 for t in range(len(row))
        ]
        if mode.startswith("sequence"):
            logs = [sum(logs)] * len(row)
        values = [math.exp(value) for value in logs]
        if mode.endswith("truncate"):
            ratios.append([min(max(value, lower), upper) for value in values])
        else:
            ratios.append([value if lower <= value <= upper else 0.0 for value in values])
    return ratios


def expected_loss_and_gradient(logps, batch: dict, ratios: list[list[float]]) -> tuple[float, torch.Tensor]:
    """The paper's objective with every token's term times its ratio, over the number of kept tokens."""
    logps = logps.detach().double().requires_grad_()
    old, advantages = batch["old_per_token_logps"].double(), batch["advantages"].double().tolist()
    kept = [tuple(place) for place in batch["kept"].nonzero().tolist()]
    terms = [ratios[i][t] * reference.objective(logps, old, advantages, {(i, t)}, len(kept)) for i, t in kept]
    loss = -torch.stack(terms).sum()
    loss.backward()
    return loss.item(), logps.grad


def assert_equals_reference(gradient, logps, batch, ratios, loss=None) -> None:
    expected, expected_gradient = expected_loss_and_gradient(logps, batch, ratios)
    assert expected_gradient.any()
    if loss is not None:
        assert loss.item() == pytest.approx(expected, rel=1e-5, abs=1e-7)
    assert relative_error(gradient.double(), expected_gradient) < 1e-5
    assert (gradient[~batch["kept"]] == 0).all()


# Loss and gradient -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nan_share", "sparse"), [(0.0, True), (0.3, True), (0.3, False), (1.0, True)], ids=lambda value: str(value)
)
@pytest.mark.parametrize("mode", MODES)
def test_loss_and_gradient_equal_a_reference(tmp_path, mode, nan_share, sparse):
    settings = {**ONE_BATCH, **to_mode(mode), "sparse_update": sparse, "noise": NOISE, "nan_share": nan_share}
    trainer, _ = build(tmp_path, GradientSpy, **settings)
    assert trainer._is_sparse == sparse
    batch = roll_out(trainer)
    ratios, mask = torch.tensor(expected_ratios(batch, mode)), batch["completion_mask"].bool()
    torch.testing.assert_close(batch["importance_sampling_ratio"].expand(mask.shape), ratios, rtol=1e-5, atol=1e-6)
    is_nan = batch["sampling_per_token_logps"].isnan() & mask
    assert is_nan.sum() / mask.sum() == pytest.approx(nan_share, abs=0.06)
    if nan_share == 1.0 or mode.startswith("token"):
        assert (batch["importance_sampling_ratio"].expand(mask.shape)[is_nan] == 1).all()
    if nan_share < 1.0:  # both limits act on trained tokens
        values = ratios[batch["kept"]]
        limits = (LOWER, UPPER) if mode.endswith("truncate") else (0.0, 0.0)
        assert all((values == limit).float().mean() > 0.02 for limit in limits) and (values != values[0]).any()

    logps = trainer.seen_logps.detach()  # of the pass that TRL makes over the rollout: all tokens
    shift = 0.3 * torch.randn(logps.shape, generator=torch.Generator().manual_seed(0))
    batch["old_per_token_logps"] = logps + shift  # a policy that has moved since, so that TRL clips too
    loss = trainer._compute_loss(trainer.model, batch)
    loss.backward()
    assert_equals_reference(trainer.seen_logps.grad, logps, batch, ratios.tolist(), loss)


def reward_parity(completion_ids: list[list[int]], **kwargs) -> list[float]:
    """Tells most sampled answers to one prompt apart, which their lengths do not."""
    return [float(sum(ids) % 2) for ids in completion_ids]


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_rho_1_is_grpo_to_the_bit(tmp_path, mode):
    """Two steps on answers that the engine samples, with noise and NaN: losses, gradient norms and weights."""
    settings = {**to_mode(mode), "max_steps": 2, "learning_rate": 0.1, "noise": NOISE, "nan_share": 0.2}
    settings["reward_funcs"] = reward_parity
    plain, engine = build(tmp_path, **settings, **TRL, loss_type="dapo")
    forking, other_engine = build(tmp_path, **settings, top_entropy_quantile=1.0, sparse_update=False)
    engine.is_sampling = other_engine.is_sampling = True
    assert torch.equal(compute_weight_change(forking), compute_weight_change(plain))
    for ours, theirs in zip(forking.state.log_history[:2], plain.state.log_history[:2], strict=True):
        assert theirs["grad_norm"] > 0 and theirs["sampling/sampling_logp_difference/mean"] > 0.2
        for key in set(theirs) - {"step_time"}:
            assert ours[key] == theirs[key], key


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_sparse_and_dense_update_give_the_same_gradient(tmp_path, mode):
    settings = {**to_mode(mode), "noise": NOISE, "nan_share": 0.2}
    # Weights of 0.5 would double the rounding errors that either way has; these are closer to a real model's.
    sparse, dense = (
        compute_gradients(build(tmp_path, sparse_update=value, model=build_model(scale=0.2), **settings)[0])[0]
        for value in (True, False)
    )
    assert dense.any() and relative_error(sparse, dense) < 1e-6


@pytest.mark.parametrize(
    ("loss_type", "level"), [(name, "token") for name in LOSS_TYPES] + [("grpo", "sequence"), ("luspo", "sequence")]
)
def test_no_dropped_token_receives_gradient(tmp_path, loss_type, level):
    mode = "token_mask" if loss_type == "vespo" else "sequence_mask"  # TRL refuses sequence_mask with vespo
    settings = {"loss_type": loss_type, "importance_sampling_level": level, "sparse_update": False}
    trainer, _ = build(tmp_path, GradientSpy, **ONE_BATCH, **to_mode(mode), **settings, noise=0.1, nan_share=0.2)
    batch = roll_out(trainer)
    trainer._compute_loss(trainer.model, batch).backward()
    gradient, kept = trainer.seen_logps.grad, batch["kept"]
    assert (gradient[~kept] == 0).all()
    assert gradient[kept].count_nonzero() > 0.5 * kept.sum()


@pytest.mark.parametrize("mode", MODES)
def test_second_iteration_keeps_ratios_and_kept_tokens(tmp_path, mode):
    """Both steps on one rollout equal the reference; in the second the policy has moved and TRL clips."""
    passes = []

    class Recorder(GradientSpy):
        def _compute_loss(self, model, inputs):
            loss = super()._compute_loss(model, inputs)
            passes.append((self.seen_logps, inputs))
            return loss

    settings = {**ONE_BATCH, **to_mode(mode), "num_iterations": 2, "max_steps": 2, "learning_rate": 0.5}
    trainer, engine = build(tmp_path, Recorder, **settings, sparse_update=False, noise=NOISE, nan_share=0.1)
    trainer.train()
    assert engine.events.count("generate") == 1 and len(passes) == 2
    for logps, batch in passes:
        assert_equals_reference(logps.grad, logps, batch, expected_ratios(batch, mode))
    (logps, batch), (later, later_batch) = passes
    assert batch is later_batch or torch.equal(batch["kept"], later_batch["kept"])
    ratios = (later - later_batch["old_per_token_logps"])[later_batch["kept"]].exp()
    assert (ratios > 1.28).any() and (ratios < 0.8).any()
    torch.testing.assert_close(logps.detach(), batch["old_per_token_logps"], atol=1e-5, rtol=1e-5)


# NaN -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "nan_share"), [(mode, 0.3) for mode in MODES] + [("sequence_mask", 1.0)])
def test_nan_reaches_neither_weights_nor_metrics(tmp_path, mode, nan_share):
    trainer, _ = build(tmp_path, **to_mode(mode), noise=NOISE, nan_share=nan_share, max_steps=2, learning_rate=0.1)
    change = compute_weight_change(trainer)
    assert change.isfinite().all() and change.any()
    for logs in trainer.state.log_history[:2]:
        # TRL logs None where nothing is left to average: the clip ratios of single answers, which are not corrected.
        assert all(math.isfinite(value) for value in logs.values() if value is not None)
        difference = logs["sampling/sampling_logp_difference/mean"]  # of the tokens with a value
        assert difference == (0.0 if nan_share == 1.0 else pytest.approx(NOISE * math.sqrt(2 / math.pi), rel=0.15))


@pytest.mark.parametrize(
    "settings", [{"nan_share": 1.0}, {"nan_share": 0.3, "vllm_importance_sampling_correction": False}]
)
def test_without_usable_values_the_gradient_is_the_uncorrected_one(tmp_path, settings):
    """That of the same answers from anywhere else."""
    expected = compute_gradients(build_trainer(tmp_path, model=build_model(scale=0.2)))[0]
    trainer, engine = build(tmp_path, model=build_model(scale=0.2), noise=NOISE, **settings)
    assert relative_error(compute_gradients(trainer)[0], expected) < 1e-6
    assert "generate" in engine.events


def test_off_policy_mask_ignores_nan(tmp_path):
    """An answer is dropped where its mean log-ratio of engine to policy, NaN counted as 0, is past the threshold."""
    threshold, mode = 0.05, "token_truncate"
    settings = {**ONE_BATCH, **to_mode(mode), "off_policy_mask_threshold": threshold}
    trainer, _ = build(tmp_path, GradientSpy, noise=NOISE, nan_share=0.3, **settings)
    batch = roll_out(trainer)
    logps, ratios = trainer.seen_logps.detach(), expected_ratios(batch, mode)
    num_dropped = 0
    for i, row in enumerate(batch["completion_mask"].tolist()):
        logs = [batch["sampling_per_token_logps"][i, t].item() - logps[i, t].item() for t in range(len(row)) if row[t]]
        mean = sum(value for value in logs if not math.isnan(value)) / len(logs)
        if batch["advantages"][i] < 0 and mean > threshold:
            ratios[i] = [0.0] * len(row)
            num_dropped += 1
    assert 3 < num_dropped < (batch["advantages"] < 0).sum()
    loss = trainer._compute_loss(trainer.model, batch)
    loss.backward()
    assert_equals_reference(trainer.seen_logps.grad, logps, batch, ratios, loss)


# Ratios that overflow ------------------------------------------------------------------------------------------------

UNBOUNDED = {"vllm_importance_sampling_clip_min": LOWER, "vllm_importance_sampling_clip_max": None}


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("limits", [{}, UNBOUNDED], ids=["bounded", "unbounded"])
@pytest.mark.parametrize("mode", MODES)
def test_an_infinite_ratio_of_a_dropped_token_changes_nothing(tmp_path, mode, limits, sparse):
    """The engine found dropped tokens next to impossible: all, or, by answer, those of answers without others."""
    settings = {**ONE_BATCH, "vllm_importance_sampling_mode": mode, "sparse_update": sparse, **limits}
    trainer, engine = build(tmp_path, GradientSpy, **settings)
    gradients = []
    for _ in range(2):
        batch = roll_out(trainer)
        loss = trainer._compute_loss(trainer.model, batch)
        loss.backward()
        gradients.append(trainer.seen_logps.grad)
        dropped = batch["completion_mask"].bool() & ~batch["kept"]
        if mode.startswith("sequence"):
            dropped &= ~batch["kept"].any(1, keepdim=True)
        engine.overrides = dict.fromkeys(map(tuple, dropped.nonzero().tolist()), -1e4)
    assert len(engine.overrides) > 50 and loss.isfinite()
    assert (batch["sampling_per_token_logps"][dropped] == -1e4).all()
    assert torch.equal(gradients[1], gradients[0])
