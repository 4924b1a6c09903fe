"""
The files of a run that its card is made from.

`forking_run.json` has the facts of the run, and `forking_config.yaml` the settings of the command line that repeat it. Both
are pushed with the model and contain no token.
"""

import json
from pathlib import Path
from typing import Any

import yaml

from ..run.yaml_text import load_yaml
from ..settings.plain import make_plain
from ..settings.secrets import remove_secrets
from ..writing.files import write_atomically
from .changed_settings import clean_settings
from .record_schema import find_damage


RECORD_FILE = "forking_run.json"
CONFIG_FILE = "forking_config.yaml"
PLOT_FILE = "training.png"
FORMAT = 1
"""Version of the record. It changes when older versions of the package cannot read the record any more."""


def write_record(folder: str | Path, run: dict[str, Any]) -> None:
    """
    Write the facts of a run into its folder.

    Args:
        folder (`str` or `Path`):
            Folder of the run.
        run (`dict[str, Any]`):
            Facts of the run, as [`~trl_forking.card.run_record.collect_run`] collects them. Secrets are removed.
    """
    plain = remove_secrets(make_plain(run))
    write_atomically(Path(folder) / RECORD_FILE, json.dumps(plain, ensure_ascii=False, allow_nan=False) + "\n")


def read_record(folder: str | Path, is_whole: bool = False) -> dict[str, Any]:
    """
    Read the facts of a run.

    Args:
        folder (`str` or `Path`):
            Folder of the run.
        is_whole (`bool`, *optional*, defaults to `False`):
            Whether every part of the record has to be there.

    Returns:
        `dict[str, Any]`: facts of the run, as [`~trl_forking.card.run_record.collect_run`] collects them.

    Raises:
        `ValueError`: if the folder or the record is missing, or if the record is damaged or has another version.

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
            f"{folder} has no {RECORD_FILE}, so no run of ForkingGRPOTrainer was saved there: give the output_dir of a run."
        )
    try:
        run = make_plain(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read ({error}): restore it from a copy, or resume the run.") from error
    if isinstance(run, dict) and run.get("format") != FORMAT:
        raise ValueError(
            f"{path} is not of this version of trl-forking: make the card with the version that wrote it."
        )
    if place := find_damage(run, is_whole):
        raise ValueError(
            f"{path} is damaged ({place} is missing or wrong): restore it from a copy, or resume the run."
        )
    return run


def write_config(folder: str | Path, text: str) -> None:
    """
    Write the settings that repeat a run into its folder. `--config` and the card read them.

    Args:
        folder (`str` or `Path`):
            Folder of the run.
        text (`str`):
            YAML, as [`~trl_forking.commands.settings.format_settings`] writes it. Tokens are removed.

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
    write_atomically(Path(folder) / CONFIG_FILE, yaml.safe_dump(kept, sort_keys=False, width=1000, allow_unicode=True))


def read_config(folder: str | Path) -> str | None:
    """
    Read the settings that repeat a run, without what must not be published.

    Args:
        folder (`str` or `Path`):
            Folder of the run.

    Returns:
        `str` or `None`: YAML, or `None` if the run has no such file.

    Raises:
        `ValueError`: if the file is not a mapping in YAML.

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
        settings = load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, RecursionError, yaml.YAMLError) as error:
        raise ValueError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{path} has no `key: value` lines: write one per setting, or move the file away.")
    return yaml.safe_dump(clean_settings(settings), sort_keys=False, width=1000, allow_unicode=True).strip()
