"""Files for the card and the Hub, the table of the terminal, and the page's data."""

import io
import json

import huggingface_hub
import pytest
import yaml
from huggingface_hub import parse_eval_result_entries
from rich.console import Console

from helpers.evaluations import make_answer, make_set
from trl_forking.card.evaluation_results import find_evaluation_files, read_evaluation_results
from trl_forking.evaluation.page import build_page_data, write_evaluation_page
from trl_forking.evaluation.results import (
    build_card_entries,
    build_hub_entry,
    build_table,
    describe_difference,
    write_results,
)
from trl_forking.evaluation.summary import Estimate, PairedDifference, compare_summaries


WRONG = {"is_right": False, "read": "3", "vote": 1, "completion": "It is 3"}
HOSTILE = "</script><img src=x onerror=alert(1)>"


def make_answers(shift=False):
    return [
        make_answer(**(WRONG if shift else {})),
        make_answer(answer_index=1, **WRONG, is_truncated=True),
        make_answer(problem_index=1, key="b", prompt=HOSTILE),
        make_answer(
            problem_index=1, key="b", answer_index=1, is_right=False, read=None, vote=None, completion=HOSTILE
        ),
    ]


def make_compared():
    before = make_set(make_answers(shift=True), dataset="owner/easy").summary
    after = make_set(make_answers(), dataset="owner/easy")
    return make_set(
        make_answers(), dataset="owner/easy", baseline=before, difference=compare_summaries(before, after.summary)
    )


def test_the_card_reads_what_is_written(tmp_path):
    write_results(tmp_path, [make_set(make_answers())], "tiny")
    assert [path.name for path in find_evaluation_files(tmp_path)] == ["eval_results.json"]
    results = read_evaluation_results([tmp_path / "eval_results.json"])
    assert [(result.metric_type, result.metric_value) for result in results] == [
        ("avg@2", 0.5),
        ("pass@2", 1.0),
        ("maj@2", 0.75),
    ]
    args = results[0].metric_args
    assert (args["num_samples"], args["num_generations"], args["truncated"], args["temperature"]) == (2, 2, 0.25, 1.0)
    assert args["interval"][0] <= 0.5 <= args["interval"][1] and "baseline" not in args


def test_a_baseline_stands_on_the_card(tmp_path):
    entry = build_card_entries(make_compared())[0]
    assert (entry["value"], entry["baseline"], entry["dataset"]) == (0.5, 0.25, "owner/easy")
    write_results(tmp_path, [make_compared()], "tiny")
    (first, *_) = read_evaluation_results([tmp_path / "eval_results.json"])
    assert first.metric_args["baseline"] == 0.25


def test_all_figures_are_in_the_other_file(tmp_path):
    write_results(tmp_path, [make_compared()], "tiny")
    (content,) = json.loads((tmp_path / "evaluation.json").read_text())["sets"]
    assert set(content["figures"]) == {"avg@2", "pass@1", "pass@2", "maj@1", "maj@2", "truncated", "length"}
    assert content["problems"]["avg@2"] == {"a": 0.5, "b": 0.5} and content["num_problems"] == 2
    assert content["difference"]["figures"]["avg@2"]["mean"] == 0.25 and content["revision"] == "0a1b"


def test_the_hub_reads_its_entries(tmp_path):
    files = write_results(tmp_path, [make_compared(), make_set(make_answers(), "mine")], "tiny")
    hub = [path for path in files if path.parent.name == ".eval_results"]
    assert [path.name for path in hub] == ["easy.yaml"]  # a file of one's own is no data set of the Hub
    (entry,) = parse_eval_result_entries(yaml.safe_load(hub[0].read_text()))
    assert (entry.dataset_id, entry.value, entry.dataset_revision, entry.task_id) == (
        "owner/easy",
        50.0,
        "0a1b",
        "default",
    )
    assert "avg@2 in percent" in entry.notes and "temperature 1.0" in entry.notes


