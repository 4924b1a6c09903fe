"""
Give the package index the README with whole addresses. All else about the package stands in pyproject.toml.

In the repository, links and pictures of the README are relative: they work in a clone, in a fork and on a branch. On the index they
would lead nowhere.
"""

import re
from pathlib import Path

from setuptools import setup


ROOT = Path(__file__).parent
# The address stands behind `](`, in an attribute of HTML, or behind the name of a reference.
ADDRESS = re.compile(r"(\]\(\s*<?|\b(?:src|href|srcset)=[\"']|^\[[^]\n]+\]:\s+<?)([^)\s\"'>]+)", flags=re.MULTILINE)
CODE = re.compile(r"(^```.*?^```$|`[^`\n]+`)", flags=re.MULTILINE | re.DOTALL)
PICTURES = (".png", ".svg", ".gif", ".jpg", ".jpeg", ".webp")


def build_description(readme: str, version: str) -> str:
    """Point what is relative in the README to the files of this version's tag. Code stays as it is."""

    def point(match: re.Match[str]) -> str:
        before, target = match.groups()
        if re.match(r"[a-z]+:", target):
            return match[0]
        path = f"README.md{target}" if target.startswith("#") else target.removeprefix("./")
        if path.partition("#")[0].endswith(PICTURES):
            return f"{before}https://raw.githubusercontent.com/trl-forking/trl-forking/v{version}/{path}"
        # GitHub sends the address of a file on to that of a folder where it is one.
        return f"{before}https://github.com/trl-forking/trl-forking/blob/v{version}/{path}"

    parts = CODE.split(readme)
    return "".join(part if number % 2 else ADDRESS.sub(point, part) for number, part in enumerate(parts))


def read_version() -> str:
    """Read the version from its one place, without the packages that an import would need."""
    text = (ROOT / "trl_forking" / "__init__.py").read_text(encoding="utf-8")
    return re.findall(r'^__version__ = "(.+)"$', text, flags=re.MULTILINE)[0]


if __name__ == "__main__":
    setup(
        long_description=build_description((ROOT / "README.md").read_text(encoding="utf-8"), read_version()),
        long_description_content_type="text/markdown",
    )
