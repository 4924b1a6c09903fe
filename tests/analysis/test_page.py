"""The tables, pictures and page of a collection: what is drawn, and the sentence where there is nothing to draw."""

import json

import numpy as np
import pytest

from helpers.report_records import make_record, make_records
from trl_forking.analysis.page import draw_figures, write_figures, write_page, write_tables
from trl_forking.analysis.summary import summarize


NAMES = ["entropy_histogram", "cumulative_share", "fork_words"]
COUNTDOWN = [make_record([" 3", " *", " 5", " =", " 15", "<end>"], np.array([0.9, 1.1, 0.3, 0.0, 0.0, 0.0]))] * 3


def draw(records, min_count=1):
    summary = summarize(records, 0.2, min_count)
    return summary, draw_figures(records, summary)


def write(folder, records, **options):
    summary, figures = draw(records, **options)
    write_tables(folder, summary)
    write_figures(folder, figures)
    write_page(folder / "report.html", records, "Title", {"model": "m", "hes": None}, summary, figures, 8)
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("records", [make_records(4, 30), COUNTDOWN], ids=["words", "numbers and signs"])
def test_all_figures_are_drawn_and_none_is_empty(records, tmp_path):
    page = write(tmp_path, records)
    assert [path.stem for path in sorted(tmp_path.glob("*.png"))] == sorted(NAMES)
    assert page.count("data:image/svg+xml") == 3 and 'class="notice">There is no' not in page
    _, figures = draw(records)
    for name in NAMES:
        assert figures[name].axes[0].patches or figures[name].axes[0].lines, name


def test_where_there_is_nothing_to_draw_a_sentence_says_why(tmp_path):
    """The tokens are certain: a histogram is drawn, but there is no entropy to share and no word to rank."""
    certain = [make_record(["a", "b"], [0.0, 0.0])] * 3
    (tmp_path / "fork_words.png").write_text("of an earlier analysis")
    page = write(tmp_path, certain)
    assert [path.stem for path in tmp_path.glob("*.png")] == ["entropy_histogram"]
    assert page.count("data:image/svg+xml") == 1
    assert "There is no picture of the shares of entropy: no token has an entropy above 0." in page
    assert "There is no picture of words: no token with an entropy above 0 was seen at least 1 times." in page


def test_without_tokens_there_is_no_figure(tmp_path):
    page = write(tmp_path, [make_record([], [])])
    assert not list(tmp_path.glob("*.png")) and "data:image/svg+xml" not in page
    assert page.count('class="notice">There is no') == 3


def test_tables_are_files_and_settings_without_a_value_are_left_out(tmp_path):
    page = write(tmp_path, make_records(4, 30))
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["num_answers"] == 4
    assert {path.stem for path in tmp_path.glob("*.csv")} == {
        "top_tokens", "bottom_tokens", "by_correctness", "by_answer_part", "by_sentence_position"
    }  # fmt: skip
    assert '["model","m"]' in page and '"hes",' not in page.partition('"settings":')[2].partition("]]")[0]
