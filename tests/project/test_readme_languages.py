"""The README in Chinese says what the README in English says: the same headings, code, numbers, links and pictures."""

import re
import unicodedata
from collections import Counter
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[2]
ENGLISH, CHINESE = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh.md"))
CODE = re.compile(r"^```.*?^```$", flags=re.MULTILINE | re.DOTALL)
# What a section must have in common with the same section of the other language, in whatever order its sentences have it.
PARTS = {
    "numbers": r"(?:(?<!\w)[-+])?\d+(?:[.,:/]\d+)*(?:e[-+]?\d+)?",
    "links": r"(?<!!)\[(?:[^]\[]|!\[[^]]*\]\([^)]*\))*\]\(([^)]+)\)",
    "pictures": r"!\[[^]]*\]\(([^)]+)\)",
    "names in code": r"`[^`\n]+`",
    "comments": r"<!--.*?-->",
    "rows of tables": r"^\|[-|]{3,}$|^(?=\|)",
}


def read_sections(page: str) -> list[tuple[str, str]]:
    """Split a page into its sections: the marks of the heading, and what stands from it to the next heading."""
    page = unicodedata.normalize("NFKC", page)  # digits and brackets of full width are digits and brackets
    blocks = iter(CODE.findall(page))
    lines = CODE.sub("\0", page).splitlines()
    sections: list[tuple[str, list[str]]] = [("", [])]
    for line in lines:
        if heading := re.match(r"#+(?= )", line):
            sections.append((heading[0], []))
        sections[-1][1].append(re.sub("\0", lambda _: next(blocks), line))
    return [(marks, "\n".join(body)) for marks, body in sections]


def find_differences(english: str, chinese: str) -> list[str]:
    """Find what two pages do not have in common."""
    if CODE.findall(english) != CODE.findall(chinese):
        return ["blocks of code"]
    pairs = list(zip(read_sections(english), read_sections(chinese), strict=False))
    levels = [[marks for marks, _ in read_sections(page)] for page in (english, chinese)]
    if levels[0] != levels[1]:
        return [f"headings: {levels[0]} and {levels[1]}"]
    faults = []
    for (_, ours), (_, theirs) in pairs:
        title = ours.partition("\n")[0]
        if len(CODE.findall(ours)) != len(CODE.findall(theirs)):
            faults.append(f"{title}: blocks of code")
        for part, pattern in PARTS.items():
            found = [Counter(re.findall(pattern, CODE.sub("", text), flags=re.MULTILINE)) for text in (ours, theirs)]
            if found[0] != found[1]:
                faults.append(f"{title}: {part}, {found[0] - found[1]} and {found[1] - found[0]}")
    return faults


def test_the_two_pages_say_the_same():
    assert not find_differences(ENGLISH, CHINESE)
    assert all(len(re.findall(pattern, CODE.sub("", ENGLISH), flags=re.MULTILINE)) for pattern in PARTS.values())
    assert len(CODE.findall(ENGLISH)) == 2 and len(read_sections(ENGLISH)) > 6


def test_each_page_begins_with_the_way_to_the_other():
    for page in (ENGLISH, CHINESE):
        assert page.splitlines()[2] == "[English](README.md) | [简体中文](README.zh.md)"


def test_the_page_is_in_chinese():
    """All that a person reads has Chinese characters: headings, paragraphs, and cells that are no number and no name."""
    for paragraph in CODE.sub("", CHINESE).split("\n\n")[2:]:
        if paragraph.strip() and not paragraph.startswith(("<!--", "|")):
            assert re.search(r"[\u4e00-\u9fff]", paragraph), paragraph
    cells = [cell.strip() for line in CHINESE.splitlines() if line.startswith("|") for cell in line.split("|")]
    words = {cell for cell in cells if re.search(r"\b[a-z]{2,}", re.sub(r"\]\([^)]*\)", "", cell))}
    assert all(re.search(r"[\u4e00-\u9fff]", cell) for cell in words), words


@pytest.mark.parametrize(
    ("part", "pattern", "damage"),
    [
        ("blocks of code", r"make demo  ", "make  demo "),
        ("blocks of code", r"```bash\ngit clone.*?```\n", ""),
        ("headings", r"^## [^\n]*\n", ""),
        ("headings", r"^## ", "### "),
        ("headings", r"\Z", "\n## 更多\n"),
        ("numbers", r"(?<=80 )%", "% 与 20 %"),
        ("numbers", r"(?<=TRL )1\.16", "1.17"),
        ("numbers", r"\| (\d)\.(\d+) ", r"| \2.\1 "),
        ("numbers", r"(?<=\()-0", "0"),
        ("links", r"docs/results\.md", "docs/rules.md"),
        ("links", r"\[([^]!]+)\]\(docs/faq\.md\)", r"\1"),
        ("pictures", r"docs/results/rewards\.png", "docs/results/forks.png"),
        ("pictures", r"^!\[[^\n]*\n", ""),
        ("names in code", r"`CITATION\.cff`", "CITATION.cff"),
        ("comments", r"<!-- end of gpu -->\n", ""),
        ("rows of tables", r"^\| Qwen3-8B[^\n]+\n", ""),
    ],
)
def test_a_page_that_was_left_behind_is_found(part, pattern, damage):
    changed, times = re.subn(pattern, damage, CHINESE, count=1, flags=re.MULTILINE | re.DOTALL)
    assert times == 1 and changed != CHINESE
    assert any(part in fault for fault in find_differences(ENGLISH, changed))


def test_numbers_and_links_may_change_their_places_in_a_section():
    english = "# A\n\n[a](a.md) has 1,000 of 20 %.\n\n## B\n\n-0.5 ![b](b.png)\n"
    assert not find_differences(english, "# 甲\n\n２０ % 中的 1,000 个见[甲](a.md)。\n\n## 乙\n\n![乙](b.png)：-0.5\n")
    assert find_differences(english, "# 甲\n\n[甲](a.md) 1,000\n\n## 乙\n\n-0.5 20 %\n\n![乙](b.png)\n")
    assert find_differences(english, english.replace("[a](a.md)", "[![a](a.md)](a.md)"))
