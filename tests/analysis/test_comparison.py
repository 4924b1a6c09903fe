import csv
import json
import math
from fractions import Fraction

import numpy as np
import pytest

from trl_forking.analysis.comparison import (
    build_comparison,
    compute_change_by_bin,
    compute_overlap,
    compute_percentile_trace,
)
from trl_forking.analysis.forks import rank_tokens
from trl_forking.analysis.tables import format_markdown, write_csv


LENGTHS = [40, 0, 1, 157, 90]


def draw_entropies(seed: int, spread: float = 1.0) -> list[np.ndarray]:
    """Multiples of 2^-10 nats, each once: the trainer's grid rounds none of them and there are no ties."""
    generator = np.random.default_rng(seed)
    values = generator.permutation(sum(LENGTHS)) * spread / 1024
    return np.split(values.astype(np.float32), np.cumsum(LENGTHS)[:-1])


def draw_zeros(seed: int) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [np.where(generator.random(n) < 0.6, 0, generator.random(n)).astype(np.float32) for n in LENGTHS]


def list_tokens(entropies):
    """All tokens as (entropy, answer, position) in float64."""
    return [(float(value), i, t) for i, values in enumerate(entropies) for t, value in enumerate(values)]


@pytest.mark.parametrize("rho", [0.01, 0.2, 0.5, 1.0])
def test_overlap_equals_the_reference(rho):
    a, b = draw_entropies(0), draw_entropies(1)
    budget = math.ceil(Fraction(str(rho)) * sum(LENGTHS))
    tops = [{(i, t) for _, i, t in sorted(list_tokens(e), reverse=True)[:budget]} for e in (a, b)]
    assert compute_overlap(a, b, rho) == len(tops[0] & tops[1]) / budget
    assert compute_overlap(b, a, rho) == compute_overlap(a, b, rho)


def test_overlap_of_a_model_with_itself_is_all_and_with_its_opposite_nothing():
    a = draw_entropies(0)
    assert compute_overlap(a, a) == 1.0
    assert compute_overlap(a, [1 - values for values in a]) == 0.0
    assert compute_overlap(draw_zeros(0), draw_zeros(0)) == 1.0


def test_overlap_of_unrelated_models_is_rho_on_average():
    overlaps = [compute_overlap(draw_entropies(seed), draw_entropies(1000 + seed), 0.2) for seed in range(100)]
    assert np.mean(overlaps) == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize("num_bins", [1, 3, 20, 50])
