import ast
import io
import math
import re
import warnings
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager

from trl_forking.analysis import plots
from trl_forking.analysis.comparison import build_comparison
from trl_forking.analysis.plots import (
    NothingToDraw,
    fonts,
    plot_change_by_bin,
    plot_cumulative_share,
    plot_entropy_histogram,
    plot_fork_words,
    plot_overlap,
    plot_percentile_traces,
    render_svg,
    save_figure,
)
from trl_forking.writing.colors import VARIABLES


GENERATOR = np.random.default_rng(0)
ENTROPIES = np.where(GENERATOR.random(2000) < 0.5, 0.0, GENERATOR.gamma(1.0, 0.8, 2000)).astype(np.float32)
WORDS = [" wait", "Wait", " however", " thus", " <b>bold</b>", " a&b", " $x$", " naïve", " 'q' \"r\"", "]]>"]
ROWS = [
    {"token": word, "token_id": index, "count": 100 + index, "mean_entropy": 2.0 - index / 10}
    for index, word in enumerate(WORDS)
]


def make_comparison(num_checkpoints: int = 3, noise: float = 0.2) -> dict:
    base = [ENTROPIES[:1500], ENTROPIES[1500:]]
    checkpoints = {
        f"runs/<b>$1$</b>/checkpoint-{step}": [np.abs(e + noise * GENERATOR.standard_normal(len(e))) for e in base]
        for step in range(num_checkpoints)
    }
    return build_comparison(base, checkpoints)


def draw_all() -> dict[str, Figure]:
    comparison = make_comparison()
    return {
        "histogram": plot_entropy_histogram(ENTROPIES),
        "share": plot_cumulative_share(ENTROPIES),
        "words": plot_fork_words(ROWS, min_count=101),
        "traces": plot_percentile_traces(comparison["percentiles"]),
        "overlap": plot_overlap(comparison["overlap"]),
        "change": plot_change_by_bin(comparison["change_by_bin"], list(comparison["change_by_bin"][0])[-1]),
    }


FIGURES = draw_all()


def find_text(svg: str) -> str:
    return " ".join(" ".join(ElementTree.fromstring(svg).itertext()).split())


@pytest.mark.parametrize("name", FIGURES)
def test_figures_become_png_and_svg(name, tmp_path):
    save_figure(FIGURES[name], tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    svg = render_svg(FIGURES[name], 'Label with <b>, & and "quotes"')
    root = ElementTree.fromstring(svg)
    assert len(svg.encode()) < 150_000
    assert root.get("role") == "img" and root.get("aria-label") == 'Label with <b>, & and "quotes"'
    assert root.get("width") is None and root.get("viewBox") == "0 0 403.2 244.8"
    assert not re.search(r"\bnan\b|\binf\b", svg, re.IGNORECASE)


@pytest.mark.parametrize("name", FIGURES)
def test_colors_of_an_svg_are_variables_and_nothing_in_it_is_active(name):
    svg = render_svg(FIGURES[name], "label")
    root = ElementTree.fromstring(svg)
    for element in root.iter():
        tag = element.tag.rpartition("}")[2]
        assert tag in {"svg", "style", "g", "path", "defs", "use", "text", "tspan", "clipPath", "rect"}, tag
        for key, value in element.items():
            assert not key.startswith("on")
            assert key != "href" or value.startswith("#plot-")
            if key == "style":
                outside = re.sub(r"light-dark\([^)]*\)", "", value)
                assert "DejaVu" not in value and not re.search("#[0-9a-f]{6}", outside), value
    # Matplotlib's own rule for everything would reach the page around it.
    assert [style.text for style in root.findall(".//{*}style")] == ["svg:root { color-scheme: light dark }"]
    assert "var(--plot-ink" in svg and "<!--" not in svg


def test_ids_of_several_pictures_do_not_clash_and_every_reference_resolves():
    seen = set()
    for name, figure in FIGURES.items():
        svg = render_svg(figure, name)
        ids = re.findall(r' id="([^"]+)"', svg)
        assert len(ids) == len(set(ids)) and not seen & set(ids)
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg)) <= set(ids)
        seen |= set(ids)


