"""TRL's own mask makes an error in each case, and this library does not. docs/trl_mask.md has the table."""

import math

import pytest
import torch
from trl import GRPOConfig, GRPOTrainer

from helpers.tiny import (
    GradientSpy,
    build_model,
    build_trainer,
    compute_weight_change,
    relative_error,
    replay_fixed_answers,
    roll_out,
)
from trl_forking.selection import select_tokens


TRL = {"trainer_class": GRPOTrainer, "config_class": GRPOConfig}
ONE_BATCH = {"per_device_train_batch_size": 64, "gradient_accumulation_steps": 1}


def trl_mask(trainer, entropies, mask, rho=0.2):
    return GRPOTrainer.get_high_entropy_mask(trainer, entropies, mask, 1 - rho)


def test_01_objective_does_not_depend_on_the_hardware(tmp_path):
    sizes = (64, 8)
    settings = [{"per_device_train_batch_size": n, "gradient_accumulation_steps": 64 // n} for n in sizes]
    ours = [compute_weight_change(build_trainer(tmp_path, **layout)) for layout in settings]
    theirs = [
        compute_weight_change(build_trainer(tmp_path, **TRL, loss_type="dapo", top_entropy_quantile=0.2, **layout))
        for layout in settings
    ]
    assert relative_error(*ours) < 1e-5 < 0.05 < relative_error(*theirs)


def test_02_normalizer_counts_kept_tokens(tmp_path):
    """The gradient of v2 is about 1 / rho times that of TRL: the share of a micro-batch is ceil(rho * N) / N."""
    settings = {"count_zero_advantage": True, "selection_scope": "micro_batch", "sparse_update": False}
    kept = compute_weight_change(build_trainer(tmp_path, **settings))
    every = compute_weight_change(build_trainer(tmp_path, **settings, loss_normalizer="all"))
    trl = compute_weight_change(
        build_trainer(tmp_path, **TRL, loss_type="dapo", epsilon_high=0.28, top_entropy_quantile=0.2)
    )
    assert relative_error(every, trl) < 1e-6
    assert kept.norm() / trl.norm() == pytest.approx(5.0, rel=0.1)


def test_03_sequence_level_ratios_send_no_gradient_to_dropped_tokens(tmp_path):
    trainer = build_trainer(tmp_path, GradientSpy, **ONE_BATCH, importance_sampling_level="sequence", loss_type="grpo")
    batch = roll_out(trainer)
    trainer._compute_loss(trainer.model, batch).backward()
    assert trainer.seen_logps.grad[~batch["kept"]].count_nonzero() == 0
    assert trainer.seen_logps.grad[batch["kept"]].count_nonzero() == batch["kept"].sum()


def test_04_ties_keep_exactly_the_budget(tmp_path):
    entropies = torch.tensor([[0.0] * 9 + [1.0]])
    mask = torch.ones(1, 10)
    assert trl_mask(build_trainer(tmp_path, **TRL), entropies, mask).sum() == 10
    assert select_tokens(entropies, mask, 0.2).sum() == 2


# Case 05, 2^24 elements: tests/selection/test_kth_largest.py::test_2_to_the_26_values_where_torch_quantile_refuses


def break_head(model, value):
    """An output bias that makes one logit `value` in every distribution."""
    model.lm_head.bias = torch.nn.Parameter(torch.zeros(model.config.vocab_size))
    model.lm_head.bias.data[5] = value
    return model


@pytest.mark.parametrize("scope", ["batch", "micro_batch", "sequence"])
def test_06_nan_entropy_is_an_error_that_names_step_prompt_and_position(tmp_path, scope):
    trainer = build_trainer(tmp_path, model=break_head(build_model(), math.nan), selection_scope=scope)
    with pytest.raises(FloatingPointError, match=r"^Step 0: the entropy at position 0 of the answer to the prompt 'w"):
        trainer.train()


def test_06_infinite_logit_is_not_a_nan_entropy(tmp_path):
    """A vocabulary entry masked by a bias of -inf has probability 0 and the distribution a finite entropy."""

    def without_masked_word(prompts, trainer):
        rollout = replay_fixed_answers(prompts, trainer)
        rollout["completion_ids"] = [[i if i != 5 else 6 for i in ids] for ids in rollout["completion_ids"]]
        return rollout

    trainer = build_trainer(
        tmp_path, model=break_head(build_model(), -math.inf), rollout_func=without_masked_word, max_steps=2
    )
    assert compute_weight_change(trainer).isfinite().all()
    assert math.isfinite(trainer.state.log_history[1]["forking/threshold"])


def test_07_range_is_checked_at_construction(tmp_path):
    for rho in (20, -0.2):
        GRPOConfig(str(tmp_path), use_cpu=True, top_entropy_quantile=rho)  # accepted there
        with pytest.raises(ValueError, match="top_entropy_quantile must be"):
            build_trainer(tmp_path, top_entropy_quantile=rho)


def reward_half_zero_variance(completion_ids, number, **kwargs):
    return [1.0 if n % 2 == 0 or len(ids) % 2 else 0.0 for ids, n in zip(completion_ids, number, strict=True)]


def test_08_zero_variance_groups_use_up_none_of_the_budget(tmp_path):
    trainer = build_trainer(tmp_path, **ONE_BATCH, reward_funcs=reward_half_zero_variance)
    batch = roll_out(trainer)
    has_advantage = batch["completion_mask"].bool() & (batch["advantages"] != 0).unsqueeze(1)
    assert batch["kept"].sum() == math.ceil(0.2 * has_advantage.sum()) and not (batch["kept"] & ~has_advantage).any()
    counting = build_trainer(tmp_path, **ONE_BATCH, reward_funcs=reward_half_zero_variance, count_zero_advantage=True)
    kept = roll_out(counting)["kept"]
    assert (kept & has_advantage).sum() < 0.15 * has_advantage.numel() and (kept & ~has_advantage).any()


def test_09_clip_fraction_is_over_kept_tokens(tmp_path):
    """With every kept token clipped, TRL logs the share of kept tokens; this logs 1."""
    trainer = build_trainer(tmp_path, GradientSpy, **ONE_BATCH)
    batch = roll_out(trainer)
    direction = batch["advantages"].sign().unsqueeze(1)
    batch["old_per_token_logps"] = trainer.seen_logps.detach() - direction  # ratio e for A > 0, 1/e for A < 0
    trainer._compute_loss(trainer.model, batch)
    metrics = trainer._metrics["train"]
    assert metrics["clip_ratio/region_mean"][-1] == pytest.approx(1.0)
    assert trainer.metric_means.pop()["clip_fraction"] == 1.0


def test_12_model_card_names_method_paper_and_settings(tmp_path):
    trainer = build_trainer(tmp_path, token_selection="random", top_entropy_quantile=0.1)
    trainer.create_model_card("tiny")
    card = (tmp_path / "README.md").read_text()
    for part in (
        "Forking GRPO",
        "2506.01939",
        "wang2025beyond",
        "| `token_selection` | `random` |",
        "`0.1`",
        "forking-grpo",
    ):
        assert part in card, part
    assert "DeepSeekMath" not in card and "None" not in card


def test_14_the_filter_does_something(tmp_path):
    """TRL's own test of its mask passes when the filter does nothing; here the change must be that of the kept tokens."""
    settings = {**ONE_BATCH, "loss_normalizer": "all"}
    changes = {
        name: compute_weight_change(build_trainer(tmp_path, **settings, **choice))
        for name, choice in {
            "all": {"top_entropy_quantile": 1.0},
            "high": {},
            "low": {"token_selection": "low_entropy"},
        }.items()
    }
    # High and low entropy tokens are complements, so their gradients add up to that of all tokens.
    assert relative_error(changes["high"] + changes["low"], changes["all"]) < 1e-5
    assert min(relative_error(changes[name], changes["all"]) for name in ("high", "low")) > 0.1