def test_changes_by_bin_equal_the_reference(num_bins):
    base, checkpoint = draw_entropies(0), draw_entropies(1, spread=2.0)
    change = {(i, t): value for value, i, t in list_tokens(checkpoint)}
    ordered = sorted(list_tokens(base))
    bins = [[] for _ in range(num_bins)]
    for rank, token in enumerate(ordered):
        bins[rank * num_bins // len(ordered)].append(token)
    rows = compute_change_by_bin(base, checkpoint, bin_width=1 / num_bins)
    assert sum(row["num_tokens"] for row in rows) == sum(LENGTHS)
    for index, (row, tokens) in enumerate(zip(rows, bins, strict=True)):
        assert (row["from"], row["to"]) == (index / num_bins, (index + 1) / num_bins)
        assert row["num_tokens"] == len(tokens)
        assert row["base_entropy"] == pytest.approx(sum(value for value, _, _ in tokens) / len(tokens), rel=1e-12)
        expected = sum(change[i, t] - value for value, i, t in tokens) / len(tokens)
        assert row["change"] == pytest.approx(expected, rel=1e-9)


def test_equal_base_entropies_are_spread_over_the_bins_regardless_of_their_place():
    base = [np.zeros(5000), np.zeros(5000)]
    rows = compute_change_by_bin(base, [np.zeros(5000), np.ones(5000)])
    assert {row["num_tokens"] for row in rows} == {500}
    assert all(0.4 < row["change"] < 0.6 for row in rows)  # in the order of the text they would be 0 or 1


@pytest.mark.parametrize("bin_width", [0, -0.05, 0.3, 2, math.nan])
def test_a_width_that_does_not_divide_one_is_refused(bin_width):
    with pytest.raises(ValueError, match="must be 1 divided by a whole number"):
        compute_change_by_bin([np.zeros(3)], [np.zeros(3)], bin_width)


def test_percentile_traces_equal_the_reference():
    models = [draw_entropies(seed) for seed in range(3)]
    trace = compute_percentile_trace(models, [0, 50, 80, 99.5])
    for row, model in zip(trace, models, strict=True):
        ordered = sorted(value for value, _, _ in list_tokens(model))
        for value, percentile in zip(row, [0, 50, 80, 99.5], strict=True):
            expected = next(v for rank, v in enumerate(ordered, 1) if 100 * rank >= percentile * len(ordered))
            assert value == expected


def test_comparison_puts_the_figures_together():
    base, early, late = draw_entropies(0), draw_entropies(1), draw_entropies(2)
    comparison = build_comparison(base, {"step 16": early, "step 480": late}, 0.1)
    assert json.loads(json.dumps(comparison, allow_nan=False)) == comparison
    names, first, last = zip(
        *((row["checkpoint"], row["to_first"], row["to_last"]) for row in comparison["overlap"]), strict=True
    )
    assert names == ("base", "step 16", "step 480")
    assert first == (1.0, compute_overlap(early, base, 0.1), compute_overlap(late, base, 0.1))
    assert last == (compute_overlap(base, late, 0.1), compute_overlap(early, late, 0.1), 1.0)
    assert [row["p80"] for row in comparison["percentiles"]] == [
        pytest.approx(value) for value in compute_percentile_trace([base, early, late], [80])[:, 0]
    ]
    for row, expected in zip(comparison["change_by_bin"], compute_change_by_bin(base, late), strict=True):
        assert row["step 480"] == expected["change"] and row["base_entropy"] == expected["base_entropy"]
    lowest = sorted(np.concatenate(base))[-math.ceil(0.1 * sum(LENGTHS))]
    assert comparison["overlap"][0]["threshold"] == pytest.approx(lowest)


@pytest.mark.parametrize("answers", [[], [np.zeros(0)], [np.zeros(1)], [np.full(50, 0.5), np.zeros(0)]])
def test_comparisons_of_next_to_nothing(answers):
    comparison = build_comparison(answers, {"last": answers})
    json.dumps(comparison, allow_nan=False)
    num_tokens = sum(map(len, answers))
    assert comparison["num_tokens"] == num_tokens
    assert comparison["overlap"][1]["to_first"] == (1.0 if num_tokens else None)
    assert sum(row["num_tokens"] for row in comparison["change_by_bin"]) == num_tokens
    assert len(comparison["change_by_bin"]) == 20


def test_answers_that_differ_are_refused():
    with pytest.raises(ValueError, match="One list has 1 answers and the other 2"):
        compute_overlap([np.zeros(2)], [np.zeros(2), np.zeros(1)])
    with pytest.raises(ValueError, match="Answer 1 has 1 tokens in one list and 3"):
        build_comparison([np.zeros(2), np.zeros(1)], {"late": [np.zeros(2), np.zeros(3)]})
    with pytest.raises(ValueError, match="answer 0, position 1 is NaN"):
        compute_overlap([np.array([0.0, math.nan])], [np.zeros(2)])


@pytest.mark.parametrize("name", ["base", "from", "base_entropy"])
def test_names_that_the_tables_use_are_refused(name):
    with pytest.raises(ValueError, match="another name"):
        build_comparison([np.zeros(2)], {name: [np.zeros(2)]})
    with pytest.raises(ValueError, match="no checkpoint"):
        build_comparison([np.zeros(2)], {})


def test_a_hundred_thousand_tokens():
    generator = np.random.default_rng(0)
    base = [generator.random(100_000)]
    comparison = build_comparison(base, {"late": [base[0] + 1]})
    assert comparison["overlap"][0]["to_last"] > 0.999  # the grid of 2^-16 nats moves a token at the threshold
    assert np.concatenate(rank_tokens(base)).max() == 99_999


HOSTILE = ["=1+1", " wait", "\n", "<img src=x onerror=alert(1)>", "a|b", "`*_x_*`", "step_16", "\x00\u202e", "@x", "é"]


def test_csv_keeps_every_number_and_starts_no_formula(tmp_path):
    rows = [{"token": text, "mean_entropy": 1 / 3, "other": None} for text in HOSTILE]
    write_csv(rows, tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as file:
        header, *lines = csv.reader(file)
    assert header == ["token", "mean_entropy", "other"]
    for text, (token, value, other) in zip(HOSTILE, lines, strict=True):
        assert float(value) == 1 / 3 and other == ""
        assert token[0] not in "=+-@" and token.isprintable()
        assert token == text or json.loads(token) == text


def test_markdown_has_one_line_a_row_and_no_markup():
    rows = [{"token": text, "mean_entropy": 1 / 3, "count": 12_345, "other": None} for text in HOSTILE]
    header, rule, *lines = format_markdown(rows).split("\n")
    assert rule == "|---|---|---|---|" and len(lines) == len(HOSTILE)
    assert all(line.isprintable() and line.endswith("| 0.3333 | 12345 |  |") for line in lines)
    assert "<img" not in "".join(lines) and "a&#124;b" in lines[4] and "&#96;&#42;&#95;x&#95;&#42;&#96;" in lines[5]
    assert "| step_16 |" in lines[6] and '" wait"' in lines[1]
    assert format_markdown([]) == "No rows."


def test_csv_without_rows_is_empty(tmp_path):
    write_csv([], tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_text().strip() == ""
