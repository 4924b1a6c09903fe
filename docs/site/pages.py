"""Markdown pages that GitHub and the site show alike. This module needs nothing but Python."""

import importlib
import re
from pathlib import Path


REPOSITORY = "https://github.com/trl-forking/trl-forking"
LINK = re.compile(r"(?<=\]\()(?!https?://|mailto:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")
FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", flags=re.MULTILINE | re.DOTALL)


def is_page(path: Path, docs: Path) -> bool:
    """Return whether a file is a page of the site. Example cards are not: they are pages of the Hub."""
    if path.suffix != ".md" or not path.is_file() or not path.is_relative_to(docs):
        return False
    parts = path.relative_to(docs).parts
    return parts[0] not in ("analysis", "site") and not (parts[0] == "cards" and len(parts) > 2)


def point_links(text: str, page: Path, docs: Path) -> str:
    """
    Point the links of a page to where the site has their target.

    Links to pages, pictures and HTML files in `docs` stay. All other files, such as recipes, are shown by GitHub.
    """

    def point(match: re.Match[str]) -> str:
        target = (page.parent / match[1]).resolve()
        if is_page(target, docs) or (target.suffix in (".png", ".svg", ".html") and target.is_relative_to(docs)):
            return match[0]
        kind = "tree" if target.is_dir() else "blob"
        path = target.relative_to(docs.parent).as_posix()
        return f"{REPOSITORY}/{kind}/main/{path}{match[2] or ''}"

    return change_prose(text, lambda prose: LINK.sub(point, prose))


def change_prose(text: str, change) -> str:
    """Change everything but the blocks of code."""
    parts, end = [], 0
    for block in FENCE.finditer(text):
        parts += [change(text[end : block.start()]), block[0]]
        end = block.end()
    return "".join([*parts, change(text[end:])])


def find_pages(docs: Path) -> list[Path]:
    """Find all pages of the site."""
    return sorted(path for path in docs.rglob("*.md") if is_page(path, docs))


def read_contents(text: str) -> dict[str, list[str]]:
    """Read the contents from an index: the pages that each section lists."""
    contents: dict[str, list[str]] = {}
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, _, body = section.partition("\n")
        if pages := re.findall(r"^- \[[^]]+\]\(([\w/]+\.md)\)", body, flags=re.MULTILINE):
            contents[title] = pages
    return contents


def add_toctrees(text: str) -> str:
    """Add the table of contents of an index, which GitHub does not need."""
    parts = [text]
    for title, pages in read_contents(text).items():
        entries = "\n".join(name.removesuffix(".md") for name in pages)
        parts.append(f"```{{toctree}}\n:hidden:\n:caption: {title}\n\n{entries}\n```")
    return "\n\n".join(parts) + "\n"


def load_names(page: str) -> None:
    """
    Load the public names of the modules that a page of the reference shows.

    A package that loads a name when it is asked for does not list it before. Sphinx would leave it out.
    """
    for name in re.findall(r"^\.\. automodule:: ([\w.]+)$", page, flags=re.MULTILINE):
        module = importlib.import_module(name)
        for public in getattr(module, "__all__", ()):
            setattr(module, public, getattr(module, public))
