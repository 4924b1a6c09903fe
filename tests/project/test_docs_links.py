"""Links of the pages lead somewhere, on GitHub and on the site; error messages on the page stand in the code."""

import ast
import re
import runpy
import sys
from pathlib import Path

import pytest

from helpers.code_blocks import find_pages


ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS / "site"))

from docstrings import convert_docstring, convert_inline  # noqa: E402
from pages import add_toctrees, change_prose, load_names, point_links, read_contents  # noqa: E402


PAGES = [*find_pages(), ROOT / "README.md", ROOT / "README.zh.md"]


def read_prose(page: Path) -> str:
    """Return a page without its blocks of code and without code in its sentences."""
    parts: list[str] = []
    change_prose(page.read_text(), lambda text: parts.append(text) or "")
    return re.sub(r"`[^`\n]+`", "`code`", "".join(parts))


def find_anchors(page: Path) -> set[str]:
    """Return the anchors of the headings, as GitHub and the site make them."""
    anchors: set[str] = set()
    parts: list[str] = []
    change_prose(page.read_text(), lambda text: parts.append(text) or "")
    for heading in re.findall(r"^#+ (.+)$", "".join(parts), flags=re.MULTILINE):
        text = re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", heading)
        anchors.add(re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-"))
    return anchors


def find_faults(page: Path, text: str) -> list[str]:
    """Find the links of a page that lead nowhere. Addresses are looked at, not asked."""
    faults = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        target, _, anchor = link.partition("#")
        if link.startswith(("http://", "mailto:")) or (
            link.startswith("https://") and not re.fullmatch(r"https://[\w-]+(\.[\w-]+)+(/\S*)?", link)
        ):
            faults.append(f"{link}: https alone, and a whole address")
        elif not link.startswith("https://"):
            file = (page.parent / target).resolve() if target else page
            if not file.exists():
                faults.append(f"{link}: there is no {file}")
            elif anchor and file.suffix == ".md" and anchor not in find_anchors(file):
                faults.append(f"{link}: {target or page.name} has no heading {anchor}")
    return faults


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    assert not find_faults(page, read_prose(page))


def test_wrong_links_are_found():
    page = DOCS / "faq.md"
    text = "[a](nowhere.md) [b](metrics.md#no-such-heading) [c](#nor-this) [d](http://x.org) [e](metrics.md#trackio) [f](https://x.org/a)"
    assert [fault.split(":")[0] for fault in find_faults(page, text)] == [
        "nowhere.md",
        "metrics.md#no-such-heading",
        "#nor-this",
        "http",
    ]


# What the site makes of a page


def test_every_page_is_in_the_contents():
    listed = {name for pages in read_contents((DOCS / "index.md").read_text()).values() for name in pages}
    pages = {str(page.relative_to(DOCS)) for page in find_pages() if page.parent.name != "api"} | {"api/index.md"}
    assert listed == pages - {"index.md"}
    listed = read_contents((DOCS / "api" / "index.md").read_text())["Modules"]
    assert {*listed, "index.md"} == {page.name for page in (DOCS / "api").glob("*.md")}


def test_an_index_gets_its_table_of_contents():
    text = "# Site\n\n## Evidence\n\n- [Evaluation](evaluation.md): a\n- [Other](other.md): b\n"
    toctree = add_toctrees(text).removeprefix(text)
    assert toctree.split() == ["```{toctree}", ":hidden:", ":caption:", "Evidence", "evaluation", "other", "```"]


def test_links_to_files_go_to_github_and_links_to_pages_stay():
    text = "[a](metrics.md#trackio) [b](../examples/recipes) [c](../pyproject.toml) ![d](demo.png) [e](cards/countdown/README.md)\n```\n[f](../x.py)\n```"
    github = "https://github.com/trl-forking/trl-forking"
    assert point_links(text, DOCS / "faq.md", DOCS) == (
        f"[a](metrics.md#trackio) [b]({github}/tree/main/examples/recipes) [c]({github}/blob/main/pyproject.toml) "
        f"![d](demo.png) [e]({github}/blob/main/docs/cards/countdown/README.md)\n```\n[f](../x.py)\n```"
    )


def test_docstrings_become_fields():
    lines = [
        "Keep a share of `B` rows, see [`find_rule`] and [NAT](https://huggingface.co/papers/2603.06619).",
        "",
        "$$ k = \\rho N $$",
        "",
        "Args:",
        "    share (`float`, *optional*, defaults to `0.2`):",
        "        A share \\\\( \\rho \\\\) in `x_`s:",
        "        - one",
        "    *args, **kwargs:",
        "        Others.",
        "",
        "Raises:",
        "    `ValueError`: if it is |0|.",
        "",
        "Example:",
        "```python",
        ">>> 1",
        "1",
        "```",
    ]
    text = "\n".join(convert_docstring(lines))
    for part in (
        "Keep a share of ``B`` rows, see :py:obj:`find_rule` and `NAT <https://huggingface.co/papers/2603.06619>`__.",
        ".. math::\n\n    k = \\rho N",
        ":type share: ``float``, *optional*, defaults to ``0.2``\n:param share: A share :math:`\\rho` in ``x_``\\ s:\n\n    - one",
        ":param \\*args: Others.\n:param \\*\\*kwargs: Others.",
        ":raises ValueError: if it is \\|0\\|.",
        ".. rubric:: Example\n\n.. code-block:: pycon\n\n    >>> 1\n    1",
    ):
        assert part in text, part
    assert convert_inline("a_ and b_c") == "a\\_ and b_c"


def test_a_long_sentence_about_a_result_or_an_error_stays_one_field():
    lines = [
        "Returns:",
        "    `int`: the first",
        "    of two lines.",
        "",
        "Raises:",
        "    `ValueError`: if it is",
        "    wrong.",
    ]
    lines += ["    [`UserError`]: if it is", "    missing."]
    text = "\n".join(convert_docstring(lines))
    assert text.count(":returns:") == 1 and ":returns: ``int``: the first\n    of two lines." in text
    assert text.count(":raises") == 2 and ":raises ValueError: if it is\n    wrong." in text


def test_the_reference_shows_names_that_a_package_loads_when_it_is_asked(tmp_path, monkeypatch):
    (tmp_path / "lazy_package.py").write_text(
        "__all__ = ['late']\n\n\ndef __getattr__(name):\n    return name.upper()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    load_names("```{eval-rst}\n.. automodule:: lazy_package\n   :members:\n```\n")
    assert vars(sys.modules.pop("lazy_package"))["late"] == "LATE"


# Messages


def collect_messages() -> list[str]:
    """Collect the texts of the package; a blank stands for what a message puts in."""
    messages: list[str] = []
    for path in (ROOT / "trl_forking").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                messages.append(
                    "".join(part.value if isinstance(part, ast.Constant) else "\0" for part in node.values)
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                messages.append(node.value)
    return messages


MESSAGES = collect_messages()


def read_documented() -> list[str]:
    """Read the messages of the page: what stands as code in the first column of a table with a column `message`."""
    tables = (DOCS / "troubleshooting.md").read_text().split("| message | cause | what to do |")[1:]
    rows = [line for table in tables for line in table.split("\n\n")[0].splitlines() if line.startswith("| ")]
    return [match[1] for row in rows if (match := re.match(r"\| `(.+?)` \|", row))]


def is_in_code(message: str) -> bool:
    """Return whether one text of the code has all parts of a message, in their order."""
    parts = [re.escape(part.strip()) for part in message.split("...") if len(part.strip()) > 1]
    pattern = re.compile(".*?".join(parts), flags=re.DOTALL)
    return any(pattern.search(text) for text in MESSAGES)


@pytest.mark.parametrize("message", read_documented())
def test_every_message_is_in_the_code(message):
    assert is_in_code(message)


def test_a_message_that_is_not_in_the_code_is_found():
    assert len(read_documented()) > 60
    assert not is_in_code("the moon is in the way of ... tokens")
    assert not is_in_code("there are none ... trains the tokens outside the top share")  # the wrong order


def test_the_site_changes_no_character_of_a_message():
    """Typographic quotes and dashes would make `--force` another text, which nobody finds by its message."""
    assert runpy.run_path(str(DOCS / "site" / "conf.py"))["smartquotes"] is False
