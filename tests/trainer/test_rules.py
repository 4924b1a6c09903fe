"""Rules in training: the same promises as the paper's selection, for every rule and for a user's own."""

import itertools

import pytest
import torch
from transformers import Qwen3ForCausalLM
from trl import GRPOConfig, GRPOTrainer

from helpers.tiny import (
    GradientSpy,
    build_dataset,
    build_model,
    build_trainer,
    compute_gradients,
    compute_weight_change,
    relative_error,
    roll_out,
)
from trl_forking.selection import TOKEN_SELECTIONS
from trl_forking.selection.rules import RULES, TokenPlan, ask_rule, token_rule
from trl_forking.selection.token_selector import Moment, Selection, get_loss_mask


NEW_RULES = [name for name in RULES if name not in TOKEN_SELECTIONS]
WHOLE = {"per_device_train_batch_size": 64, "gradient_accumulation_steps": 1}
SIXTEEN = {"per_device_train_batch_size": 16, "gradient_accumulation_steps": 1, "train_dataset": build_dataset(4)}
TRL = {"trainer_class": GRPOTrainer, "config_class": GRPOConfig, "epsilon_high": 0.28}


@pytest.mark.parametrize("name", NEW_RULES)
def test_a_sparse_update_in_eight_parts_is_the_dense_one_of_the_whole(tmp_path, name):
    """In float64, so that the order of sums is below the tolerance. One optimizer step of 64 answers."""
    gradients, kept = [], []
    for settings in (WHOLE | {"sparse_update": False}, {}):
        trainer = build_trainer(tmp_path, model=build_model().double(), token_selection=name, **settings)
        gradients.append(compute_gradients(trainer)[0])
        kept.append({(row, position) for part in trainer._buffered_inputs for row, position in list_kept(part)})
    assert trainer._is_sparse and kept[0] == kept[1]
    assert relative_error(gradients[1], gradients[0]) < 1e-6


def list_kept(part):
    return [(part["row_ids"][row].item(), position) for row, position in part["kept"].nonzero().tolist()]


def test_no_column_behind_a_cut_is_computed(tmp_path):
    trainer = build_trainer(tmp_path, **WHOLE, token_selection="random_prefix", top_entropy_quantile=0.5)
    widths = []
    trainer.model.base_model.register_forward_pre_hook(
        lambda module, args, kwargs: widths.append(kwargs["input_ids"].shape), with_kwargs=True
    )
    batch = roll_out(trainer)
    widths.clear()
    batch["kept"] &= torch.arange(batch["kept"].size(1)) < 4  # no cut behind the fourth token
    trainer._compute_loss(trainer.model, batch)
    prompts = batch["prompt_mask"].sum(1)[batch["kept"].any(1)]
    assert widths == [(batch["kept"].any(1).sum().item(), prompts.max().item() + 3)]


# Unbiased rules ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def per_token(tmp_path_factory):
    """A rollout of 16 answers, and the gradient of the log-probability of each token on its own."""
    trainer = build_trainer(tmp_path_factory.mktemp("unbiased"), GradientSpy, **SIXTEEN, sparse_update=False)
    batch = roll_out(trainer)
    for name in [name for name in batch if name in ("kept", "counted") or name.startswith("forking/")]:
        del batch[name]
    # Without ties, which each seed would break in another way.
    batch["entropies"] += 1e-3 * torch.randn(batch["entropies"].shape, generator=torch.Generator().manual_seed(0))
    mask = batch["completion_mask"].bool() & (batch["advantages"] != 0).unsqueeze(1)
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    attention_mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    logits = trainer.model(input_ids=ids, attention_mask=attention_mask).logits
    logps = logits[:, :-1].log_softmax(-1).gather(2, ids[:, 1:].unsqueeze(2)).squeeze(2)
    parameters, gradients = list(trainer.model.parameters()), {}
    for row, position in mask.nonzero().tolist():
        logp = logps[row, batch["prompt_ids"].size(1) + position - 1]
        parts = torch.autograd.grad(logp, parameters, retain_graph=True)
        gradients[row, position] = torch.cat([part.flatten() for part in parts]).double()
    return trainer, batch, gradients


