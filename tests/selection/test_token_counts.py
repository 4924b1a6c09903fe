"""Counts of kept tokens equal a loop, over ranks and after a checkpoint; evaluation files; the curves of the plot."""

import json
from collections import Counter

import pytest
import torch
from huggingface_hub import ModelCardData

from trl_forking.card.evaluation_results import find_evaluation_files, read_evaluation_results
from trl_forking.selection.token_counts import TokenCounts


def make_batch(seed, rows=6, length=30, vocabulary=50):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(vocabulary, (rows, length), generator=generator)
    counted = torch.rand(rows, length, generator=generator) < 0.7
    kept = counted & (torch.rand(rows, length, generator=generator) < 0.2)
    return ids, counted, kept


@pytest.mark.parametrize("seed", range(5))
def test_counts_equal_a_loop_over_ranks_and_a_checkpoint(seed):
    kept_times, counted_times, tokens = Counter(), Counter(), TokenCounts()
    for step in range(4):
        ranks = [make_batch(100 * seed + 10 * step + rank) for rank in range(2)]
        for ids, counted, kept in ranks:
            for token, is_counted, is_kept in zip(
                ids.flatten().tolist(), counted.flatten().tolist(), kept.flatten().tolist(), strict=True
            ):
                counted_times[token] += is_counted
                kept_times[token] += is_kept
        # What the other rank would send arrives through `reduce`.
        other = TokenCounts()
        other.add(*ranks[1], vocabulary_size=50)
        tokens.add(*ranks[0], 50, lambda counts, other=other: counts + other._counts)
        resumed = TokenCounts()
        resumed.load_state_dict(tokens.state_dict())
        tokens = resumed
    expected = sorted(((-times, token) for token, times in kept_times.items() if times))
    assert tokens.find_most_frequent(20) == [(token, -n, counted_times[token]) for n, token in expected[:20]]
    assert tokens.num_kept == sum(kept_times.values())


def test_nothing_kept_and_an_empty_checkpoint():
    tokens = TokenCounts()
    tokens.load_state_dict(TokenCounts().state_dict())
    ids, counted, kept = make_batch(0)
    tokens.add(ids, counted, kept & False, 50)
    assert tokens.find_most_frequent(20) == [] and tokens.num_kept == 0


# Evaluations -----------------------------------------------------------------------------------------------------------

RESULT = {"dataset": "openai/gsm8k", "metric": "accuracy", "value": 0.5}


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_results_go_through_model_index_and_back(tmp_path):
    full = (
        RESULT
        | {"baseline": 0.4, "baseline_interval": [0.3, 0.5]}
        | {"task": "text-generation", "dataset_name": "GSM8K: a|b", "num_samples": 8, "interval": [0.1, 0.9]}
    )
    one = write(tmp_path / "eval_results_1.json", full | {"settings": {"temperature": 1.0}})
    two = write(
        tmp_path / "eval_results_2.json", [RESULT | {"metric": "pass@8"}, RESULT | {"dataset": "x", "value": 1}]
    )
    assert find_evaluation_files(tmp_path) == [one, two]
    results = read_evaluation_results([one, two])
    data = ModelCardData(model_name="yes", eval_results=results)
    again = ModelCardData(**data.to_dict())
    assert again.model_name == "yes" and again.eval_results == results
    assert [(r.dataset_name, r.metric_type, r.metric_value) for r in results] == [
        *(("GSM8K: a|b", "accuracy", 0.5), ("GSM8K: a|b", "pass@8", 0.5), ("x", "accuracy", 1))
    ]
    before = {"baseline": 0.4, "baseline_interval": [0.3, 0.5]}
    assert results[0].metric_args == before | {"num_samples": 8, "interval": [0.1, 0.9], "temperature": 1.0}


def test_results_of_lm_evaluation_harness(tmp_path):
    metrics = {"alias": "gsm8k", "exact_match,strict-match": 0.4, "exact_match_stderr,strict-match": 0.01}
    metrics |= {"acc,none": 0.3, "acc_stderr,none": "N/A"}
    content = {"results": {"gsm8k": metrics}, "n-shot": {"gsm8k": 5}, "n-samples": {"gsm8k": {"effective": 1319}}}
    results = read_evaluation_results([write(tmp_path / "results.json", content)])
    assert [(r.metric_type, r.metric_value) for r in results] == [("exact_match", 0.4), ("acc", 0.3)]
    expected = {"num_samples": 1319, "filter": "strict-match", "stderr": 0.01, "num_fewshot": 5}
    assert results[0].metric_args == expected


def test_the_file_of_transformers_is_none_of_ours(tmp_path):
    write(tmp_path / "eval_results.json", {"eval_loss": 1.0, "eval_runtime": 2.0, "epoch": 1.0})
    assert find_evaluation_files(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "cannot be read as JSON"),
        ([1], "must hold a result or a list of results, but one is 1"),
        ({"dataset": "d", "metric": "m"}, "no 'value'"),
        (RESULT | {"values": 1}, "an unknown field 'values'"),
        (RESULT | {"value": "0.5"}, "must have finite numbers, but one is '0.5'"),
        (json.dumps(RESULT).replace("0.5", "NaN"), "must have finite numbers, but one is nan"),
    ],
)
def test_broken_results_are_refused_by_name(tmp_path, content, message):
    path = write(tmp_path / "eval_results.json", content)
    with pytest.raises(ValueError, match=message) as error:
        read_evaluation_results([path])
    assert str(path) in str(error.value)
