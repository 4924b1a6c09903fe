"""The settings and facts in which recorded runs differ."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..settings.plain import make_plain


_PAIRED = {"seed"}  # what runs are paired by is no difference of theirs


class SettingDifference(NamedTuple):
    """
    A setting that is not the same in all runs.

    Attributes:
        name (`str`): name of the setting.
        values (`dict[str, list]`): for each group of runs the values that occur in it, each once.

    Example:
    ```python
    >>> SettingDifference("learning_rate", {"a": [1e-6], "b": [1e-6, 2e-6]}).varies_within
    ['b']
    ```
    """

    name: str
    values: dict[str, list[Any]]

    @property
    def varies_within(self) -> list[str]:
        """Groups whose own runs differ in the setting."""
        return [name for name, values in self.values.items() if len(values) > 1]


def find_setting_differences(groups: Mapping[str, Sequence[dict[str, Any]]]) -> list[SettingDifference]:
    """
    Find what differs between the runs of groups, apart from their seeds.

    Args:
        groups (`Mapping[str, Sequence[dict]]`):
            For each group the records of its runs, as [`read_record`] reads them.

    Returns:
        `list[SettingDifference]`: what differs. A setting that a record does not have was at its default.

    Example:
    ```python
    >>> first = {"settings": {"learning_rate": 1e-5, "seed": 1}, "forking": {"top_entropy_quantile": 0.2}}
    >>> second = {"settings": {"seed": 2}, "forking": {"top_entropy_quantile": 1.0}}
    >>> for row in find_setting_differences({"a": [first], "b": [second]}):
    ...     print(row.name, row.values)
    learning_rate {'a': [1e-05], 'b': [1e-06]}
    top_entropy_quantile {'a': [0.2], 'b': [1.0]}
    ```
    """
    facts = {group: [_list_facts(record) for record in records] for group, records in groups.items()}
    names = dict.fromkeys(name for group in facts.values() for run in group for name in run)
    defaults = _find_defaults()
    rows = []
    for name in names:
        values = {
            group: _list_once(run.get(name, defaults.get(name)) for run in runs) for group, runs in facts.items()
        }
        if name not in _PAIRED and len(_list_once(value for own in values.values() for value in own)) > 1:
            rows.append(SettingDifference(name, values))
    return rows


def _list_once(values: Any) -> list[Any]:
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found


def _list_facts(record: dict[str, Any]) -> dict[str, Any]:
    """List the facts of a run by name: settings, model, data, rewards, where and how far it ran."""
    model, progress, batch = (_get(record, part) for part in ("model", "progress", "batch"))
    rewards = record.get("rewards")
    return {
        **_get(record, "settings"),
        **_get(record, "forking"),
        **{name: model[name] for name in ("base_model", "num_parameters", "num_trained", "adapter") if name in model},
        **{f"data: {name}": value for name, value in _get(record, "data").items()},
        **({"dataset_name": record["names"]["dataset_name"]} if "dataset_name" in _get(record, "names") else {}),
        **({"rewards": rewards} if rewards is not None else {}),
        **{name: batch[name] for name in ("num_processes", "answers") if name in batch},
        **{name: progress[name] for name in ("step", "device") if name in progress},
        **{f"version of {name}": value for name, value in _get(record, "versions").items()},
    }


def _get(record: dict[str, Any], part: str) -> dict[str, Any]:
    value = record.get(part)
    return value if isinstance(value, dict) else {}


def _find_defaults() -> dict[str, Any]:
    from ..forking_grpo_config import ForkingGRPOConfig  # which imports torch

    return {
        entry.name: make_plain(entry.default_factory() if callable(entry.default_factory) else entry.default)
        for entry in dataclasses.fields(ForkingGRPOConfig)
        if not (entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING)
    }
