"""What a rule may not do: every mistake is an error that names the rule, before anything is trained."""

import pytest
import torch

from helpers.token_batches import build_tokens, list_places, select
from trl_forking.selection.rules import RULES, TokenPlan, TokenStats, ask_rule, find_rule, token_rule


TOKENS = build_tokens()
NAME = r"^The token rule .*\brule cannot be used: "


def ask(decide, needs=(), **settings):
    @token_rule(needs=needs)
    def rule(stats):
        return decide(stats)

    return select(TOKENS, rule=find_rule(rule), **settings)


def spoil(values, place, value):
    values = values.clone()
    values[place] = value
    return values


@pytest.mark.parametrize(
    ("decide", "message"),
    [
        (lambda stats: stats.mask, "it must return a TokenPlan, but it returned a Tensor"),
        (lambda stats: None, "it must return a TokenPlan, but it returned a NoneType"),
        (lambda stats: TokenPlan(), "a plan needs either scores or keep, but it has neither"),
        (
            lambda stats: TokenPlan(scores=stats.entropy, keep=stats.mask),
            "a plan needs either scores or keep, but it has both",
        ),
        (
            lambda stats: TokenPlan(scores=stats.entropy[:, 1:]),
            r"scores must have the shape \(6, 9\), but it has \(6, 8\)",
        ),
        (lambda stats: TokenPlan(scores=[1.0]), "scores must be a tensor, but it is a list"),
        (
            lambda stats: TokenPlan(scores=spoil(stats.entropy, (1, 2), float("nan"))),
            "scores are NaN at row 1, position 2: a token without a score can be neither kept nor dropped",
        ),
        (
            lambda stats: TokenPlan(scores=stats.entropy * torch.ones((), requires_grad=True)),
            r"scores has a gradient, and no gradient goes through a selection: call \.detach\(\) on it",
        ),
        (
            lambda stats: TokenPlan(keep=stats.mask.float()),
            "keep must be of type bool, but it is of type torch.float32",
        ),
        (
            lambda stats: TokenPlan(keep=stats.mask, weights=spoil(stats.entropy, (4, 0), -0.5)),
            "weights must be finite and at least 0, but at row 4, position 0 it is -0.5",
        ),
        (
            lambda stats: TokenPlan(keep=stats.mask, weights=spoil(stats.entropy, (0, 0), float("inf"))),
            "weights must be finite and at least 0, but at row 0, position 0 it is inf",
        ),
        (
            lambda stats: TokenPlan(keep=stats.mask, inclusion_probabilities=torch.zeros(6, 9)),
            r"inclusion_probabilities must be in \(0, 1\], but at row 0, position 0 it is 0",
        ),
        (
            lambda stats: TokenPlan(keep=stats.mask, inclusion_probabilities=torch.full((6, 9), 1.5)),
            r"inclusion_probabilities must be in \(0, 1\], but at row 0, position 0 it is 1.5",
        ),
        (
            lambda stats: TokenPlan(keep=stats.mask, epsilon_high=torch.full((6, 9), -0.1)),
            "epsilon_high must be finite and at least 0, but at row 0, position 0 it is -0.1",
        ),
        (
            lambda stats: TokenPlan(keep=stats.mask, population=stats.mask),
            "population goes with inclusion_probabilities, which are missing",
        ),
        (lambda stats: TokenPlan(keep=~stats.mask), "it keeps none of 30 tokens, so that nothing would be trained"),
        (
            lambda stats: TokenPlan(keep=stats.mask, weights=torch.zeros(6, 9)),
            "it keeps none of 30 tokens, so that nothing would be trained",
        ),
        (
            lambda stats: TokenPlan(scores=stats.log_prob),
            r'ValueError: it reads stats.log_prob but does not name it: .*\("log_prob",\)',
        ),
        (lambda stats: 1 / 0, "ZeroDivisionError: division by zero"),
    ],
)
def test_a_wrong_plan_is_refused(decide, message):
    with pytest.raises(ValueError, match=NAME + message):
        ask(decide)


