import json
import math
from collections import defaultdict
from fractions import Fraction

import numpy as np
import pytest
import torch

from trl_forking.analysis.forks import join_entropies, rank_tokens, select_forks
from trl_forking.analysis.positions import SENTENCE_POSITIONS, find_answer_parts, find_sentence_positions
from trl_forking.analysis.records import ScoredAnswer
from trl_forking.analysis.statistics import (
    PERCENTILES,
    compute_entropy_share,
    compute_percentiles,
    compute_share_below,
    compute_token_table,
)
from trl_forking.analysis.summary import TOP_SHARES, describe, summarize
from trl_forking.selection import round_entropies, select_tokens


WORDS = ["So", " wait", " however", " 3", ".", "\n", "\n\n", " is", " the", "", "é", " <script>alert(1)</script>"]


def draw_entropies(lengths: list[int], seed: int = 0) -> list[np.ndarray]:
    """Half of them next to zero and many exactly zero, as in real answers, so that there are ties."""
    generator = np.random.default_rng(seed)
    return [
        np.where(generator.random(length) < 0.3, 0.0, generator.gamma(0.5, 0.8, length)).astype(np.float32)
        for length in lengths
    ]


def make_record(entropies, token_ids=None, reward=None, prompt_index=0, is_truncated=True) -> ScoredAnswer:
    entropies = np.asarray(entropies, dtype=np.float32)
    token_ids = np.arange(len(entropies)) % len(WORDS) if token_ids is None else np.asarray(token_ids, dtype=np.int32)
    return ScoredAnswer(
        prompt_index=prompt_index,
        answer_index=0,
        prompt="1 + 1 =",
        token_ids=token_ids,
        tokens=[WORDS[token_id] for token_id in token_ids],
        entropies=entropies,
        logprobs=np.zeros(len(entropies), np.float32),
        top_tokens=[[] for _ in entropies],
        top_logprobs=np.zeros((len(entropies), 0), np.float32),
        reward=reward,
        is_truncated=is_truncated,
    )


def draw_records(lengths: list[int], seed: int = 0) -> list[ScoredAnswer]:
    generator = np.random.default_rng(seed)
    return [
        make_record(
            entropies,
            generator.integers(len(WORDS), size=len(entropies)),
            reward=[1.0, 0.0, None][index % 3],
            prompt_index=index // 2,
            is_truncated=index % 2 == 0,
        )
        for index, entropies in enumerate(draw_entropies(lengths, seed))
    ]


LENGTHS = [40, 0, 1, 257, 90, 12]


@pytest.mark.parametrize("rho", [0.01, 0.07, 0.2, 0.5, 0.85, 1.0])  # at 0.85 a part of the zeros is kept
@pytest.mark.parametrize("seed", range(3))
def test_forks_are_the_tokens_that_the_trainer_keeps(rho, seed):
    entropies = draw_entropies(LENGTHS, seed)
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS).unsqueeze(1)
    padded = torch.zeros(mask.shape)
    for row, values in enumerate(entropies):
        padded[row, : len(values)] = torch.from_numpy(values)
    kept = select_tokens(round_entropies(padded), mask, rho)
    forks = select_forks(entropies, rho)
    assert [row.tolist() for row in forks] == [kept[row, :length].tolist() for row, length in enumerate(LENGTHS)]
    assert sum(row.sum() for row in forks) == math.ceil(Fraction(str(rho)) * sum(LENGTHS))


def test_ranks_are_a_permutation_in_falling_order_of_entropy():
    entropies = draw_entropies(LENGTHS)
    ranks = rank_tokens(entropies)
    assert [len(row) for row in ranks] == LENGTHS
    order = np.argsort(np.concatenate(ranks))
    assert sorted(np.concatenate(ranks).tolist()) == list(range(sum(LENGTHS)))
    assert np.all(np.diff(join_entropies(entropies)[order]) <= 2.0**-16)


def test_forks_are_nested_in_rho():
    entropies = draw_entropies(LENGTHS)
    smaller, larger = (np.concatenate(select_forks(entropies, rho)) for rho in (0.1, 0.3))
    assert not np.any(smaller & ~larger) and smaller.sum() < larger.sum()


@pytest.mark.parametrize("rho", [0, -0.1, 1.2, 20, math.nan])
def test_share_outside_of_its_range_is_refused(rho):
    with pytest.raises(ValueError, match="share in"):
        summarize([], top_entropy_quantile=rho)


def test_nan_is_refused_with_its_place():
    with pytest.raises(ValueError, match="answer 1, position 2 is NaN"):
        summarize([make_record([0.5]), make_record([0.1, 0.2, math.nan])])


