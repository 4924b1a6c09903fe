"""Picture of the tokens whose positions are least certain, as a word cloud."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..statistics import is_word
from .drawing import ACCENT, FONT_SIZE, FORK, MUTED, SIZE, add_label, create_axes, draw_sentence


if TYPE_CHECKING:
    from matplotlib.figure import Figure


_SCALE = 4  # pixels of wordcloud's canvas to a point of the figure


def plot_fork_words(rows: Sequence[Mapping[str, Any]], min_count: int, max_words: int = 80) -> "Figure":
    """
    Draw tokens as a word cloud, the larger the higher their mean entropy; the same picture each time.

    Tokens that differ in white space only become one word. Tokens without a letter, and those that the font
    cannot show, are left out.

    Source: the word clouds of [Beyond the 80/20 Rule](https://huggingface.co/papers/2506.01939).

    Args:
        rows (sequence of `dict`):
            Rows of [`compute_token_table`], such as `top_tokens` of [`summarize`].
        min_count (`int`):
            How often the tokens were seen at least, for the caption.
        max_words (`int`, *optional*, defaults to `80`):
            Number of words at most.

    Returns:
        [`~matplotlib.figure.Figure`]: with a sentence in it where there is no word.

    Example:
    ```python
    >>> rows = [{"token": " wait", "token_id": 7, "count": 120, "mean_entropy": 1.5}]
    >>> print(plot_fork_words(rows, min_count=101).get_suptitle())
    Where the model is least certain
    ```
    """
    title = "Where the model is least certain"
    means = _merge_words(rows)
    words = dict(sorted(means.items(), key=lambda item: (-item[1], item[0]))[:max_words])
    if not words:
        advice = "Collect more answers, or ask for tokens that were seen less often."
        return draw_sentence(title, f"No word with any entropy was seen at least {min_count:,} times. {advice}")

    figure, axes = create_axes(title)
    width, height = 72 * SIZE[0] - 16, 72 * SIZE[1] - 48
    figure.set_layout_engine("none")
    axes.set_position((8 / (72 * SIZE[0]), 22 / (72 * SIZE[1]), width / (72 * SIZE[0]), height / (72 * SIZE[1])))
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    for index, (word, x, y, size) in enumerate(_lay_out_words(words, width, height)):
        color = FORK if index < len(words) / 4 else ACCENT if index < len(words) / 2 else MUTED
        add_label(axes, x, y, word, fontsize=size, color=color, va="baseline", ha="left", fontfamily="DejaVu Sans")
    highest, lowest = max(words.values()), min(words.values())
    caption = f"size: mean entropy, {highest:.2g} to {lowest:.2g} nats; tokens seen at least {min_count:,} times"
    figure.text(0.012, 0.03, caption, color=MUTED, fontsize=FONT_SIZE - 1)
    return figure


def _merge_words(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Mean entropy of each word over all tokens that show as it."""
    counts: dict[str, int] = {}
    sums: dict[str, float] = {}
    for row in rows:
        word = row["token"].strip()
        if is_word(word) and row["mean_entropy"] > 0 and _has_glyphs(word):
            counts[word] = counts.get(word, 0) + row["count"]
            sums[word] = sums.get(word, 0.0) + row["count"] * row["mean_entropy"]
    return {word: sums[word] / counts[word] for word in counts}


def _find_font() -> str:
    from matplotlib.font_manager import findfont

    return str(findfont("DejaVu Sans"))


def _has_glyphs(word: str) -> bool:
    from matplotlib.font_manager import get_font

    font = get_font(_find_font())
    return all(font.get_char_index(ord(character)) for character in word)


def _lay_out_words(words: dict[str, float], width: float, height: float) -> list[tuple[str, float, float, float]]:
    """Lay out words; returns each with x and y of its baseline's left end and its font size, in points."""
    try:
        from wordcloud import WordCloud
    except ImportError as error:
        raise ImportError("The word cloud needs the package wordcloud: pip install wordcloud.") from error
    from PIL import ImageFont

    highest = max(words.values())
    # A letter takes about 0.72 square ems with its surroundings. Four fifths of the canvas can be filled; where the
    # last words find no place, wordcloud makes them smaller.
    area = sum(0.72 * len(word) * (mean / highest) ** 2 for word, mean in words.items())
    largest = min((0.8 * width * height / area) ** 0.5, 0.75 * width / max(map(len, words)), height / 3)
    cloud = WordCloud(
        font_path=_find_font(),
        width=int(_SCALE * width),
        height=int(_SCALE * height),
        margin=5 * _SCALE,
        prefer_horizontal=1.0,
        relative_scaling=1.0,
        min_font_size=5 * _SCALE,
        max_font_size=int(_SCALE * largest),
        random_state=0,
    ).generate_from_frequencies(words)
    places = []
    for (word, _), size, (top, left), _, _ in cloud.layout_:
        # wordcloud gives the upper left corner of the ink; a font is placed by its baseline.
        ink_left, ink_top, _, _ = ImageFont.truetype(_find_font(), size).getbbox(word, anchor="ls")
        x, y = (left - ink_left) / _SCALE, (top - ink_top) / _SCALE
        places.append((word, float(x), float(y), size / _SCALE))
    return places
