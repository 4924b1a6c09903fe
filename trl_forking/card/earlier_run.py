"""The card of an earlier run in the same folder, which must not become part of the card of a new run."""

import logging
import os
import shutil
from pathlib import Path

from ..writing.files import write_atomically
from .existing_card import read_card
from .metadata import remove_metadata
from .run_files import CONFIG_FILE, PLOT_FILE, RECORD_FILE, read_record


logger = logging.getLogger(__name__)


def set_aside_other_run(folder: str | Path) -> Path | None:
    """
    Move the files that the card of an earlier run was made from to another folder, in the main process.

    The text that the user wrote stays in the card. The other folder also gets a copy of the whole card.

    Args:
        folder (`str` or `Path`):
            Folder of both runs. Without a record in it nothing is moved, because its files may belong to the new run.

    Returns:
        `Path` or `None`: the new place of the files, a folder that is never pushed.

    Example:
    ```python
    >>> set_aside_other_run("no-such-run") is None
    True
    ```
    """
    folder = Path(folder)
    if not (folder / RECORD_FILE).is_file():
        return None
    aside = _create_folder(folder / "_earlier_run")
    if (folder / "README.md").is_file():
        shutil.copy2(folder / "README.md", aside)
    _forget_run(folder)
    # The record is the last one: as long as it is there, a move that was interrupted is continued next time.
    names = [*sorted(path.name for path in folder.glob("eval_results*.json")), CONFIG_FILE, PLOT_FILE, RECORD_FILE]
    for name in names:
        if (folder / name).is_file():
            os.replace(folder / name, aside / name)
    logger.warning(
        f"{folder} has the card of an earlier run. The files of that card are now in {aside}: move them back before you "
        "resume that run."
    )
    return aside


def _create_folder(path: Path) -> Path:
    """Create a folder of that name, or of that name and a number if it exists."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}_{number}")
    free.mkdir()
    return free


def _forget_run(folder: Path) -> None:
    """Remove from the metadata of the card what came from the record."""
    card = read_card(folder / "README.md")
    if card is None:
        return
    try:
        run = read_record(folder)
    except ValueError:
        run = None
    remove_metadata(card, run)
    write_atomically(folder / "README.md", str(card))
