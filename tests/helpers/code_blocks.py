"""Blocks of code on the pages of `docs`, and what a comment before a block says of it."""

import re
import shlex
from pathlib import Path
from string import Template
from typing import NamedTuple


DOCS = Path(__file__).parents[2] / "docs"
# A comment says why a block is not run, or why only the settings and flags in it are read. A block without a comment is run.
_BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>not run|parsed only): (?P<reason>[^\n]+?) -->\n)?"
    r"^(?P<indent> *)```(?P<language>[\w{}-]*)\n(?P<code>.*?)^ *```$",
    flags=re.MULTILINE | re.DOTALL,
)
OUTPUT = ("", "text", "diff", "json", "bibtex", "{eval-rst}")
"""Languages of blocks that show what is printed or written, or tell the site what to put there."""
_PREFIXES = re.compile(r"^(?:(?:[A-Z_]+=\S+|timeout -s KILL \d+|\$)\s+)+")


class Block(NamedTuple):
    """A block of code; `mark` is "not run", "parsed only", or empty."""

    page: str
    line: int
    mark: str
    reason: str
    language: str
    code: str


def find_pages() -> list[Path]:
    """Return the pages of the site."""
    return sorted(
        [*DOCS.glob("*.md"), *DOCS.glob("api/*.md"), *(DOCS / name / "README.md" for name in ("cards", "verdicts"))]
    )


def read_blocks(text: str, page: str) -> list[Block]:
    """Read the blocks of a page."""
    return [
        Block(
            page,
            text[: match.start("language")].count("\n") + 1,
            match["mark"] or "",
            match["reason"] or "",
            match["language"],
            match["code"],
        )
        for match in _BLOCK.finditer(text)
    ]


def read_commands(code: str) -> list[str]:
    """Read the commands of a shell script: without loops, comments and variables of the environment."""
    variables: dict[str, str] = {"run": "run"}
    commands = []
    for line in code.replace("\\\n", " ").splitlines():
        line = re.sub(r"(^|\s)#.*", "", line).strip()
        if assigned := re.fullmatch(r'([A-Z]+)="(.*)"', line):
            variables[assigned[1]] = assigned[2]
        elif line and not re.match(r"(for|done|export)\b", line):
            for command in line.split(" && "):
                command = re.sub(r"\$\(.*\)", "folder", command)
                commands.append(_PREFIXES.sub("", Template(command).safe_substitute(variables)).strip())
    return commands


def split_command(command: str) -> list[str]:
    """Split a command into words. What is left out on the page (`...`) is left out here."""
    return [word for word in shlex.split(command) if word != "..."]
