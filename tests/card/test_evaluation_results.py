"""Results of evaluations come onto the card, and a wrong field is named."""

import json
import re

import pytest
from huggingface_hub import ModelCard

from helpers.cards import read_text
from trl_forking.card.evaluation_results import read_evaluation_results
from trl_forking.card.model_card import rebuild_card
from trl_forking.commands.card import run_card


def test_command_makes_the_card_with_results(folder, tmp_path, capsys):
    result = {
        "dataset": "openai/gsm8k",
        "dataset_name": "GSM8K",
        "metric": "accuracy",
        "value": 0.412,
        "baseline": 0.4,
        "interval": [0.39, 0.44],
        "settings": {"temperature": 1.0},
        "num_samples": 1319,
    }
    (tmp_path / "scores.json").write_text(json.dumps(result))
    run_card([str(folder), "--eval_results", str(tmp_path / "scores.json")])
    assert capsys.readouterr().out == f"Wrote {folder / 'README.md'}\n"
    run_card([str(folder)])  # the file is in the folder now
    text = read_text(folder)
    assert (
        "| [GSM8K](https://huggingface.co/datasets/openai/gsm8k) | accuracy | 0.4 | 0.412 (0.39 to 0.44) | 1,319 | temperature `1.0` |"
        in text
    )
    assert ModelCard(text).data.eval_results[0].metric_value == 0.412


RESULT = {"dataset": "d", "metric": "accuracy", "value": 0.4}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"interval": 0.02},
            "'interval' must have pairs [low, high] of finite numbers, the lower one first, but one is 0.02.",
        ),
        ({"interval": [0.3]}, "'interval' must have pairs"),
        ({"interval": [0.5, 0.3]}, "'interval' must have pairs"),
        ({"interval": [0.3, "0.5"]}, "'interval' must have pairs"),
        ({"baseline": 0.1, "baseline_interval": [0.3, True]}, "'baseline_interval' must have pairs"),
        ({"baseline": "0.3"}, "'baseline' must have finite numbers, but one is '0.3'."),
        ({"value": True}, "'value' must have finite numbers, but one is True."),
        ({"value": 10**400}, "'value' must have finite numbers, but one is 1000"),
        ({"num_samples": "1319"}, "'num_samples' must have whole numbers above 0, but one is '1319'."),
        ({"num_samples": 0}, "'num_samples' must have whole numbers above 0, but one is 0."),
        ({"num_samples": 1319.5}, "'num_samples' must have whole numbers above 0"),
        ({"settings": "greedy"}, "'settings' must have mappings without num_samples, interval, baseline,"),
        ({"settings": {"interval": 3}}, "'settings' must have mappings without num_samples, interval, baseline,"),
        ({"dataset_name": 3}, "'dataset_name' must have texts, but one is 3."),
        ({"metric": " "}, "'metric' must have texts, but one is ' '."),
        ({"metric": None}, "has a result with no 'metric'"),
    ],
)
def test_a_field_of_another_kind_is_named_in_a_sentence(folder, capsys, fields, message):
    path = folder / "eval_results.json"
    path.write_text(json.dumps([RESULT, RESULT | fields]))
    with pytest.raises(SystemExit) as stopped:
        run_card([str(folder)])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and error.startswith(f"error: {path}") and message in error
    assert len(error.splitlines()) == 2


def test_null_is_as_good_as_no_field(folder):
    optional = ("task", "dataset_name", "num_samples", "interval", "baseline", "baseline_interval", "settings")
    (folder / "eval_results.json").write_text(json.dumps(RESULT))
    without = read_text(rebuild_card(folder).parent)
    (folder / "eval_results.json").write_text(json.dumps(RESULT | dict.fromkeys(optional)))
    assert read_text(rebuild_card(folder).parent) == without and "| d | accuracy |  | 0.4 |  |  |" in without


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"results": {"gsm8k": 0.4}}, "the results of 'gsm8k' must be a mapping of metrics, but they are 0.4."),
        (
            {"results": {"gsm8k": {"acc,none": 0.4}}, "n-samples": {"gsm8k": {"effective": "all"}}},
            "'num_samples' must have",
        ),
    ],
)
def test_a_broken_file_of_lm_evaluation_harness_is_named(folder, content, message):
    (folder / "eval_results.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=re.escape(message)):
        rebuild_card(folder)


HARNESS = {
    "results": {
        "aime24": {"alias": "AIME 2024", "sample_len": 30, "exact_match,none": 0.5, "exact_match_stderr,none": 0.09, "sample_count": {"exact_match,none": 30}},
        "gsm8k": {"alias": "gsm8k", "sample_len": 1319, "exact_match,strict-match": 0.4, "new_count": 7, "share_of_something": 0.3},
        "group": {"alias": "group", "sample_len": 1349},
    },
    "n-samples": {"aime24": {"original": 30, "effective": 30}, "gsm8k": {"original": 1319, "effective": 1319}},
    "n-shot": {"aime24": 0},
}  # fmt: skip


def test_counts_of_lm_evaluation_harness_are_no_metrics(tmp_path):
    """lm-eval 0.4.13 writes `sample_len` beside the metrics. Only what has the name of a filter is a metric."""
    path = tmp_path / "eval_results.json"
    path.write_text(json.dumps(HARNESS))
    results = read_evaluation_results([path])
    assert [(result.dataset_name, result.metric_type, result.metric_value) for result in results] == [
        ("AIME 2024", "exact_match", 0.5),
        ("gsm8k", "exact_match", 0.4),
    ]
    assert results[0].metric_args == {"num_samples": 30, "stderr": 0.09, "num_fewshot": 0}
    assert results[1].metric_args == {"num_samples": 1319, "filter": "strict-match"}


def test_metrics_of_an_old_lm_evaluation_harness_have_no_filter(tmp_path):
    path = tmp_path / "eval_results.json"
    path.write_text(json.dumps({"results": {"gsm8k": {"acc": 0.4, "acc_stderr": 0.01}}, "versions": {"gsm8k": 0}}))
    (result,) = read_evaluation_results([path])
    assert (result.metric_type, result.metric_value) == ("acc", 0.4)