def estimate(per_token, name, share, num_draws, scope="sequence", weighted=True) -> torch.Tensor:
    """
    The gradients of TRL's loss for a number of draws, `(draws, parameters)`; the loss is linear in the tokens' advantages.

    Without the metrics, and with the cheaper search of `sequence`: 2,000 whole selections take half a minute.
    """
    trainer, batch, gradients = per_token
    for field, value in (("token_selection", name), ("top_entropy_quantile", share), ("selection_scope", scope)):
        setattr(trainer.args, field, value)
    trainer.take_settings()
    selector, mask = trainer.selector, get_loss_mask(batch)
    rows, positions = map(torch.tensor, zip(*gradients, strict=True))
    matrix = -torch.stack(list(gradients.values())) / batch["num_items_in_batch"]
    weights = []
    for seed in range(num_draws):
        stats = selector._describe(batch, batch["entropies"], seed, Moment())
        choice = ask_rule(selector.rule, stats, mask)
        counted_by_rule = choice.kept if choice.population is None else choice.population
        batch_weight = mask.sum() / counted_by_rule.sum()
        own = choice.weights if weighted else None
        selection = Selection(stats.mask, choice.kept, 0, batch_weight, {}, own, choice.population)
        weights.append(selector.weigh(batch, selection)["advantages"][rows, positions].double())
    return torch.stack(weights) @ matrix


