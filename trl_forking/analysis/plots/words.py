"""Picture of the words with the highest mean entropy, as bars."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...writing.colors import ACCENT, FORK, INK, MUTED, OTHER
from ..words import RankedWord, rank_words
from .drawing import FONT_SIZE, NothingToDraw, add_label, add_note, create_axes
from .fonts import choose_fonts, warn_of_missing_fonts


if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_MIN_BARS = 8  # fewer bars are as thick as if there were this many
_MAX_CHARACTERS = 20
_SMALL = FONT_SIZE - 1.5


def plot_fork_words(
    rows: Sequence[Mapping[str, Any]], min_count: int, max_words: int = 15, threshold: float | None = None
) -> "Figure":
    """
    Draw the words with the highest mean entropy as bars, and write how often each was seen.

    The words are those of [`~trl_forking.analysis.words.rank_words`]: if there are hardly any words, as in answers made of
    numbers and signs, the picture shows all tokens.

    The source is the word clouds of [Beyond the 80/20 Rule](https://huggingface.co/papers/2506.01939).

    Args:
        rows (sequence of `dict`):
            Rows of [`compute_token_table`], such as `top_tokens` of [`summarize`].
        min_count (`int`):
            Smallest number of times that each token was seen, for the title.
        max_words (`int`, *optional*, defaults to `15`):
            Largest number of bars.
        threshold (`float`, *optional*):
            Lowest entropy of a forking token, in nats. A line marks it, and words whose mean reaches it are red.

    Returns:
        [`~matplotlib.figure.Figure`]

    Raises:
        [`NothingToDraw`]: if no token has any entropy, or no installed font shows the words.

    Example:
    ```python
    >>> rows = [{"token": " wait", "token_id": 7, "count": 120, "mean_entropy": 1.5}]
    >>> print(plot_fork_words(rows, min_count=101).get_suptitle())
    Where the model is least certain: tokens seen at least 101 times
    ```
    """
    words, kind = rank_words(rows)
    bars = words[:max_words]
    if not bars:
        raise NothingToDraw(
            f"There is no picture of words: no token with an entropy above 0 was seen at least {min_count:,} times. "
            "Collect more answers, or lower min_count."
        )
    fonts, missing = choose_fonts(bar.text for bar in bars)
    shown = [bar for bar in bars if not missing & set(bar.text)]
    if len(shown) < len(bars):
        warn_of_missing_fonts()
    if not shown:
        raise NothingToDraw(
            "There is no picture of words: no installed font has their characters. A table shows them."
        )
    figure, axes = create_axes(
        f"Where the model is least certain: {kind} seen at least {min_count:,} times", "mean entropy (nats)"
    )
    _draw_bars(axes, shown, threshold)
    _name_bars(axes, shown, fonts)
    if len(shown) < len(bars):
        add_note(figure, f"Left out, because no installed font shows them: {len(bars) - len(shown)} {kind}.")
    return figure


def _draw_bars(axes: "Axes", bars: Sequence[RankedWord], threshold: float | None) -> None:
    means = [bar.mean_entropy for bar in bars]
    is_fork = [threshold is not None and mean >= threshold for mean in means]
    axes.barh(range(len(bars)), means, height=0.72, color=[FORK if fork else OTHER for fork in is_fork])
    axes.set_ylim(max(len(bars), _MIN_BARS) - 0.4, -1.4)  # the highest mean is at the top, below the names of columns
    highest = max(means)
    axes.set_xlim(0, 1.42 * highest)
    axes.set_xticks([tick for tick in axes.get_xticks() if tick <= 1.02 * highest])
    axes.grid(visible=False)
    if threshold is not None and threshold < 1.05 * highest:
        axes.axvline(threshold, color=ACCENT, linewidth=1, linestyle=(0, (4, 3)))
        side, gap = ("right", -0.015) if threshold > 0.5 * highest else ("left", 0.015)
        place = threshold + gap * highest
        add_label(axes, place, -1, "forking tokens start here", ha=side, color=ACCENT, fontsize=_SMALL)


def _name_bars(axes: "Axes", bars: Sequence[RankedWord], fonts: list[str]) -> None:
    """Write the word on the left of each bar, and its mean and count as two columns on the right."""
    cut = _MAX_CHARACTERS - 1
    names = [bar.text if len(bar.text) <= _MAX_CHARACTERS else f"{bar.text[:cut]}…" for bar in bars]
    axes.set_yticks(range(len(bars)), names, parse_math=False, fontfamily=fonts, color=INK, fontsize=_SMALL)
    columns = (
        (0.83, "mean", [f"{bar.mean_entropy:.3f}" for bar in bars], INK),
        (1.0, "times seen", [f"{bar.count:,}" for bar in bars], MUTED),
    )
    for x, header, cells, color in columns:
        for place, cell in enumerate([header, *cells], start=-1):
            style: dict[str, Any] = {"color": MUTED if place < 0 else color, "transform": axes.get_yaxis_transform()}
            add_label(axes, x, place, cell, ha="right", fontsize=_SMALL, **style)
