"""The page of `analyze` as text: no text can run as code, all data can be read back, colors have enough contrast."""

import base64
import hashlib
import html.parser
import json
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import trl_forking
from helpers.report_records import make_record, make_records
from trl_forking.analysis.forks import select_forks
from trl_forking.analysis.report import build_report, write_report
from trl_forking.analysis.report_data import build_report_data, dump_json
from trl_forking.analysis.summary import summarize
from trl_forking.selection import compute_budget


HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!--",
    "<!--<script>",
    "<!-- <script ",
    "</script ",
    "]]>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "{{ script }}",
    "\u2028\u2029",
    "\ud800",
    "\udfff\x00\x1b",
    "\\u003c",
    "' onfocus='alert(1)",
]
STYLE = (Path(trl_forking.__file__).parent / "analysis" / "templates" / "report.css").read_text(encoding="utf-8")


class Outline(html.parser.HTMLParser):
    """Tags with the names of their attributes, and what stands in scripts and styles."""

    def __init__(self, page: str):
        super().__init__()
        self.tags, self.contents, self.attributes = [], [], {}
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, tuple(name for name, _ in attributes)))
        self.attributes.update({(tag, name): value for name, value in attributes})

    def handle_data(self, text):
        if self.tags and self.tags[-1][0] in ("script", "style") and self.cdata_elem:
            self.contents.append(text)