def is_mean(draws: torch.Tensor, expected: torch.Tensor) -> bool:
    """Whether the mean of independent draws is another value than expected by more than chance explains."""
    error, variance = draws.mean(0) - expected, draws.var(0) / len(draws)
    directions = torch.randn(50, len(expected), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    along, spread = directions @ error, (directions @ (draws - draws.mean(0)).T).std(1) / len(draws) ** 0.5
    # The squared error has the expected value of the summed variances; one of them dominates at most.
    return bool((along.abs() < 4 * spread).all() and error.square().sum() < 6 * variance.sum())


@pytest.mark.slow
def test_the_mean_over_2000_draws_is_the_gradient_of_plain_grpo(per_token, tmp_path):
    _, batch, gradients = per_token
    plain = sum(-batch["advantages"][row].double() * gradient for (row, _), gradient in gradients.items())
    plain = plain / batch["num_items_in_batch"]
    trls = -compute_weight_change(build_trainer(tmp_path, **TRL, **SIXTEEN, loss_type="dapo"))
    assert relative_error(plain.float(), trls) < 1e-4  # what is estimated is TRL's own gradient
    for name in ("random_unbiased", "random_prefix"):
        assert is_mean(estimate(per_token, name, 0.5, 2_000), plain), name
    assert is_mean(estimate(per_token, "random_unbiased", 0.2, 200, scope="batch"), plain)
    forks = estimate(per_token, "high_entropy", 0.4, 1)[0]
    of_forks = estimate(per_token, "random_prefix_forks", 0.4, 500)
    assert is_mean(of_forks, forks) and not is_mean(of_forks, plain)
    # The comparison can fail: prefixes without weights are the gradient of another objective.
    assert not is_mean(estimate(per_token, "random_prefix", 0.5, 500, weighted=False), plain)


@pytest.mark.parametrize("name", ["random_unbiased", "random_prefix"])
def test_a_draw_is_what_the_loss_computes(per_token, name):
    trainer, batch, _ = per_token
    draw = estimate(per_token, name, 0.5, 1)[0]
    inputs = dict(batch)
    trainer.selector.select(batch, batch["entropies"], 0).write_to(inputs)
    trainer.model.zero_grad()
    trainer._compute_loss(trainer.model, inputs).backward()
    gradient = torch.cat([parameter.grad.flatten() for parameter in trainer.model.parameters()])
    assert relative_error(draw.float(), gradient) < 1e-5


# A user's own rule -------------------------------------------------------------------------------------------------------


@token_rule(needs=("log_prob", "is_top1"))
def keep_surprises(stats):
    """A rule that other tests name by its import path."""
    return TokenPlan(scores=-stats.log_prob, weights=torch.where(stats.is_top1, 0.5, 1.0))


def test_a_rule_is_passed_as_a_function_or_by_its_path(tmp_path):
    path = f"{keep_surprises.__module__}.keep_surprises"
    by_function = build_trainer(tmp_path, trainer_kwargs={"token_rule": keep_surprises})
    assert by_function.args.token_rule == path and by_function.selector.rule.needs == ("log_prob", "is_top1")
    change = compute_weight_change(by_function)
    by_name = build_trainer(tmp_path, trainer_kwargs={"token_rule": "gradient_norm"})
    assert by_name.args.token_selection == "gradient_norm" and by_name.args.token_rule is None
    other = compute_weight_change(
        build_trainer(tmp_path, token_rule="trl_forking.selection.rules.advantage.gradient_norm")
    )
    assert torch.equal(compute_weight_change(by_name), other) and not torch.equal(change, other)
    log = by_function.state.log_history[0]
    assert 0 < log["forking/effective_sample_size"] < log["forking/kept_fraction"] * 400


def test_a_rule_can_be_passed_only_once(tmp_path):
    with pytest.raises(
        ValueError, match="^A rule was passed as the argument token_rule, and the settings have token_rule='ma"
    ):
        build_trainer(tmp_path, token_rule="math.sqrt", trainer_kwargs={"token_rule": keep_surprises})


def test_a_rule_that_fails_says_so(tmp_path):
    trainer = build_trainer(tmp_path, trainer_kwargs={"token_rule": lambda stats: TokenPlan(scores=stats.entropy[0])})
    with pytest.raises(
        ValueError, match=r"^The token rule .*<lambda> cannot be used: scores must have the shape \(64, "
    ):
        trainer.train()


def test_costly_statistics_are_computed_only_for_a_rule_that_names_them(tmp_path):
    assert build_trainer(tmp_path)._head_outputs == ()
    assert build_trainer(tmp_path, token_selection="gradient_norm")._head_outputs == ("log_sum_sq_probs",)


@pytest.mark.parametrize(("scope", "sampled"), [*itertools.product(["batch", "micro_batch"], [True, False])])
def test_a_rule_sees_the_statistics_of_a_softmax(tmp_path, scope, sampled):
    """From generation, from a scoring pass and from the loss pass: the log-probabilities, and all that is computed of them."""
    seen = []

    @token_rule(needs=("log_prob", "sum_sq_probs", "is_top1"))
    def look(stats):
        seen.append(stats)
        return TokenPlan(keep=stats.mask)

    settings = {"rollout_func": None, "max_completion_length": 8, "selection_scope": scope, "temperature": 0.8}
    settings |= {"entropy_from_generation": sampled, "count_zero_advantage": True, "per_device_train_batch_size": 8}
    trainer = build_trainer(tmp_path, **settings, gradient_accumulation_steps=1, trainer_kwargs={"token_rule": look})
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    compute_loss, batches = trainer._compute_loss, []
    trainer._compute_loss = lambda model, inputs: batches.append(inputs) or compute_loss(model, inputs)
    trainer.train()
    trainer.model.load_state_dict(before)
    (batch,), (stats,) = batches, seen
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    attention_mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    logits = trainer.model(input_ids=ids, attention_mask=attention_mask).logits.double() / 0.8
    log_probs = logits[:, batch["prompt_ids"].size(1) - 1 : -1].log_softmax(-1)
    drawn = log_probs.gather(2, batch["completion_ids"].unsqueeze(2)).squeeze(2)
    assert stats.mask.sum() == batch["completion_mask"].sum()
    order = [stats.row[:, 0].tolist().index(row) for row in batch["row_ids"].tolist()]  # the answers were dealt anew
    width = stats.mask.size(1)
    for name, expected in (("log_prob", drawn), ("sum_sq_probs", (2 * log_probs).exp().sum(2))):
        mask = stats.mask[order][:, : expected.size(1)]
        found = getattr(stats, name)[order][:, : expected.size(1)]
        torch.testing.assert_close(found[mask].double(), expected[:, :width][mask], atol=5e-5, rtol=0)
    mask = stats.mask[order][:, : drawn.size(1)]
    assert torch.equal(stats.is_top1[order][:, : drawn.size(1)][mask], (drawn >= log_probs.amax(2))[mask])


# Settings around rules ---------------------------------------------------------------------------------------------------


def test_a_schedule_ends_with_all_tokens(tmp_path):
    settings = {"top_entropy_quantile": 0.1, "top_entropy_quantile_end": 1.0, "max_steps": 5}
    trainer = build_trainer(tmp_path, **WHOLE, **settings, learning_rate=1e-4)
    trainer.train()
    shares = [entry["forking/kept_fraction"] for entry in trainer.state.log_history if "loss" in entry]
    assert shares == pytest.approx([0.1, 0.325, 0.55, 0.775, 1.0], abs=0.004)


@pytest.mark.parametrize("kl_tokens", ["all", "selected", "dropped"])
def test_the_kl_term_is_on_the_chosen_tokens(tmp_path, kl_tokens):
    """At the first step policy and reference are equal, so the reference is moved; the advantages are taken away."""
    settings = WHOLE | {"beta": 0.5, "kl_tokens": kl_tokens, "sparse_update": kl_tokens == "selected"}
    build_model().save_pretrained(tmp_path / "model")  # TRL loads the reference from where the model was
    model = Qwen3ForCausalLM.from_pretrained(tmp_path / "model")
    trainer = build_trainer(tmp_path, GradientSpy, model=model, **settings)
    batch = roll_out(trainer)
    batch["ref_per_token_logps"] = batch["ref_per_token_logps"] + 0.5
    with torch.no_grad():
        trainer._compute_loss(trainer.model, dict(batch))
    batch["advantages"] = batch["advantages"] * 1e-30
    trainer._compute_loss(trainer.model, batch).backward()
    gradient, kept, mask = trainer.seen_logps.grad, batch["kept"], batch["completion_mask"].bool()
    chosen = {"all": mask, "selected": kept, "dropped": batch["counted"] & ~kept}[kl_tokens]
    assert not gradient[~chosen & ~kept].any()
    # The term e^d - d - 1 has the gradient 1 - e^d; times the ratio, as TRL's default is, -d.
    slope = 0.5 if trainer.args.use_bias_correction_kl else torch.tensor(0.5).exp() - 1
    expected = -0.5 * slope / mask.sum()
    torch.testing.assert_close(gradient[chosen], expected.expand(int(chosen.sum())), rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"kl_tokens": "selected"},
            r"^kl_tokens='selected' chooses tokens for the KL term, but beta=0.0 has none: set beta",
        ),
        ({"kl_tokens": "kept", "beta": 0.1}, r"^kl_tokens='kept' is not one of 'all', 'selected', 'dropped'"),
        (
            {"kl_tokens": "dropped", "beta": 0.1, "top_entropy_quantile": 1.0},
            r"^kl_tokens='dropped' needs a selection",
        ),
        (
            {"token_selection": "random_prefix", "importance_sampling_level": "sequence"},
            r"^token_selection='random_prefix' weights or clips single tokens, and with importance_sampling_level='seq",
        ),
        (
            {"token_rule": "no_such_module.rule"},
            "^token_rule: The token rule 'no_such_module.rule' cannot be imported",
        ),
        (
            {"token_rule": max},
            "^token_rule must be an import path in the settings, but it is <built-in function max>: set a",
        ),
    ],
)
def test_impossible_settings_are_refused(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        build_trainer(tmp_path, **settings)
