"""Writes the row of a test run into the table of tested versions, docs/versions.md.

    python .github/tested_versions.py docs/versions.md results.xml

The second file is what `pytest --junit-xml` wrote. A row stands for a version of TRL and of Python; the newest run of it
replaces the one before.
"""

import importlib.metadata
import platform
import sys
import xml.etree.ElementTree as ElementTree
from datetime import UTC, datetime
from pathlib import Path


PACKAGES = ("trl", "transformers", "torch", "accelerate", "peft", "deepspeed")


def build_row(results: Path) -> list[str]:
    """Build the cells: versions, then passed, failed and skipped tests, and the day."""
    suites = list(ElementTree.parse(results).getroot().iter("testsuite"))
    total, failed, errors, skipped = (
        sum(int(suite.get(name, 0)) for suite in suites) for name in ("tests", "failures", "errors", "skipped")
    )
    counts = [str(total - failed - errors - skipped), str(failed + errors), str(skipped)]
    versions = [find_version(name) for name in PACKAGES]
    return [versions[0], platform.python_version(), *versions[1:], *counts, datetime.now(UTC).date().isoformat()]


def find_version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def update(table: Path, row: list[str]) -> None:
    """Put a row into the table, newest version first, in place of the one with its version of TRL and Python."""
    lines = table.read_text(encoding="utf-8").splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("|---")) + 1
    last = next((number for number in range(first, len(lines)) if not lines[number].startswith("|")), len(lines))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[first:last]]
    rows = [other for other in rows if get_key(other) != get_key(row)] + [row]
    rows.sort(key=get_key, reverse=True)
    lines[first:last] = [f"| {' | '.join(cells)} |" for cells in rows]
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")


def get_key(row: list[str]) -> tuple[list[int], list[int]]:
    def split(version: str) -> list[int]:
        return [int(part) if part.isdigit() else 0 for part in version.split(".")]

    return split(row[0]), split(row[1])[:2]


if __name__ == "__main__":
    update(Path(sys.argv[1]), build_row(Path(sys.argv[2])))
