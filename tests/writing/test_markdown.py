"""Any text comes out of a Markdown renderer as it went in: CommonMark, as on the Hub, and TensorBoard's."""

import html
import random
import re
from importlib.util import find_spec

import pytest
from markdown_it import MarkdownIt

from trl_forking.writing.markdown import escape_text, format_block, format_code, format_table, replace_between


HOSTILE = [
    "a|b",
    "<img src=x onerror=alert(1)>",
    "`*_x_*`",
    "__init__ a_b _c_ d__e _ f_",
    "[x](http://a.b) ![y](z) <http://a.b> [r][s]",
    "&amp; &#42; &lt;",
    "&lt;b&gt; &lt &#60; &#x3c; &#38;lt; &copy;",
    "\\| \\\\ \\<",
    "$x$ $$y$$ \\(z\\)",
    "~~gone~~ ~~~",
    "# head",
    "{{ x }} {% y %} {: .class }",
    "<!-- comment --> <br> </td>",
    "größe 模型 🙂 _模_",
    "**bold** ***both***",
]
_ALPHABET = list("\\`*_{}[]()<>|~$#!&;:+-.=\"'/ab1 é模") + ["http://a.b", "&amp;", "__", "``", "<b>", "](", "\n"]


def draw_texts(count: int) -> list[str]:
    source = random.Random(0)
    return ["".join(source.choices(_ALPHABET, k=source.randint(1, 12))) for _ in range(count)]


def render_commonmark(text: str) -> str:
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text)


def render_tensorboard(text: str) -> str:
    from tensorboard.plugin_util import markdown_to_safe_html

    return markdown_to_safe_html(text)


RENDERERS = [
    render_commonmark,
    pytest.param(
        render_tensorboard,
        marks=pytest.mark.skipif(find_spec("tensorboard") is None, reason="TensorBoard is not installed"),
    ),
]


def read_cells(page: str) -> list[list[str]]:
    rows = re.findall(r"<tr>(.*?)</tr>", page, flags=re.DOTALL)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, flags=re.DOTALL) for row in rows]


@pytest.mark.parametrize("render", RENDERERS)
def test_every_text_arrives_in_a_table(render):
    texts = [*HOSTILE, *draw_texts(400)]
    names = ["x_y|z", "<b>"]
    head, *rows = read_cells(render(format_table(names, [[text, text] for text in texts], line_break="<br>")))
    assert [html.unescape(name) for name in head] == names
    assert len(rows) == len(texts)
    for text, cells in zip(texts, rows, strict=True):
        shown = [html.unescape(re.sub("<br ?/?>", "\n", cell)).strip() for cell in cells]
        assert shown == [text.strip(" ")] * 2 or shown == [text.strip()] * 2, text


@pytest.mark.parametrize("render", RENDERERS)
def test_every_text_arrives_in_a_heading(render):
    for text in [*HOSTILE, *draw_texts(400)]:
        (shown,) = re.findall(r"<h1>(.*?)</h1>", render(f"# a {escape_text(text)} z\n\nbelow"))
        assert " ".join(html.unescape(shown).split()) == " ".join(f"a {text} z".split())


@pytest.mark.parametrize(
    "character", ["\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]
)
def test_every_line_break_is_replaced(character):
    assert escape_text(f"a{character}b") == "a b"
    assert escape_text(f"a{character}b", line_break="<br>") == "a<br>b"
    assert len(format_table(["t"], [[f"a{character}b"]]).splitlines()) == 3


def test_every_text_arrives_as_code_in_a_table():
    texts = [*HOSTILE, *draw_texts(400)]
    lines = [f"| {format_code(text)} | {index} |" for index, text in enumerate(texts)]
    _, *rows = read_cells(render_commonmark("\n".join(["| a | b |", "|---|---|", *lines])))
    assert len(rows) == len(texts)
    for (code, _), text in zip(rows, texts, strict=True):
        assert code.startswith("<code>") and code.endswith("</code>")
        shown = html.unescape(code.removeprefix("<code>").removesuffix("</code>"))
        assert " ".join(shown.split()) == " ".join(text.split()), text


def test_nothing_in_a_block_ends_it():
    for text in ("```", "a\n````\nb", "~~~\n```python\n"):
        page = render_commonmark(f"{format_block(text, 'yaml')}\n\nbelow")
        assert html.unescape(page) == f'<pre><code class="language-yaml">{text}\n</code></pre>\n<p>below</p>\n'


def test_names_stay_readable():
    assert escape_text("my_model_2 step_16 Qwen/Qwen3-8B-Base (a, b): 1.5") == (
        "my_model_2 step_16 Qwen/Qwen3-8B-Base (a, b): 1.5"
    )


def test_a_table_formats_numbers_and_empty_cells():
    table = format_table(["a", "b", "c"], [[1 / 3, 12_345, None], [0.5, True, ""]])
    assert table.splitlines() == ["| a | b | c |", "|---|---|---|", "| 0.3333 | 12345 |  |", "| 0.5 | True |  |"]
    assert format_table(["a"], [[0.5]], float_format=".3f").splitlines()[-1] == "| 0.500 |"
    assert format_table(["a"], []) == "| a |\n|---|"


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="A table of 2 columns has a row of 1 cells"):
        format_table(["a", "b"], [["only one"]])


def test_what_stands_between_two_marks_is_replaced_again_and_again():
    page = "a\n<!-- x -->\nold\n<!-- y -->\nb\n<!-- y -->\n"
    once = replace_between(page, "<!-- x -->", "<!-- y -->", "new")
    assert once == "a\n<!-- x -->\n\nnew\n\n<!-- y -->\nb\n<!-- y -->\n"
    assert replace_between(once, "<!-- x -->", "<!-- y -->", "new") == once


@pytest.mark.parametrize("page", ["", "<!-- x -->", "<!-- y -->", "<!-- y --> <!-- x -->"])
def test_a_page_without_its_marks_is_not_written(page):
    with pytest.raises(ValueError, match="The page has lost a mark: <!-- x --> and <!-- y -->"):
        replace_between(page, "<!-- x -->", "<!-- y -->", "new")