def test_pictures_are_the_same_each_time(tmp_path):
    files = []
    for _ in range(2):
        for figure in (plot_entropy_histogram(ENTROPIES), plot_fork_words(ROWS, min_count=101)):
            save_figure(figure, tmp_path / "figure.png")
            files.append(((tmp_path / "figure.png").read_bytes(), render_svg(figure, "label")))
    assert files[:2] == files[2:]


def test_every_color_has_a_counterpart_with_contrast_for_text():
    def luminance(color: str) -> float:
        parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for light, (name, dark) in VARIABLES.items():
        if name in ("ink", "muted", "fork", "accent"):  # the others are lines and bars
            assert 1.05 / (luminance(light) + 0.05) >= 4.5, name
            assert (luminance(dark) + 0.05) / (luminance("#1a1a1e") + 0.05) >= 4.5, name


@pytest.mark.parametrize("scale", [0.001, 1.0, 3.7])
@pytest.mark.parametrize("rho", [0.01, 0.2, 0.5, 1.0])
def test_histogram_counts_every_token_once_and_marks_the_threshold(scale, rho):
    entropies = ENTROPIES * scale
    axes = plot_entropy_histogram(entropies, rho).axes[0]
    others, forks = (sum(bar.get_height() for bar in bars) for bars in axes.containers)
    assert (others, forks) == (2000 - math.ceil(2000 * rho), math.ceil(2000 * rho))
    threshold = sorted(entropies)[-math.ceil(2000 * rho)]
    assert axes.lines[0].get_xdata()[0] == pytest.approx(threshold, abs=2.0**-16)


def test_histogram_names_the_80th_percentile():
    values = np.arange(1, 101) / 100
    text = find_text(render_svg(plot_entropy_histogram(values), "label"))
    assert "80th percentile: 0.81 nats" in text and "the 20 tokens from here on are the forks" in text


def test_cumulative_share_equals_the_reference():
    line = plot_cumulative_share(ENTROPIES).axes[0].lines[1]
    ordered = sorted(map(float, ENTROPIES), reverse=True)
    for x, y in list(zip(*line.get_data(), strict=True))[::40]:
        assert y == pytest.approx(100 * sum(ordered[: round(x / 100 * 2000)]) / sum(ordered), rel=1e-9)


@pytest.mark.parametrize("shape", [0.1, 1.0, 8.0])
@pytest.mark.parametrize("share", [0.01, 0.05, 0.2, 0.5, 0.59, 0.7, 0.95])
def test_the_label_of_the_share_lies_on_no_line(shape, share):
    figure = plot_cumulative_share(GENERATOR.gamma(shape, 1.0, 500), share)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    label = next(text for text in axes.texts if "of the tokens:" in text.get_text()).get_window_extent()
    assert axes.bbox.x0 <= label.x0 and label.x1 <= axes.bbox.x1 and axes.bbox.y0 <= label.y0
    for line in axes.lines[:2]:
        x, y = (np.interp(np.linspace(0, 1, 2000), np.linspace(0, 1, len(v)), v) for v in line.get_data())
        points = axes.transData.transform(np.column_stack([x, y]))
        assert not ((points > label.min) & (points < label.max)).all(1).any()


def read_words(figure: Figure) -> list[str]:
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def read_columns(figure: Figure) -> dict[str, list[str]]:
    """The two columns on the right of the bars, by their headers."""
    places = {text.get_text(): text.get_position()[0] for text in figure.axes[0].texts}
    texts = [(text.get_position(), text.get_text()) for text in figure.axes[0].texts]
    return {
        header: [text for (x, y), text in sorted(texts, key=lambda item: item[0][1]) if x == places[header] and y >= 0]
        for header in ("mean", "times seen")
    }


def make_rows(*words: str, mean_entropy: float = 3.0) -> list[dict]:
    return [
        {"token": word, "token_id": index, "count": 1000 - index, "mean_entropy": mean_entropy - index / 100}
        for index, word in enumerate(words)
    ]