def read_data(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def decode(text: str, dtype: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype)


def decode_tokens(data: dict) -> list[str]:
    ids = decode(data["tokens"]["ids"], "<u4" if len(data["vocabulary"]) > 0xFFFF else "<u2")
    return [data["vocabulary"][token_id] for token_id in ids]


def build_page_of(text: str) -> str:
    record = make_record([text, " so"], [1.0, 0.5], prompt=text)
    return build_report(
        [replace(record, top_tokens=[[text] * 3] * 2)],
        title=text,
        settings={text: text, "nested": {text: [text]}},
        figures={text: "<svg/>"},
        notes=[text],
        tables=[(text, [text], [[text]])],
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_text_changes_no_markup(text):
    page = build_page_of(text)
    assert Outline(page).tags == Outline(build_page_of("calm")).tags
    page.encode("utf-8")
    data = read_data(page)
    assert decode_tokens(data) == [text, " so"] and data["prompts"] == [text]
    assert data["settings"][0] == [text, text] and data["tables"][0]["rows"] == [[text]]


def test_markup_is_compared():
    assert Outline("<p>a</p>").tags != Outline("<p>a<b onclick=x></p>").tags


def test_policy_allows_this_script_and_style_and_nothing_else():
    page = build_page_of("<script>")
    outline = Outline(page)
    style, data, script = outline.contents
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[1]
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (script, style)]
    assert policy == (
        f"default-src 'none'; script-src 'sha256-{hashes[0]}'; style-src 'sha256-{hashes[1]}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    assert json.loads(data)["prompts"] == ["<script>"]
    for name in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "fetch(", "http"):
        assert name not in script, name
    assert "url(" not in style and "@import" not in style


@pytest.mark.parametrize("value", [[], "", {"a": None}, "é🙂<&>\u2028\ud83d", "\x00\x7f\x9f\ufeff"])
def test_json_round_trip(value):
    assert json.loads(dump_json(value)) == value
    assert not set("<>&\u2028\u2029\ud83d") & set(dump_json(value))


def test_data_holds_what_the_records_hold():
    records = make_records(6, 40)
    data = build_report_data(records)
    assert decode_tokens(data) == [token for record in records for token in record.tokens]
    entropies = np.concatenate([record.entropies for record in records])
    assert (decode(data["tokens"]["entropies"], "<f4") == entropies).all()
    surprisals = decode(data["tokens"]["surprisals"], "<u2") / 1000
    assert np.abs(surprisals + np.concatenate([record.logprobs for record in records])).max() <= 0.0005001
    top_ids = decode(data["tokens"]["top_ids"], "<u2").reshape(-1, 3)
    assert [data["vocabulary"][k] for k in top_ids[7]] == records[0].top_tokens[7]
    assert [answer["verdict"] for answer in data["answers"]] == [
        "right",
        "wrong",
        "wrong",
        "unknown",
        "right",
        "wrong",
    ]
    assert data["answers"][1]["mean"] == pytest.approx(float(records[1].entropies.mean()))


@pytest.mark.parametrize("share", [0.001, 0.07, 0.125, 0.2, 0.5, 1.0])
def test_first_tokens_of_the_order_are_the_forks(share):
    records = make_records(5, 33)
    records[2] = replace(records[2], entropies=np.zeros(33, np.float32))  # ties
    page = build_report(records, title="", settings={}, top_entropy_quantile=share)
    data = read_data(page)
    forks = np.concatenate(select_forks([record.entropies for record in records], share))
    assert data["share"]["num_kept"] == forks.sum() == compute_budget(165, share)
    assert set(decode(data["tokens"]["order"], "<u4")[: forks.sum()]) == set(np.flatnonzero(forks))


def test_drawn_token_is_found_by_its_probability():
    record = make_record(["é", "a", "b"], [1.0, 1.0, 1.0])
    top_logprobs = record.top_logprobs.copy()
    top_logprobs[0] = [-0.1, record.logprobs[0], -3.0]  # named otherwise: a part of a character
    top_logprobs[1] = record.logprobs[1]  # three equally probable: the text decides
    top_logprobs[2] = [-0.1, -0.2, -0.3]  # not among them
    top_tokens = [["x", "\\xa9", "y"], ["x", "y", "a"], ["x", "y", "b"]]
    data = build_report_data([replace(record, top_tokens=top_tokens, top_logprobs=top_logprobs)])
    assert decode(data["tokens"]["drawn"], "u1").tolist() == [1, 2, 255]


def test_answers_without_tokens_and_with_other_numbers_of_alternatives():
    empty = make_record([], [])
    bare = replace(make_record(["a"], [0.3]), top_tokens=[[]], top_logprobs=np.zeros((1, 0), np.float32))
    data = build_report_data([empty, bare, make_record(["b"], [0.1])])
    assert [answer["length"] for answer in data["answers"]] == [0, 1, 1]
    assert decode(data["tokens"]["top_surprisals"], "<u2").reshape(2, 3)[0].tolist() == [0xFFFF] * 3
    assert build_report_data([empty])["num_alternatives"] == 0
    assert read_data(build_report([empty], title="", settings={}))["share"]["num_kept"] == 0
    assert read_data(build_report([bare], title="", settings={}))["share"]["num_kept"] == 1


def test_what_a_trainer_kept_is_there_where_it_is_known():
    first, second = make_records(2, 4)
    assert build_report_data([first, second])["tokens"]["trained"] == ""
    data = build_report_data([first, replace(second, kept=np.array([True, False, False, True]))])
    assert decode(data["tokens"]["trained"], "u1").tolist() == [0, 0, 0, 0, 1, 0, 0, 1]
    assert [answer["trained"] for answer in data["answers"]] == [False, True]


def test_alternatives_are_promised_only_where_they_are_known():
    bare = replace(make_record(["a"], [0.3]), top_tokens=[[]], top_logprobs=np.zeros((1, 0), np.float32))
    assert "to see its entropy." in build_report([bare], title="", settings={})
    assert "to see its entropy and the alternatives." in build_report(make_records(1, 5), title="", settings={})


def test_part_of_the_answers_is_named():
    records = make_records(5, 10)
    assert read_data(build_report(records, title="", settings={}, max_answers=5))["partial"] == ""
    data = read_data(build_report(records, title="", settings={}, max_answers=3))
    assert data["partial"].startswith("This page holds the first 3 of 5 answers, 30 of 50 tokens.")
    assert len(data["answers"]) == 3 and data["share"]["num_kept"] == 6


@pytest.mark.slow
def test_long_answers_are_written_in_seconds_and_what_is_too_much_is_left_out(monkeypatch):
    monkeypatch.setattr("trl_forking.analysis.report._MAX_TOKENS", 250_000)
    tokens = [f" {number}" for number in range(100_000)]
    record = make_record(tokens, np.linspace(0, 3, 100_000))
    start = time.monotonic()
    page = build_report([record] * 3, title="", settings={})
    assert time.monotonic() - start < 20
    data = read_data(page)
    assert len(data["answers"]) == 2 and "2 of 3 answers" in data["partial"]
    assert decode_tokens(data) == tokens * 2 and len(page) < 10_000_000
    longest = make_record([""] * 250_001, np.zeros(250_001))
    assert len(read_data(build_report([longest, longest], title="", settings={}))["answers"]) == 1


def test_a_figure_that_is_left_out_has_a_sentence_in_its_place():
    page = build_report([], title="", settings={}, figures={"A & B": "<svg/>"}, notes=["There is no picture of <b>."])
    assert '<figure><figcaption>A &amp; B</figcaption><img alt="A &amp; B" src="data:image/svg+xml;base64,' in page
    assert '<p class="notice">There is no picture of &lt;b&gt;.</p>' in page
    assert read_data(page)["num_figures"] == 2
    assert read_data(build_report([], title="", settings={}))["num_figures"] == 0


def test_summary_tables_and_settings():
    records = make_records(4, 30)
    page = build_report(
        records,
        title="A & B",
        settings={"temperature": 0.7, "data": {"name": "gsm"}, "path": Path("a")},
        summary=summarize(records, min_count=1),
        tables=[("Caption", ["token", "n"], [[" wait", np.int64(3)], [None, float("nan")], [True, np.float32(0.5)]])],
    )
    data = read_data(page)
    assert "<title>A &amp; B</title>" in page
    assert data["settings"] == [["temperature", "0.7"], ["data", '{"name": "gsm"}'], ["path", '"a"']]
    assert data["tables"][0]["rows"] == [[" wait", 3], [None, None], ["yes", 0.5]]
    assert ["Right", "33.3 %"] in data["facts"] or ["Right", "33 %"] in data["facts"]
    assert "120 tokens" in data["lead"]
    assert read_data(build_report([], title="", settings={}, summary=summarize([])))["facts"][2] == ["Tokens", "0"]


def test_bad_input_is_named():
    nan = make_record(["a", "b"], [0.1, np.nan])
    with pytest.raises(ValueError, match="The entropy of answer 0, position 1 is NaN"):
        build_report([nan], title="", settings={})
    with pytest.raises(ValueError, match="top_entropy_quantile is a share in"):
        build_report([], title="", settings={}, top_entropy_quantile=20)
    with pytest.raises(ValueError, match="max_answers must be at least 1, but it is 0"):
        build_report([], title="", settings={}, max_answers=0)


def test_failed_report_leaves_the_old_one(tmp_path):
    path = tmp_path / "new" / "report.html"
    write_report(path, make_records(1, 5), title="first", settings={})
    with pytest.raises(ValueError):
        write_report(path, [make_record(["a"], [np.nan])], title="second", settings={})
    assert "<title>first</title>" in path.read_text(encoding="utf-8")
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


# WCAG 2: relative luminance and contrast.


def compute_luminance(color: str) -> float:
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def compute_contrast(one: str, other: str) -> float:
    low, high = sorted((compute_luminance(one), compute_luminance(other)))
    return (high + 0.05) / (low + 0.05)


def read_palette(scheme: str) -> dict[str, str]:
    found = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", STYLE)
    return {name: light if scheme == "light" else dark for name, light, dark in found}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colors_can_be_read(scheme):
    assert compute_contrast("#ffffff", "#000000") == pytest.approx(21)
    palette = read_palette(scheme)
    shades = [palette[f"shade-{level}"] for level in range(10)]
    for shade in shades:
        assert compute_contrast(palette["text"], shade) >= 4.5, shade
        assert compute_contrast(palette["ink"], shade) >= 3, shade  # the line under a kept token
    for name in ("text", "muted", "ink", "right", "wrong"):
        for ground in ("page", "surface"):
            assert compute_contrast(palette[name], palette[ground]) >= 4.5, (name, ground)
    steps = [compute_luminance(shade) for shade in shades]
    assert steps == sorted(steps, reverse=scheme == "light") and len(set(steps)) == 10
