"""What is in `writing` is nowhere else: no second palette, percentage or half-written file."""

import re
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[2]
SOURCES = [path for folder in ("trl_forking", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize(
    ("pattern", "place", "advice"),
    [
        (r"""["']#[0-9a-fA-F]{6}["']""", "colors.py", "take a color of trl_forking.writing.colors"),
        (r"\{[^{}]*:[^{}]*%\}", "numbers.py", "use format_percent of trl_forking.writing.numbers"),
        (r"""["'{}](\.partial|\.tmp)\b""", "files.py", "use write_atomically of trl_forking.writing.files"),
    ],
)
def test_there_is_one_of_each(pattern, place, advice):
    found = {path.relative_to(ROOT).as_posix(): re.findall(pattern, path.read_text()) for path in SOURCES}
    others = {path: texts for path, texts in found.items() if texts and path != f"trl_forking/writing/{place}"}
    assert not others, f"{others}: {advice}"


def test_the_patterns_find_what_they_look_for():
    colors, files = ((ROOT / "trl_forking" / "writing" / name).read_text() for name in ("colors.py", "files.py"))
    assert re.search(r"""["']#[0-9a-fA-F]{6}["']""", colors) and re.search(r"""["'{}](\.partial|\.tmp)\b""", files)
    assert re.search(r"\{[^{}]*:[^{}]*%\}", 'f"{share:.1%}"')