def test_words_are_ranked_by_their_entropy_and_show_how_often_they_were_seen():
    figure = FIGURES["words"]
    # " wait" and "Wait" are two words, "]]>" has no letter.
    assert read_words(figure) == [word.strip() for word in WORDS[:-1]]
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert widths == pytest.approx([2.0 - index / 10 for index in range(9)])
    low, high = figure.axes[0].get_ylim()
    assert low > high, "the first word is at the top"
    columns = read_columns(figure)
    assert columns["mean"] == [f"{2.0 - index / 10:.3f}" for index in range(9)]
    assert columns["times seen"] == [str(100 + index) for index in range(9)]
    text = find_text(render_svg(figure, "label"))
    assert "<b>bold</b>" in text and "$x$" in text and "words seen at least 101 times" in text


def test_the_highest_words_are_drawn_up_to_a_number():
    rows = make_rows(*[f" word{index}" for index in range(60)])
    assert read_words(plot_fork_words(rows[::-1], min_count=1, max_words=20)) == [f"word{i}" for i in range(20)]


def test_words_whose_mean_is_that_of_a_fork_have_the_color_of_forks():
    axes = plot_fork_words(ROWS, min_count=101, threshold=1.75).axes[0]
    colors = [bar.get_facecolor() for bar in axes.patches]
    assert len(set(colors[:3])) == 1 and len(set(colors[3:])) == 1 and colors[2] != colors[3]
    assert axes.lines[0].get_xdata()[0] == 1.75
    assert len({bar.get_facecolor() for bar in FIGURES["words"].axes[0].patches}) == 1
    assert not plot_fork_words(ROWS, min_count=101, threshold=9.0).axes[0].lines, "a line far outside of the bars"


@pytest.mark.parametrize("threshold", [0.01, 1.4, 1.6, 2.9])
@pytest.mark.parametrize("words", [["a"], [f"word{index}" * (1 + index % 4) for index in range(15)]])
def test_words_do_not_touch(words, threshold):
    figure = plot_fork_words(make_rows(*words), min_count=1, threshold=threshold)
    figure.savefig(io.BytesIO(), format="png")
    texts = [*figure.axes[0].texts, *figure.axes[0].get_yticklabels()]
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    assert len(boxes) == 3 * len(words) + 3
    page = figure.bbox
    assert all(box.x0 >= 0 and box.x1 <= page.x1 and box.y0 >= 0 and box.y1 <= page.y1 for box in boxes)
    # Boxes of text hold room for accents above the ink: a fifth of their height may overlap.
    inner = [(box.x0, box.x1, box.y0 + 0.2 * box.height, box.y1 - 0.2 * box.height) for box in boxes]
    for index, (left, right, low, high) in enumerate(inner):
        for other_left, other_right, other_low, other_high in inner[:index]:
            assert right <= other_left or other_right <= left or high <= other_low or other_high <= low


def test_tokens_that_differ_in_white_space_become_one_word_with_their_common_mean():
    rows = [
        {"token": " so", "token_id": 1, "count": 30, "mean_entropy": 1.0},
        {"token": "so", "token_id": 2, "count": 10, "mean_entropy": 3.0},
        {"token": "\n", "token_id": 4, "count": 9, "mean_entropy": 9.0},
        {"token": "sure", "token_id": 5, "count": 9, "mean_entropy": 0.0},
        *make_rows(" a", " b", mean_entropy=1.2),
    ]
    figure = plot_fork_words(rows, min_count=2)
    assert read_words(figure) == ["so", "a", "b"]
    assert read_columns(figure) == {"mean": ["1.500", "1.200", "1.190"], "times seen": ["40", "1,000", "999"]}


def test_without_words_the_picture_shows_the_tokens_there_are():
    """Countdown: all tokens are numbers and signs, but for the one that ends an answer."""
    figure = plot_fork_words(make_rows(" 15", "15", " *", "\n", "<end>", " ", "\x00", "\ud800"), min_count=5)
    assert read_words(figure) == ["15", "*", "↵", "<end>", "␣", "U+0000", "U+D800"]
    assert "tokens seen at least 5 times" in figure.get_suptitle()
    numbers = [str(number) for number in range(20)]
    certain = make_rows("left", "vs", "no", "<end>", mean_entropy=0.1)
    assert read_words(plot_fork_words(make_rows(*numbers) + certain, min_count=5)) == numbers[:15]
    assert read_words(plot_fork_words(make_rows(*numbers[:17]) + certain, min_count=5)) == [
        "left",
        "vs",
        "no",
        "<end>",
    ]


