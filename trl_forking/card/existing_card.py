"""The card that is already in a folder: which part of it the library wrote, and what its user wrote."""

import os
import re
from pathlib import Path

import yaml
from huggingface_hub import ModelCard, ModelCardData


BEGIN = "<!-- trl-forking: begin. This part is made again at every save; your text before and after it is kept -->"
END = "<!-- trl-forking: end mark -->"
# Version 0.1.0 wrote the first mark in other words.
_BEGIN = re.compile(r"<!-- trl-forking: (?:begin\.|from here) [^\n]*? -->")
_HEADINGS = ("Quick start", "Results", "Training procedure", "Limits", "Citations")


def read_card(path: Path) -> ModelCard | None:
    """
    Read the card of a folder. A card of another library, or one that can't be read, is renamed.

    Args:
        path (`Path`):
            `README.md` of the folder.

    Returns:
        [`~huggingface_hub.ModelCard`] or `None`: the card, or `None` if there is none whose text must be kept.

    Example:
    ```python
    >>> read_card(Path("no-such-run/README.md")) is None
    True
    ```
    """
    if not path.is_file():
        return None
    try:
        card = ModelCard.load(path, ignore_metadata_errors=True)
    except (ValueError, yaml.YAMLError):
        os.replace(path, path.with_name("_README.broken.md"))  # names that begin with _ are never pushed
        return None
    if _BEGIN.search(card.text):
        return card
    if card.text.strip().startswith(ModelCard.from_template(ModelCardData()).text.strip()):
        return None  # the empty form that PEFT puts beside an adapter
    if "generated_from_trainer" in (card.data.tags or []):
        os.replace(path, path.with_name("_README.previous.md"))
        return None
    return card


def split_card(card: ModelCard | None) -> tuple[str, str, str]:
    """
    Split the text of a card at the marks.

    Args:
        card ([`~huggingface_hub.ModelCard`], *optional*):
            Card.

    Returns:
        `tuple[str, str, str]`: the text before the marks, between them and after them.

    Example:
    ```python
    >>> split_card(ModelCard(f"Mine.\\n{BEGIN}\\n# Title\\n{END}\\nThanks."))
    ('Mine.', '\\n# Title\\n', 'Thanks.')
    ```
    """
    if card is None:
        return "", "", ""
    text = card.text.replace("\r\n", "\n")
    begin = _BEGIN.search(text)
    if begin is None:
        return "", "", text.strip()
    before, rest = text[: begin.start()], text[begin.end() :]
    block, mark, after = rest.rpartition(END)
    return before.strip(), block if mark else rest, after.strip() if mark else ""


def find_own_sections(block: str) -> list[str]:
    """
    Find the sections that a user added between the marks.

    Args:
        block (`str`):
            Text between the marks.

    Returns:
        `list[str]`: the `##` sections whose heading is not one of the template.

    Example:
    ```python
    >>> find_own_sections("# Title\\n## Intended use\\nSums.\\n## Limits\\nOne seed.")
    ['## Intended use\\nSums.']
    ```
    """
    own: list[list[str]] = []
    is_own, fence = False, ""
    for line in block.splitlines():
        if match := re.match(r"(`{3,})", line):
            fence = "" if fence and line.startswith(fence) else fence or match[1]
        elif not fence and line.startswith(("# ", "## ")):
            is_own = line.startswith("## ") and line[3:].strip() not in _HEADINGS
            own += [[]] if is_own else []
        if is_own:
            own[-1].append(line)
    return ["\n".join(lines).strip() for lines in own]
