"""Every built-in rule against a loop over tokens in float64."""

import math
import statistics

import pytest
import torch

from helpers.token_batches import build_tokens, draw, list_places, rank, select
from trl_forking.selection.rules import RULES, find_rule, is_import_path


TOKENS = build_tokens()
PLACES = {(token.row, token.position) for token in TOKENS}


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5, 0.93])
@pytest.mark.parametrize(
    ("name", "score"),
    [
        ("high_entropy", lambda token: token.entropy),
        (
            "gradient_norm",
            lambda token: abs(token.advantage) * math.sqrt(1 - 2 * math.exp(token.log_prob) + token.sum_sq_probs),
        ),
        ("advantage_entropy", lambda token: abs(token.advantage) * token.entropy),
    ],
)
def test_a_top_share(name, score, share):
    selection = select(TOKENS, token_selection=name, top_entropy_quantile=share)
    assert list_places(selection.kept) == rank(TOKENS, score, share)
    assert selection.weights is None and selection.population is None


@pytest.mark.parametrize("name", ["high_entropy", "gradient_norm", "advantage_entropy"])
def test_a_top_share_of_each_answer(name):
    selection = select(TOKENS, token_selection=name, selection_scope="sequence", top_entropy_quantile=0.3)
    lengths = [sum(token.row == row for token in TOKENS) for row in range(6)]
    assert selection.kept.sum(1).tolist() == [math.ceil(0.3 * length) for length in lengths]


def test_the_gradient_norm_is_that_of_autograd():
    """For softmax and one-hot: the norm of the gradient of log p(y) with respect to the logits."""
    logits = torch.randn(5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    logits.log_softmax(0)[2].backward()
    p = logits.detach().softmax(0)
    assert logits.grad.norm().item() == pytest.approx(math.sqrt(1 - 2 * p[2] + p.square().sum()))


def test_low_entropy_is_the_rest():
    high, low = (select(TOKENS, token_selection=name).kept for name in ("high_entropy", "low_entropy"))
    assert list_places(high) | list_places(low) == PLACES and not (high & low).any()


@pytest.mark.parametrize("scope", ["batch", "sequence"])
@pytest.mark.parametrize("share", [0.1, 0.4, 1 / 3])
def test_random_tokens_with_their_probability(scope, share):
    drawn = [draw(TOKENS, "random_unbiased", seed, share, scope) for seed in range(60)]
    lengths = {row: sum(token.row == row for token in TOKENS) for row in range(6)}
    frequency = torch.stack([selection.kept.double() for selection in drawn]).mean(0)
    for token in TOKENS:
        size = len(TOKENS) if scope == "batch" else lengths[token.row]
        probability = math.ceil(size * share - 1e-9) / size
        place = (token.row, token.position)
        spread = math.sqrt(probability * (1 - probability) / 60)
        assert abs(frequency[place] - probability) <= 4.5 * spread
        weights = {selection.weights[place].item() for selection in drawn if selection.kept[place]}
        assert not weights or list(weights) == pytest.approx([1 / probability], rel=1e-6)
    assert drawn[0].population.sum() == 36  # every token that carries loss, with or without an advantage


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8, 0.999])
def test_prefixes_with_their_probability(share):
    """P(L >= t) by a loop over 5,001 quantiles of U, and by the frequency of 400 draws."""
    drawn = [draw(TOKENS, "random_prefix", seed, share) for seed in range(400)]
    frequency = torch.stack([selection.kept.double() for selection in drawn]).mean(0)
    exponent = (1 - share) / share
    for token in TOKENS:
        place, n, t = (token.row, token.position), token.length, token.number + 1
        grid = [(number + 0.5) / 5_001 for number in range(5_001)]
        expected = sum(math.ceil(n * u**exponent) >= t for u in grid) / len(grid)
        assert abs(frequency[place] - expected) <= 4.5 * math.sqrt(expected * (1 - expected) / 400) + 1e-3
        for selection in drawn[:50]:
            if selection.kept[place]:
                assert 1 / selection.weights[place].item() == pytest.approx(expected, abs=5e-4)
    for selection in drawn[:50]:
        for row in selection.kept.tolist():
            assert row == sorted(row, reverse=True)  # a prefix
    mean = statistics.mean(selection.kept.sum().item() for selection in drawn) / len(TOKENS)
    assert share < mean < share + 5 / len(TOKENS) + 0.03  # less than a token for each of five answers


def test_prefixes_of_forks():
    forks = select(TOKENS, token_selection="high_entropy", top_entropy_quantile=0.5).kept
    drawn = [draw(TOKENS, "random_prefix_forks", seed, 0.5) for seed in range(60)]
    frequency = torch.stack([selection.kept.double() for selection in drawn]).mean(0)
    for row in range(6):
        places = forks[row].nonzero().flatten().tolist()
        for number, position in enumerate(places):
            expected = 1 - number / len(places)
            assert abs(frequency[row, position] - expected) <= 4.5 * math.sqrt(expected * (1 - expected) / 60)
            weights = {d.weights[row, position].item() for d in drawn if d.kept[row, position]}
            assert not weights or list(weights) == pytest.approx([1 / expected], rel=1e-6)
    # At a tie another seed may choose another fork; these have none.
    assert all(torch.equal(selection.population, forks) and not (selection.kept & ~forks).any() for selection in drawn)


