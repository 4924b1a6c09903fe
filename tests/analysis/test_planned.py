"""What a rule would train of answers that are there: the tokens that the trainer's selector keeps of the same answers."""

import numpy as np
import pytest
import torch

from helpers.token_batches import LENGTHS, build_batch, build_tokens, fill, list_places
from trl_forking import ForkingGRPOConfig
from trl_forking.analysis import ScoredAnswer
from trl_forking.analysis.planned import plan_tokens, score_costly, tabulate_overlap
from trl_forking.countdown import load_countdown_model
from trl_forking.selection.rules import RULES
from trl_forking.selection.token_selector import Moment, TokenSelector
from trl_forking.selection.tokens import round_entropies


TOKENS = build_tokens()
# Groups of two answers: of each, one is better.
REWARDS = [1.0, 0.0, 0.0, 2.0, 0.5, 0.0]


def build_records(rewards=REWARDS):
    columns = {name: fill(TOKENS, name).numpy() for name in ("entropy", "log_prob")}
    return [
        ScoredAnswer(
            prompt_index=row // 2,
            answer_index=row % 2,
            prompt="",
            token_ids=np.arange(length),
            tokens=["a"] * length,
            entropies=columns["entropy"][row, :length],
            logprobs=columns["log_prob"][row, :length],
            top_tokens=[[]] * length,
            top_logprobs=np.zeros((length, 0)),
            reward=rewards[row],
        )
        for row, length in enumerate(LENGTHS)
    ]


@pytest.mark.parametrize("name", RULES)
def test_a_rule_marks_what_the_trainer_would_keep(name):
    costly = {
        key: [row[:length].numpy() for row, length in zip(fill(TOKENS, key), LENGTHS, strict=True)]
        for key in ("sum_sq_probs", "is_top1")
    }
    planned = plan_tokens(build_records(), RULES[name], 0.3, costly)
    rewards = torch.tensor(REWARDS).view(-1, 2)
    advantages = (rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-4)
    selector = TokenSelector(
        ForkingGRPOConfig("runs/none", use_cpu=True, token_selection=name, top_entropy_quantile=0.3)
    )
    # On the grid, as the trainer rounds them.
    needed = {key: round_entropies(fill(TOKENS, key)) for key in selector.rule.needs}
    batch = build_batch() | {"advantages": advantages.flatten()}
    entropies = round_entropies(fill(TOKENS, "entropy"))
    expected = selector.select(batch, entropies, 0, Moment(num_generations=2, costly=needed)).kept
    assert [kept.tolist() for kept in planned.kept] == [
        row[:length] for row, length in zip(expected.tolist(), LENGTHS, strict=True)
    ]
    assert [scores.shape for scores in planned.scores] == [(length,) for length in LENGTHS]


@pytest.mark.parametrize("rewards", [[None] * 6, [1.0] * 6])
def test_without_a_difference_in_rewards_every_answer_has_the_same_advantage(rewards):
    entropy, product = (
        plan_tokens(build_records(rewards), RULES[name], 0.2) for name in ("high_entropy", "advantage_entropy")
    )
    assert all(np.array_equal(*pair) for pair in zip(entropy.kept, product.kept, strict=True))
    assert entropy.count_kept() == 8  # of 36


def test_overlap():
    plans = [
        plan_tokens(build_records(), RULES[name], 0.3) for name in ("high_entropy", "low_entropy", "advantage_entropy")
    ]
    places = [list_places(torch.cat([torch.from_numpy(kept) for kept in plan.kept]).unsqueeze(0)) for plan in plans]
    rows = tabulate_overlap(plans)[2]
    assert [row[:2] for row in rows] == [
        ["high_entropy", "low_entropy"],
        ["high_entropy", "advantage_entropy"],
        ["low_entropy", "advantage_entropy"],
    ]
    assert [row[4] for row in rows] == [0, len(places[0] & places[2]), len(places[1] & places[2])]
    assert rows[1][5] == rows[1][4] / len(places[0])


def test_statistics_of_answers_are_those_of_a_softmax():
    model = load_countdown_model()
    prompt, answer = [5, 6, 7], [8, 9, 10, 11]
    record = build_records()[1]
    values = vars(record) | {"prompt_ids": np.array(prompt), "token_ids": np.array(answer)}
    found = score_costly(model, [ScoredAnswer(**values)], temperature=0.7)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt + answer])).logits[0, 2:-1].double() / 0.7
    expected = logits.softmax(-1).square().sum(-1)
    assert found["sum_sq_probs"][0] == pytest.approx(expected.numpy(), rel=1e-5)
    assert found["is_top1"][0].tolist() == (logits.argmax(-1) == torch.tensor(answer)).tolist()
