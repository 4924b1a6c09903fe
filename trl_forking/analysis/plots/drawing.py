"""The style of the pictures, and their PNG and SVG files."""

import hashlib
import io
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from ...writing.colors import INK, MUTED, OTHER, RULE, VARIABLES


if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


SIZE = (5.6, 3.4)  # inches; the text can be read at the width of a telephone
FONT_SIZE = 9
_TITLE_WIDTH = 64  # characters


class NothingToDraw(ValueError):
    """
    A picture that would be empty. The message is a sentence to show in its place.

    Example:
    ```python
    >>> raise NothingToDraw("There is no histogram: the answers have no tokens.")
    Traceback (most recent call last):
        ...
    trl_forking.analysis.plots.drawing.NothingToDraw: There is no histogram: the answers have no tokens.
    ```
    """


def create_axes(title: str, x_label: str = "", y_label: str = "") -> tuple["Figure", "Axes"]:
    """Create a figure with a title on the left and one pair of axes without a frame."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, layout="constrained", facecolor="white")
    add_title(figure, title)
    axes = figure.add_subplot()
    axes.set_facecolor("none")
    axes.set_xlabel(x_label, color=MUTED, fontsize=FONT_SIZE)
    axes.set_ylabel(y_label, color=MUTED, fontsize=FONT_SIZE)
    axes.tick_params(which="both", length=0, colors=MUTED, labelsize=FONT_SIZE)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(OTHER)
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def add_title(figure: "Figure", title: str) -> None:
    """Add a title of at most two lines."""
    width = _TITLE_WIDTH if len(title) <= _TITLE_WIDTH else min(_TITLE_WIDTH, len(title) // 2 + 8)
    wrapped = textwrap.fill(title, width, max_lines=2, placeholder=" …")
    style: dict[str, Any] = {"ha": "left", "color": INK, "fontsize": 10, "fontweight": "bold", "parse_math": False}
    figure.suptitle(wrapped, x=0.012, **style)


def add_label(axes: "Axes", x: float, y: float, text: str, **style: Any) -> None:
    """Add text in the style of all pictures. Dollar signs in it are not read as formulas."""
    defaults: dict[str, Any] = {"color": INK, "fontsize": FONT_SIZE, "parse_math": False, "va": "center"}
    axes.text(x, y, text, **(defaults | style))


def add_note(figure: "Figure", note: str) -> None:
    """Add a sentence below the axes."""
    figure.supxlabel(note, x=0.012, ha="left", color=MUTED, fontsize=FONT_SIZE - 1, parse_math=False)


def shorten_name(name: str, length: int = 18) -> str:
    """
    Shorten a checkpoint's name to its end, which tells it from the others.

    Example:
    ```python
    >>> shorten_name("outputs/countdown/checkpoint-100")
    '…wn/checkpoint-100'
    ```
    """
    return name if len(name) <= length else "…" + name[-(length - 1) :]


def save_figure(figure: "Figure", path: str | Path) -> None:
    """
    Save a figure as PNG, 1,120 pixels wide.

    Args:
        figure ([`~matplotlib.figure.Figure`]):
            Figure of this package.
        path (`str` or `Path`):
            File to write.

    Example:
    ```python
    >>> figure, axes = create_axes("Title")
    >>> save_figure(figure, "empty.png")
    >>> Path("empty.png").read_bytes()[1:4]
    b'PNG'
    ```
    """
    # The file has no version of matplotlib in it, so that equal pictures are equal files.
    figure.savefig(path, format="png", dpi=200, metadata={"Software": None})


def render_svg(figure: "Figure", label: str) -> str:
    """
    Render a figure as an SVG element, for a page or as an image of its own, on a light or a dark ground.

    A page can set the colors and the font of an SVG element inside it: `--plot-ink`, `--plot-muted`, `--plot-rule`,
    `--plot-fork`, `--plot-other`, `--plot-accent` and `--font`. Otherwise the colors follow the color scheme. Text stays
    text. Every id begins with a hash of the picture, so that one page can hold several pictures. The element has no
    scripts, no links and nothing from outside.

    Args:
        figure ([`~matplotlib.figure.Figure`]):
            Figure of this package.
        label (`str`):
            Text that a screen reader says in place of the picture.

    Returns:
        `str`: one `<svg>` element, well-formed XML.

    Example:
    ```python
    >>> figure, axes = create_axes("Title")
    >>> render_svg(figure, "An empty picture")[:4]
    '<svg'
    ```
    """
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "trl-forking"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    digest = hashlib.blake2s((label + buffer.getvalue()).encode(), digest_size=5).hexdigest()
    prefix = f"plot-{digest}-"
    drawing = ElementTree.fromstring(buffer.getvalue())
    for parent in list(drawing.iter()):
        for child in list(parent):
            if _get_name(child.tag) in ("metadata", "style"):
                parent.remove(child)
    for element in drawing.iter():
        element.tag = _get_name(element.tag)
        element.attrib = {_get_name(key): _adapt(_get_name(key), value, prefix) for key, value in element.items()}
    drawing.attrib = {
        "xmlns": "http://www.w3.org/2000/svg",
        "viewBox": drawing.attrib["viewBox"],
        "role": "img",
        "aria-label": label,
        "style": "max-width: 100%; height: auto; stroke-linejoin: round",
    }
    style = ElementTree.Element("style")
    style.text = "svg:root { color-scheme: light dark }"  # for an image of its own; a page sets its own color scheme
    drawing.insert(0, style)
    return ElementTree.tostring(drawing, encoding="unicode")


def _get_name(tag: str) -> str:
    return tag.rpartition("}")[2]


def _adapt(key: str, value: str, prefix: str) -> str:
    """Adapt one attribute of matplotlib's SVG: add the prefix to ids, and replace colors and fonts by variables."""
    if key == "id":
        return prefix + value
    if key == "href":
        return value.replace("#", f"#{prefix}")
    value = value.replace("url(#", f"url(#{prefix}")
    for color, (name, dark) in VARIABLES.items():
        value = value.replace(color, f"var(--plot-{name}, light-dark({color}, {dark}))")
    return re.sub(r"'DejaVu Sans'[^;]*", "var(--font, system-ui, sans-serif)", value)