@pytest.mark.parametrize(("lowest", "highest"), [(1.0, 5.0), (0.05, 0.8)])
def test_covariance(lowest, highest):
    def rule(stats):
        return RULES["covariance"].function(stats, ratio=0.1, lowest=lowest, highest=highest)

    rule.needs = ("log_prob",)
    mean_advantage = statistics.fmean(token.advantage for token in TOKENS)
    mean_log_prob = statistics.fmean(token.log_prob for token in TOKENS)
    eligible = {
        (token.row, token.position)
        for token in TOKENS
        if lowest < (token.advantage - mean_advantage) * (token.log_prob - mean_log_prob) < highest
    }
    num_dropped = min(max(int(0.1 * len(TOKENS)), 1), len(eligible))
    dropped = [PLACES - list_places(select(TOKENS, seed, find_rule(rule)).kept) for seed in range(20)]
    assert eligible and all(places <= eligible and len(places) == num_dropped for places in dropped)
    assert len({frozenset(places) for places in dropped}) > 1 or num_dropped == len(eligible)


def test_covariance_drops_one_token_at_least():
    kept = select(TOKENS, token_selection="covariance").kept
    assert kept.sum() == len(TOKENS) - 1


def test_surprisal_band():
    kept = select(TOKENS, token_selection="surprisal_band").kept
    expected = {(token.row, token.position) for token in TOKENS if 0.1 <= -token.log_prob / token.entropy <= 3}
    assert list_places(kept) == expected and 0 < len(expected) < len(TOKENS)


@pytest.mark.parametrize(("probability", "quantile"), [(0.01, 0.05), (0.3, 0.6), (0.9, 0.9)])
def test_rare_token_veto(probability, quantile):
    def rule(stats):
        return RULES["rare_token_veto"].function(stats, probability=probability, quantile=quantile)

    rule.needs = ("log_prob",)
    threshold = sorted(token.entropy for token in TOKENS)[math.ceil(quantile * len(TOKENS)) - 1]
    dropped = {
        (token.row, token.position)
        for token in TOKENS
        if token.advantage > 0 and math.exp(token.log_prob) < probability and token.entropy < threshold - 1e-9
    }
    assert list_places(select(TOKENS, rule=find_rule(rule)).kept) == PLACES - dropped
    assert dropped or probability < 0.5


def test_entropy_weights():
    selection = select(TOKENS, token_selection="entropy_weights")
    logarithms = [math.log(max(token.entropy, 2**-16)) for token in TOKENS]
    median = sorted(logarithms)[math.ceil(0.5 * len(TOKENS)) - 1]
    above, below = max(logarithms) - median, median - min(logarithms)
    for token, logarithm in zip(TOKENS, logarithms, strict=True):
        place, d = (token.row, token.position), logarithm - median
        height = d / above if d > 0 else d / below
        assert selection.weights[place].item() == pytest.approx(1 + min(height, 0), abs=1e-5)
        if selection.kept[place]:
            assert selection.epsilon_low[place].item() == pytest.approx(0.2 * (1 - min(height, 0)), abs=1e-5)
            assert selection.epsilon_high[place].item() == pytest.approx(0.28 * (1 + max(height, 0)), abs=1e-5)
    assert selection.kept.sum() == len(TOKENS) - 1  # the most certain one has the weight 0


def test_entropy_clip():
    selection = select(TOKENS, token_selection="entropy_clip", top_entropy_quantile=0.3)
    high = select(TOKENS, token_selection="high_entropy", top_entropy_quantile=0.3, selection_scope="sequence").kept
    assert list_places(selection.kept) == PLACES
    for token in TOKENS:
        place = (token.row, token.position)
        expected = pytest.approx(0.5 if high[place] else 0.2)
        assert selection.epsilon_low[place].item() == expected and selection.epsilon_high[place].item() == expected


@pytest.mark.parametrize("name", RULES)
def test_every_rule_says_what_it_is(name):
    rule = RULES[name]
    assert rule.name == name == rule.function.__name__
    assert rule.facts.selects and rule.facts.equation and rule.facts.cost
    assert rule.facts.paper is not None or name == "random"
    assert "Deviation" in rule.function.__doc__ or name in (
        *("high_entropy", "low_entropy", "random", "random_prefix_forks"),
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("entropy", "'entropy' is not a rule: did you mean"),
        ("qqqq", "'qqqq' is not a rule: set one of high_entropy, low_entropy, random"),
        (
            "no_such_module.rule",
            r"The token rule 'no_such_module.rule' cannot be imported \(ModuleNotFoundError: No module",
        ),
        (
            "math.squrt",
            "The token rule 'math.squrt' cannot be imported, because math has no 'squrt': did you mean 'sqrt'",
        ),
        ("math.pi", "A token rule must be a function that takes TokenStats and returns a TokenPlan, but it is 3.14"),
    ],
)
def test_what_is_no_rule_is_refused(name, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        find_rule(name)


def test_a_rule_is_found_by_its_import_path():
    path = "trl_forking.selection.rules.entropy"
    assert find_rule(f"{path}.random") is find_rule(f"{path}:random") is RULES["random"]
    assert find_rule("math.sqrt").name == "math.sqrt" and not is_import_path("random")