@pytest.mark.parametrize("rows", [[], make_rows("wait", "so", "but", mean_entropy=0.0)])
def test_where_no_token_has_entropy_a_sentence_says_so(rows):
    with pytest.raises(NothingToDraw, match="no token with an entropy above 0 was seen at least 7 times"):
        plot_fork_words(rows, min_count=7)


# Scripts


@pytest.fixture
def warned(monkeypatch):
    """The warnings of fonts that are missing, with no earlier one remembered."""
    messages = []
    fonts.warn_of_missing_fonts.cache_clear()
    monkeypatch.setattr(fonts.logger, "warning", messages.append)
    yield messages
    fonts.warn_of_missing_fonts.cache_clear()


@pytest.fixture
def only_dejavu(monkeypatch):
    """A machine with no other font than the one that comes with matplotlib."""
    entries = [entry for entry in fontManager.ttflist if entry.name.startswith("DejaVu Sans")]
    monkeypatch.setattr(fontManager, "ttflist", entries)


@pytest.fixture
def cuneiform(only_dejavu, tmp_path):
    """The same machine with a second font, which has two signs."""
    pen = TTGlyphPen(None)
    for index, point in enumerate([(100, 0), (500, 0), (500, 700), (100, 700)]):
        (pen.lineTo if index else pen.moveTo)(point)
    pen.closePath()
    names = [".notdef", "a", "b"]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord("𒀀"): "a", ord("𒀁"): "b"})
    builder.setupGlyf({name: pen.glyph() for name in names})
    builder.setupHorizontalMetrics(dict.fromkeys(names, (600, 100)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Cuneiform of a test", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(tmp_path / "font.ttf")
    fontManager.addfont(tmp_path / "font.ttf")
    return "Cuneiform of a test"


def draw_without_warnings(figure: Figure) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(io.BytesIO(), format="png")
        render_svg(figure, "label")


def test_words_of_any_script_are_drawn_with_the_fonts_that_have_it(cuneiform, warned):
    words = ["𒀀𒀁a", "𒀁", "wait", "naïve", "שלום", "مرحبا", "однако"]
    figure = plot_fork_words(make_rows(*words), min_count=1)
    assert read_words(figure) == words and not warned
    assert figure.axes[0].get_yticklabels()[0].get_fontfamily() == ["DejaVu Sans", cuneiform]
    draw_without_warnings(figure)


@pytest.mark.parametrize("word", ["因此", "所以", "그러나", "ดังนั้น", "हालांकि"])
def test_words_of_more_scripts_where_their_fonts_are_installed(word, warned):
    _, missing = fonts.choose_fonts([word])
    if missing:
        pytest.skip("no installed font has the characters of this script")
    figure = plot_fork_words(make_rows("wait", "so", word), min_count=1)
    assert read_words(figure) == ["wait", "so", word] and not warned
    draw_without_warnings(figure)


def test_words_that_no_font_shows_are_left_out_and_named_once(cuneiform, warned):
    rows = make_rows("wait", "𒀂x", "so", "𒀀𒀂", "𒀁")
    for _ in range(2):
        figure = plot_fork_words(rows, min_count=1)
        assert read_words(figure) == ["wait", "so", "𒀁"]
        assert "Left out, because no installed font shows them: 2 words." in find_text(render_svg(figure, "label"))
        draw_without_warnings(figure)
    assert len(warned) == 1 and "Install a font" in warned[0]
    with pytest.raises(NothingToDraw, match="no installed font has their characters"):
        plot_fork_words(make_rows("𒀂", "𒀃", "𒀄"), min_count=1)


@pytest.mark.parametrize(
    "entropies", [np.zeros(0), np.array([0.3]), np.zeros(50), np.full(50, 0.5), np.array([0.0, 1e-7]), ENTROPIES[:2]]
)
def test_pictures_of_next_to_nothing(entropies):
    comparison = build_comparison([entropies], {"last": [entropies]})
    plots = {
        "histogram": lambda: plot_entropy_histogram(entropies),
        "share": lambda: plot_cumulative_share(entropies),
        "percentiles": lambda: plot_percentile_traces(comparison["percentiles"]),
        "overlap": lambda: plot_overlap(comparison["overlap"]),
        "change": lambda: plot_change_by_bin(comparison["change_by_bin"], "last"),
    }
    for name, plot in plots.items():
        if len(entropies) == 0 or (name == "share" and not entropies.any()):
            with pytest.raises(NothingToDraw, match="^There is no .*: (the answers have no tokens|no token has)"):
                plot()
        else:
            svg = render_svg(plot(), "label")
            assert not re.search(r"\bnan\b|\binf\b", svg, re.IGNORECASE)


@pytest.mark.parametrize("num_checkpoints", [1, 40])
@pytest.mark.parametrize("noise", [0.0, 0.01, 50.0])
def test_comparisons_of_any_length_fit(num_checkpoints, noise, tmp_path):
    comparison = make_comparison(num_checkpoints, noise)
    overlap = plot_overlap(comparison["overlap"])
    low, high = overlap.axes[0].get_ylim()
    values = [100 * row[key] for row in comparison["overlap"] for key in ("to_first", "to_last")]
    assert low <= min(values) and high >= 100
    for figure in (overlap, plot_percentile_traces(comparison["percentiles"])):
        save_figure(figure, tmp_path / "figure.png")
        names = [label.get_text() for label in figure.axes[0].get_xticklabels()]
        assert 2 <= len(names) <= 7 and names[0] == "base" and names[-1].endswith(f"{num_checkpoints - 1}")
        boxes = sorted(
            (box.x0, box.x1) for box in (label.get_window_extent() for label in figure.axes[0].get_xticklabels())
        )
        assert all(right < left for (_, right), (left, _) in zip(boxes, boxes[1:], strict=False))


def test_labels_at_the_ends_of_lines_do_not_touch():
    rows = [{"checkpoint": name, "p50": 1.0, "p80": 1.001, "p95": 1.002, "p99": 1.003} for name in ("base", "late")]
    axes = plot_percentile_traces(rows).axes[0]
    heights = sorted(text.get_position()[1] for text in axes.texts)
    assert min(np.diff(heights)) > 0.05 * axes.get_ylim()[1]


@pytest.mark.parametrize("rho", [0.01, 0.07, 0.2, 1.0])
def test_changes_are_summed_up_in_the_title(rho):
    base, late = [np.linspace(0, 2, 100)], [np.where(np.arange(100) < 80, 0, 0.5) + np.linspace(0, 2, 100)]
    figure = plot_change_by_bin(build_comparison(base, {"late": late})["change_by_bin"], "late", rho)
    title = " ".join(figure.get_suptitle().split())
    expected = {
        0.01: "Mean change at late: +0.1 nats in the rest",
        0.07: "Mean change at late: +0.5 nats in the top 5 % of base entropy, +0.0789 nats in the rest",
        0.2: "Mean change at late: +0.5 nats in the top 20 % of base entropy, +0 nats in the rest",
        1.0: "Mean change at late: +0.1 nats in the top 100 % of base entropy",
    }
    assert title == expected[rho]


def test_a_hundred_thousand_tokens_make_a_small_picture():
    entropies = np.random.default_rng(1).gamma(0.5, 0.8, 100_000)
    assert (
        max(len(render_svg(plot(entropies), "l")) for plot in (plot_entropy_histogram, plot_cumulative_share)) < 80_000
    )


@pytest.mark.parametrize("path", sorted(Path(plots.__file__).parent.glob("*.py")), ids=lambda path: path.stem)
def test_optional_packages_are_imported_inside_functions(path):
    top = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in top for alias in node.names} | {getattr(node, "module", None) for node in top}
    assert not {name for name in names if name and name.split(".")[0] in ("matplotlib", "PIL")}
