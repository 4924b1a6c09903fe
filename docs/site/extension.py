"""What Sphinx does not do by itself: pages that GitHub shows too, docstrings in Markdown, formulas without a script."""

import shutil
from html import escape
from pathlib import Path
from typing import Any

from docstrings import convert_docstring
from docutils.nodes import SkipNode, Text, reference
from latex2mathml.converter import convert as convert_latex
from pages import add_toctrees, load_names, point_links
from sphinx.addnodes import desc, download_reference
from sphinx.util.logging import getLogger


DOCS = Path(__file__).parents[1]


def read_page(app: Any, name: str, source: list[str]) -> None:
    """Point the links of a page, give an index its table of contents, and load what a page of the reference shows."""
    page = DOCS / f"{name}.md"
    load_names(source[0])
    source[0] = point_links(source[0], page, DOCS)
    if page.name == "index.md":
        source[0] = add_toctrees(source[0])


def read_docstring(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Turn a docstring into the language of Sphinx."""
    lines[:] = convert_docstring(lines)


def shorten_signature(app: Any, what: str, name: str, *others: Any) -> tuple[str, str] | None:
    """Leave out the 250 arguments of the config, which has a page of its own."""
    return ("(output_dir, ...)", "") if name.endswith("ForkingGRPOConfig") else None


def skip_member(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out the fields of a named tuple: its docstring has them under Attributes."""
    return True if (getattr(obj, "__doc__", None) or "").startswith("Alias for field number") else None


def show_linked_pages(app: Any, document: Any) -> None:
    """Let a link to an HTML file of `docs`, such as the example page of forks, open the file. Sphinx would download it."""
    for node in list(document.findall(download_reference)):
        if node["reftarget"].endswith(".html"):
            file = (DOCS / app.env.docname).parent / node["reftarget"]
            name = file.resolve().relative_to(DOCS).as_posix()
            target = Path(app.outdir) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
            up = "../" * app.env.docname.count("/")
            node.replace_self(reference("", "", *node.children, refuri=up + name))


def check_reference(app: Any, document: Any) -> None:
    """Warn, which ends the build, of a page of the reference that shows nothing."""
    name = app.env.docname
    if name.startswith("api/") and name != "api/index" and not list(document.findall(desc)):
        getLogger(__name__).warning("the page shows no class and no function", location=name)


def write_dashes(app: Any, document: Any) -> None:
    """Write the dash between a parameter and its description, which Sphinx leaves to typographic quotes, as a dash."""
    for node in list(document.findall(lambda node: isinstance(node, Text) and node.astext() == " -- ")):
        node.parent.replace(node, Text(" – "))


def write_formula(writer: Any, node: Any) -> None:
    """Write a formula as MathML, which every browser draws without a script or a font from elsewhere."""
    is_block = node.tagname == "math_block"
    formula = convert_latex(node.astext(), display="block" if is_block else "inline")
    writer.body.append(formula.replace("<math ", f'<math alttext="{escape(node.astext(), quote=True)}" ', 1))
    raise SkipNode


def setup(app: Any) -> dict[str, bool]:
    """Connect all this to Sphinx."""
    app.connect("source-read", read_page)
    app.connect("autodoc-process-docstring", read_docstring)
    app.connect("autodoc-skip-member", skip_member)
    app.connect("autodoc-process-signature", shorten_signature)
    app.connect("doctree-read", show_linked_pages, priority=100)  # before Sphinx collects what to download
    app.connect("doctree-read", write_dashes)
    app.connect("doctree-read", check_reference)
    app.add_html_math_renderer("mathml", (write_formula, None), (write_formula, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