@pytest.mark.parametrize("num_tokens", [1, 2, 3, 10, 99, 100, 1001])
def test_distribution_equals_the_reference(num_tokens):
    values = draw_entropies([num_tokens], seed=num_tokens)[0]
    ordered = sorted(float(value) for value in values)
    for percentile, value in zip(PERCENTILES, compute_percentiles(values), strict=True):
        expected = next(v for rank, v in enumerate(ordered, 1) if 100 * rank >= percentile * num_tokens)
        assert value == expected
    assert compute_percentiles(values, [0, 100]).tolist() == [ordered[0], ordered[-1]]
    for nats in (0.0, 0.01, 0.5):
        assert compute_share_below(values, nats) == sum(v < nats for v in ordered) / num_tokens
    for share in TOP_SHARES:
        top = ordered[::-1][: math.ceil(Fraction(str(share)) * num_tokens)]
        expected = sum(top) / sum(ordered) if sum(ordered) else math.nan
        assert compute_entropy_share(values, share) == pytest.approx(expected, rel=1e-12, nan_ok=True)


def test_token_table_equals_the_reference():
    records = draw_records(LENGTHS)
    token_ids = np.concatenate([record.token_ids for record in records])
    tokens = [token for record in records for token in record.tokens]
    entropies = join_entropies([record.entropies for record in records])
    seen = defaultdict(list)
    for token_id, entropy in zip(token_ids.tolist(), entropies.tolist(), strict=True):
        seen[token_id].append(entropy)
    for min_count in (1, 35, 10_000):
        rows = compute_token_table(token_ids, tokens, entropies, min_count)
        assert {row["token_id"] for row in rows} == {key for key, found in seen.items() if len(found) >= min_count}
        assert [row["mean_entropy"] for row in rows] == sorted((row["mean_entropy"] for row in rows), reverse=True)
        for row in rows:
            found = seen[row["token_id"]]
            assert row["count"] == len(found)
            assert row["mean_entropy"] == pytest.approx(sum(found) / len(found), rel=1e-12)
            assert row["token"] == (WORDS[row["token_id"]] or f"#{row['token_id']}")


def test_a_token_with_several_texts_has_the_most_frequent():
    rows = compute_token_table(np.array([4, 4, 4]), ["so", " so", " so"], np.ones(3), min_count=1)
    assert rows == [{"token": " so", "token_id": 4, "count": 3, "mean_entropy": 1.0}]


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([], []),
        ([" Yes"], ["first"]),
        (["Yes", "."], ["first", "last"]),
        (["It", " is", " 3", ".", "14", "."], ["first", "within", "within", "within", "within", "last"]),
        (["A", "!", "\n\n", "B", "?)", " C"], ["first", "last", "between", "first", "last", "first"]),
        (["x", "\n", "\n", "y"], ["first", "last", "between", "first"]),
        (["\n", " ", "So", ".\n", "No"], ["between", "between", "first", "last", "first"]),
        (["Ja", "。", " ", "", "好"], ["first", "last", "between", "first", "within"]),
        (["a", ".", "", " b"], ["first", "last", "first", "within"]),
        (["Mr. X", " said. ", "He"], ["first", "last", "first"]),
        (["He said", ' "no."', " Then"], ["first", "last", "first"]),
    ],
)
def test_sentence_positions(tokens, expected):
    assert find_sentence_positions(tokens, is_truncated=True) == expected


def test_the_token_that_ends_an_answer_stands_alone():
    assert find_sentence_positions(["So", ".", "<eos>"]) == ["first", "last", "end"]
    assert find_sentence_positions(["<eos>"]) == ["end"]
    assert find_sentence_positions([]) == []


@pytest.mark.parametrize("num_tokens", [0, 1, 3, 10, 25])
def test_answer_parts(num_tokens):
    expected = [
        next(part for part in range(10) if t / num_tokens < (part + 1) / 10 - 1e-12) for t in range(num_tokens)
    ]
    assert find_answer_parts(num_tokens).tolist() == expected


def reference_groups(records, forks, group_of):
    """Loops over tokens in float64: for each group tokens, mean entropy and share of forks."""
    found = defaultdict(list)
    for record, flags in zip(records, forks, strict=True):
        for t, entropy in enumerate(record.entropies):
            found[group_of(record, t)].append((float(entropy), bool(flags[t])))
    return {
        group: (len(pairs), sum(e for e, _ in pairs) / len(pairs), sum(f for _, f in pairs) / len(pairs))
        for group, pairs in found.items()
    }