def test_an_old_huggingface_hub_gets_no_entry(monkeypatch):
    def find_nothing(name):
        raise AttributeError(name)

    monkeypatch.delitem(vars(huggingface_hub), "EvalResultEntry", raising=False)
    monkeypatch.setattr(huggingface_hub, "__getattr__", find_nothing)
    assert build_hub_entry(make_compared()) is None


def test_one_problem_has_no_interval(tmp_path):
    write_results(tmp_path, [make_set(make_answers()[:2])], "tiny")
    assert "interval" not in (read_evaluation_results([tmp_path / "eval_results.json"])[0].metric_args)


def test_the_table_fits_into_80_columns():
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(build_table([make_compared()]))
    text = console.export_text()
    assert "50.0 %" in text and "+25.0 %" in text and "change" in text and "…" not in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("low", "high", "num_differing", "words"),
    [
        (-0.1, 0.2, 20, "not distinguishable from noise."),
        (0.05, 0.2, 20, "more than noise."),
        (0.05, 0.2, 3, "noise: only 3 of 30 problems differ, and fewer than 6 cannot show a difference."),
        (-0.1, 0.1, 0, "noise: no problem differs, and fewer than 6 cannot show a difference."),
    ],
)
def test_a_difference_in_words(low, high, num_differing, words):
    estimate = Estimate((low + high) / 2, low, high, 30)
    difference = PairedDifference(30, 0, {"avg@2": estimate}, {"avg@2": num_differing})
    assert describe_difference(difference, "avg@2").endswith(words)


def test_equal_models_are_not_certain_to_stay_equal(tmp_path):
    """All differences are zero: the interval has a length, and the sentence claims nothing."""
    answers = [make_answer(problem_index=i, key=str(i)) for i in range(30)]
    summary = make_set(answers).summary
    each = make_set(answers, baseline=summary, difference=compare_summaries(summary, summary))
    change = each.difference.estimates["avg@1"]
    assert change.mean == 0 and change.low == -change.high < -0.1
    assert "not distinguishable from noise: no problem differs" in describe_difference(each.difference, "avg@1")
    write_results(tmp_path, [each], "tiny")
    (content,) = json.loads((tmp_path / "evaluation.json").read_text())["sets"]
    figures = content["difference"]["figures"]
    assert figures["avg@1"]["is_noise"] and figures["avg@1"]["num_differing"] == 0
    assert figures["length"]["interval"] is None


def test_the_page_has_every_answer_and_nothing_runs(tmp_path):
    data = build_page_data([make_compared()])
    assert [answer["verdict"] for answer in data["answers"]] == ["right", "wrong", "right", "unreadable"]
    assert data["answers"][1]["truncated"] and data["answers"][3]["read"] is None
    assert [(problem["right"], problem["answers"]) for problem in data["problems"]] == [(1, 2), (1, 2)]
    write_evaluation_page(tmp_path / "report.html", [make_compared()], HOSTILE)
    page = (tmp_path / "report.html").read_text()
    assert HOSTILE not in page and "default-src 'none'" in page


def test_long_answers_lose_their_middle_but_none_is_left_out():
    long = [make_answer(problem_index=i, key=str(i), completion=f"begin {i}" + "x" * 5000 + "end") for i in range(4)]
    data = build_page_data([make_set([*long, make_answer(problem_index=4, key="short")])], max_characters=8000)
    assert len(data["answers"]) == 5 and sum(len(answer["text"]) for answer in data["answers"]) < 8500
    cut = data["answers"][2]["text"]
    assert cut.startswith("begin 2") and cut.endswith("end") and "characters left out" in cut
    assert data["answers"][4]["text"] == "It is 2" and "4 long answers" in data["partial"]


def test_settings_that_differ_are_listed_for_each_set():
    first, second = make_set(make_answers()), make_set(make_answers(), "hard")
    second.settings["max_completion_length"] = 99
    settings = build_page_data([first, second])["settings"]
    assert ["model", "tiny"] in settings and ["max_completion_length, Hard", "99"] in settings