def test_a_weighted_rule_has_no_ratio_of_an_answer():
    with pytest.raises(
        ValueError, match=NAME + "it weights or clips single tokens, and with importance_sampling_level='seq"
    ):
        ask(lambda stats: TokenPlan(keep=stats.mask, weights=stats.entropy), importance_sampling_level="sequence")


def test_a_need_that_does_not_exist_is_refused():
    with pytest.raises(
        ValueError, match="^A token rule needs 'logprob', which is not one of 'log_prob', 'sum_sq_probs'"
    ):
        token_rule(needs="logprob")


def test_what_stands_outside_the_mask_is_ignored():
    def decide(stats):
        nonsense = torch.where(stats.mask, stats.entropy, torch.nan)
        return TokenPlan(scores=nonsense, weights=nonsense, epsilon_low=nonsense)

    kept = ask(decide).kept
    assert torch.equal(kept, select(TOKENS).kept)
    assert list_places(ask(lambda stats: TokenPlan(keep=torch.ones(6, 9).bool())).kept) == {
        (token.row, token.position) for token in TOKENS
    }


def test_a_score_of_minus_infinity_is_the_lowest():
    """Below the budget it competes with no token outside the mask."""
    selection = ask(lambda stats: TokenPlan(scores=torch.full((6, 9), -torch.inf)), top_entropy_quantile=0.5)
    assert selection.kept.sum() == 15 and not (selection.kept & ~selection.counted).any()


def test_a_token_without_weight_is_dropped():
    selection = ask(lambda stats: TokenPlan(keep=stats.mask, weights=(stats.position > 2).float()))
    assert not selection.kept[:, :3].any() and selection.kept.any()


def test_a_rule_sees_what_it_is_promised():
    seen = {}
    ask(
        lambda stats: seen.update(stats=stats) or TokenPlan(keep=stats.mask),
        needs=("log_prob", "sum_sq_probs", "is_top1"),
    )
    stats = seen["stats"]
    assert stats.group[:, 0].tolist() == [0, 0, 1, 1, 2, 2] and stats.share == 0.2
    for token in TOKENS:
        place = (token.row, token.position)
        assert stats.mask[place] and stats.position[place] == token.position and stats.length[place] == token.length
        assert stats.advantage[place] == token.advantage and bool(stats.is_top1[place]) == token.is_top1
        for name in ("entropy", "log_prob", "sum_sq_probs"):
            assert getattr(stats, name)[place].item() == pytest.approx(getattr(token, name), rel=1e-5)


@pytest.mark.parametrize("name", RULES)
def test_a_plan_does_not_depend_on_the_rest_of_the_row(name):
    """Two batches that differ in nonsense outside the mask have the same plan."""
    first = select(TOKENS, token_selection=name, top_entropy_quantile=0.4)
    other = build_tokens()
    assert torch.equal(select(other, token_selection=name, top_entropy_quantile=0.4).kept, first.kept)


def test_one_clip_range_brings_the_other():
    """TRL clamps between two numbers or two tensors, and not between one of each."""
    selection = ask(lambda stats: TokenPlan(keep=stats.mask, epsilon_high=torch.full((6, 9), 0.5)))
    assert selection.epsilon_low.unique().tolist() == pytest.approx([0.2])
    assert selection.epsilon_high[selection.kept].unique().tolist() == [0.5]


def test_a_fault_in_another_process_ends_this_one_too():
    """What the other process adds to a sum says that it has found a fault."""
    mask = torch.ones(1, 2).bool()
    stats = TokenStats(mask, torch.zeros(1, 2), torch.ones(1, 2), torch.zeros(1, 2).long(), reduce=lambda sum: sum + 1)
    with pytest.raises(ValueError, match="^The token rule high_entropy cannot be used: it failed in another process"):
        ask_rule(RULES["high_entropy"], stats, mask)


def test_a_budget_can_be_empty():
    """As always: the complement of the top share of a single token is nothing, and training goes on with a warning."""
    mask = torch.tensor([[True, False]])
    stats = TokenStats(mask, torch.zeros(1, 2), torch.ones(1, 2), torch.zeros(1, 2).long(), share=0.9)
    assert not ask_rule(RULES["low_entropy"], stats, mask).kept.any()