def test_groups_equal_the_reference():
    records = draw_records(LENGTHS)
    summary = summarize(records, top_entropy_quantile=0.3)
    forks = select_forks([record.entropies for record in records], 0.3)
    names = {True: "right", False: "wrong", None: "unknown"}
    tables = {
        "by_correctness": lambda record, t: names[record.is_correct],
        "by_sentence_position": lambda record, t: find_sentence_positions(record.tokens, record.is_truncated)[t],
        "by_answer_part": lambda record, t: (
            f"{10 * t // len(record.tokens) * 10} to {10 * t // len(record.tokens) * 10 + 10} %"
        ),
    }
    for key, group_of in tables.items():
        expected = reference_groups(records, forks, group_of)
        rows = {row["group"]: row for row in summary[key] if row["num_tokens"]}
        assert set(rows) == set(expected)
        for group, figures in expected.items():
            row = rows[group]
            assert (row["num_tokens"], row["mean_entropy"], row["fork_share"]) == pytest.approx(figures, rel=1e-12)
    assert [row["num_answers"] for row in summary["by_correctness"]] == [2, 2, 2]
    assert [row["group"] for row in summary["by_sentence_position"]] == list(SENTENCE_POSITIONS)


def test_summary_agrees_with_itself_and_is_json():
    records = draw_records(LENGTHS)
    summary = summarize(records, min_count=1, num_listed_tokens=4)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert (summary["num_answers"], summary["num_tokens"], summary["num_prompts"]) == (6, sum(LENGTHS), 3)
    assert summary["num_forks"] == 80 and summary["num_truncated"] == 3
    assert summary["fork_entropy_share"] == pytest.approx(summary["entropy_shares"]["0.2"], rel=1e-4)
    entropies = join_entropies([record.entropies for record in records])
    assert summary["threshold"] == pytest.approx(sorted(entropies)[-80], abs=2.0**-16)
    top, bottom = ([row["mean_entropy"] for row in summary[key]] for key in ("top_tokens", "bottom_tokens"))
    assert len(top) == len(bottom) == 4
    assert top == sorted(top, reverse=True) and bottom == sorted(bottom) and bottom[-1] <= top[-1]


def test_no_token_is_both_at_the_top_and_at_the_bottom():
    summary = summarize([make_record([0.1, 0.2, 0.3])], min_count=1)
    listed = [row["token_id"] for key in ("top_tokens", "bottom_tokens") for row in summary[key]]
    assert sorted(listed) == [0, 1, 2]


@pytest.mark.parametrize("records", [[], [make_record([])], [make_record([], reward=1.0, is_truncated=False)]])
def test_nothing_to_summarize(records):
    summary = summarize(records)
    json.dumps(summary, allow_nan=False)
    assert summary["num_tokens"] == summary["num_forks"] == 0
    assert summary["threshold"] is summary["mean_entropy"] is summary["percentiles"]["50"] is None
    assert describe(summary) == "No answer has a token, so there is nothing to describe."


def test_one_token():
    summary = summarize([make_record([0.7])], min_count=1)
    assert summary["num_forks"] == 1
    assert summary["threshold"] == summary["mean_entropy"] == pytest.approx(0.7)
    assert summary["fork_entropy_share"] == 1.0


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_equal_entropies_still_give_the_exact_number_of_forks(value):
    summary = summarize([make_record(np.full(30, value)), make_record(np.full(20, value))])
    assert (summary["num_forks"], summary["threshold"]) == (10, value)
    json.dumps(summary, allow_nan=False)
    assert ("rule for ties" in describe(summary)) == (value == 0.0)


@pytest.mark.parametrize("reward", [1.0, 0.0, None])
def test_one_kind_of_answers(reward):
    summary = summarize([make_record([0.1, 0.9], reward=reward)])
    assert len(summary["by_correctness"]) == 1
    assert "wrong" not in describe(summary)


def test_description_has_the_figures():
    records = [make_record([0.001] * 8 + [1.0, 3.0], reward=1.0), make_record([0.0] * 9 + [2.0], reward=0.0)]
    assert describe(summarize(records, min_count=2)) == (
        "85 % of the 20 tokens have an entropy under 0.01 nats. The 20 % with the highest entropies, from 0.001 nats up, "
        "hold 99.88 % of all entropy. The mean entropy is 0.401 nats in right answers and 0.2 nats in wrong ones. "
        "The words with the highest mean entropy, of those seen at least 2 times: the, So, wait, however."
    )
    assert "No token has any entropy, so the rule for ties alone decides" in describe(
        summarize([make_record([0.0] * 9)])
    )


def test_description_of_answers_without_words_names_tokens():
    record = make_record([1.0, 0.5, 2.0], token_ids=[WORDS.index(word) for word in (".", " 3", "\n\n")])
    assert describe(summarize([record], min_count=1)).endswith(
        "The tokens with the highest mean entropy, of those seen at least 1 times: ↵↵, .."
    )


def test_a_hundred_thousand_tokens():
    records = [make_record(values) for values in draw_entropies([100_000, 1])]
    summary = summarize(records)
    assert summary["num_forks"] == 20_001
    json.dumps(summary, allow_nan=False)
