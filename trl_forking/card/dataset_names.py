"""The names of the data that a run was trained on."""

from typing import Any

from ..writing.markdown import is_repo_id


def find_datasets(run: dict[str, Any], settings: dict[str, Any]) -> list[str]:
    """
    Find the names of the data that a run was trained on.

    Args:
        run (`dict[str, Any]`):
            Facts of the run.
        settings (`dict[str, Any]`):
            Settings that repeat the run; empty if there are none.

    Returns:
        `list[str]`: the names that were given for the card, or else the name in the settings.

    Example:
    ```python
    >>> find_datasets({"names": {}}, {"dataset_name": "openai/gsm8k"})
    ['openai/gsm8k']
    ```
    """
    names = run["names"].get("dataset_name") or settings.get("dataset_name") or []
    return [names] if isinstance(names, str) else [str(name) for name in names]


def find_dataset_ids(run: dict[str, Any], settings: dict[str, Any]) -> list[str]:
    """
    Find the data sets of a run that can be on the Hub.

    Args:
        run (`dict[str, Any]`):
            Facts of the run.
        settings (`dict[str, Any]`):
            Settings that repeat the run; empty if there are none. A name without an owner in them is a file or the built-in
            task.

    Returns:
        `list[str]`: names of repositories.

    Example:
    ```python
    >>> find_dataset_ids({"names": {}}, {"dataset_name": "data.jsonl"}), find_dataset_ids({"names": {"dataset_name": "imdb"}}, {})
    ([], ['imdb'])
    ```
    """
    is_given = bool(run["names"].get("dataset_name"))
    names = find_datasets(run, settings)
    return [name for name in names if is_repo_id(name) and ".json" not in name and (is_given or "/" in name)]
