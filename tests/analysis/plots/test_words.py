"""The words with the highest entropies: their ranks, their labels, and the fonts that show them."""

import io
import warnings

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager

from helpers.plotted import ROWS, WORDS, find_text
from trl_forking.analysis.plots import NothingToDraw, fonts, plot_fork_words, render_svg


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
    figure = plot_fork_words(ROWS, min_count=101)
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
    assert len({bar.get_facecolor() for bar in plot_fork_words(ROWS, min_count=101).axes[0].patches}) == 1
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
