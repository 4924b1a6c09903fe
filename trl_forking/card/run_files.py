"""
The files of a run that its card is made from.

`forking_run.json` has the facts, `forking_config.yaml` the settings of the command line that repeat the run. Both are
pushed with the model and have no token.
"""

import json
import os
from pathlib import Path
from typing import Any

import yaml

from .changed_settings import clean_settings, remove_secrets


RECORD_FILE = "forking_run.json"
CONFIG_FILE = "forking_config.yaml"
FORMAT = 1
"""Version of the record; it changes when an older program could not read it."""


def write_whole(path: str | Path, content: str | bytes) -> None:
    """
    Write a file as a whole or not at all.

    Args:
        path (`str` or `Path`):
            File to write or replace.
        content (`str` or `bytes`):
            Its content.

    Raises:
        `OSError`: if the disk is full or the folder can't be written to; what was there is left as it was.

    Example:
    ```python
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "README.md"
    >>> write_whole(path, "text")
    >>> path.read_text()
    'text'
    ```
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"_{path.name}.tmp")  # what begins with _ is never pushed
    try:
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(unfinished, path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise


def write_record(folder: str | Path, run: dict[str, Any]) -> None:
    """
    Write the facts of a run into its folder.

    Args:
        folder (`str` or `Path`):
            Folder of the run.
        run (`dict[str, Any]`):
            What [`~trl_forking.card.run_record.collect_run`] collected.
    """
    write_whole(Path(folder) / RECORD_FILE, json.dumps(run, ensure_ascii=False, allow_nan=False) + "\n")


def read_record(folder: str | Path) -> dict[str, Any]:
    """
    Read the facts of a run.

    Args:
        folder (`str` or `Path`):
            Folder of the run.

    Returns:
        `dict[str, Any]`: what [`~trl_forking.card.run_record.collect_run`] collected.

    Raises:
        `ValueError`: if the folder or the record is missing, or the record is broken or of a later version.

    Example:
    ```python
    >>> read_record("no-such-run")
    Traceback (most recent call last):
        ...
    ValueError: no-such-run: there is no such folder.
    ```
    """
    path = Path(folder) / RECORD_FILE
    if not path.parent.is_dir():
        raise ValueError(f"{folder}: there is no such folder.")
    if not path.is_file():
        raise ValueError(
            f"{folder} has no {RECORD_FILE}, so no run of ForkingGRPOTrainer was saved there: name the output_dir of one."
        )
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}): take it from a copy, or resume the run.") from error
    if not isinstance(run, dict) or run.get("format") != FORMAT:
        raise ValueError(f"{path} is not of this version of trl-forking: make the card with the one that wrote it.")
    return run


def write_config(folder: str | Path, text: str) -> None:
    """
    Write the settings that repeat a run into its folder, for `--config` and for the card.

    Args:
        folder (`str` or `Path`):
            Folder of the run.
        text (`str`):
            YAML, as [`~trl_forking.commands.settings.format_settings`] writes it. Tokens are left out.

    Example:
    ```python
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> write_config(folder, "max_steps: 3\\nhub_token: hf_secret\\n")
    >>> print(read_config(folder))
    max_steps: 3
    ```
    """
    settings = yaml.safe_load(text) or {}
    kept = remove_secrets(settings)
    write_whole(Path(folder) / CONFIG_FILE, yaml.safe_dump(kept, sort_keys=False, width=1000, allow_unicode=True))


def read_config(folder: str | Path) -> str | None:
    """
    Read the settings that repeat a run, as they can be published.

    Args:
        folder (`str` or `Path`):
            Folder of the run.

    Returns:
        `str` or `None`: YAML, or `None` where the run has no such file.

    Raises:
        `ValueError`: if the file is no mapping in YAML.

    Example:
    ```python
    >>> read_config("no-such-run") is None
    True
    ```
    """
    path = Path(folder) / CONFIG_FILE
    if not path.is_file():
        return None
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{path} has no `key: value` lines: write one per setting, or move the file away.")
    return yaml.safe_dump(clean_settings(settings), sort_keys=False, width=1000, allow_unicode=True).strip()
