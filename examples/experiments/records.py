"""The records of the runs: one JSON file for each arm and seed, committed beside the code."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any

from arms import ARMS

from trl_forking.writing.files import write_atomically


RESULTS = Path(__file__).parent / "results" / "countdown"
BEFORE = "before.json"


def locate(folder: Path, arm: str, seed: int) -> Path:
    """Return the file of a run."""
    return folder / arm / f"seed_{seed}.json"


def write(path: Path, record: dict[str, Any]) -> None:
    """Write a record with a line for each key and each column of the log, and numbers of six digits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, _format(_round(record)) + "\n")


def _format(value: Any, depth: int = 2) -> str:
    if not isinstance(value, dict) or not depth:
        return json.dumps(value)
    lines = [f"{json.dumps(key)}: {_format(each, depth - 1)}" for key, each in value.items()]
    return "{\n" + ",\n".join(lines) + "\n}" if lines else "{}"


def _round(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {str(key): _round(each) for key, each in value.items()}
    return [_round(each) for each in value] if isinstance(value, list | tuple) else value


def read(path: Path) -> dict[str, Any]:
    """Read a record."""
    return json.loads(path.read_text(encoding="utf-8"))


def read_all(folder: Path) -> dict[str, dict[int, dict[str, Any]]]:
    """
    Read the records of all runs that are finished.

    Args:
        folder (`Path`):
            Folder of the records.

    Returns:
        `dict[str, dict[int, dict]]`: for each arm its records by seed, in the order of the arms.

    Raises:
        `ValueError`: if a record has other settings than its arm, or two runs of a seed are the same.
    """
    runs = {
        name: {
            seed: read(locate(folder, name, seed))
            for seed in range(arm.num_seeds)
            if locate(folder, name, seed).exists()
        }
        for name, arm in ARMS.items()
    }
    runs = {name: records for name, records in runs.items() if records}
    for name, records in runs.items():
        for seed, record in records.items():
            if record["settings"] != _round(ARMS[name].settings):
                raise ValueError(
                    f"{locate(folder, name, seed)} was made with {record['settings']}, but arm {name} has "
                    f"{ARMS[name].settings}: delete the file and run the grid again."
                )
    check_different(runs)
    return runs


def is_plain(record: dict[str, Any]) -> bool:
    """Tell whether a rule that only vetoes or clips tokens did neither in a run, so that the run was GRPO on all counted tokens."""
    if record["settings"].get("token_selection") not in ("rare_token_veto", "entropy_clip"):
        return False
    return set(record["log"]["kept_fraction"]) == {1.0} and not any(record["log"]["clip_fraction"])


def check_different(runs: dict[str, dict[int, dict[str, Any]]]) -> None:
    """
    Check that no two arms were trained in the same way by mistake. Arms whose rule had nothing to do may be the same.

    Args:
        runs (`dict[str, dict[int, dict]]`):
            For each arm its records by seed.

    Raises:
        `ValueError`: if two arms have the same rewards at every step and the same scores with the same seed.
    """
    for (first, ours), (second, theirs) in combinations(runs.items(), 2):
        for seed in ours.keys() & theirs.keys():
            one, other = ours[seed], theirs[seed]
            if is_plain(one) and is_plain(other):
                continue
            if one["log"]["reward"] == other["log"]["reward"] and one["scores"] == other["scores"]:
                raise ValueError(
                    f"Arms {first} and {second} are the same run with seed {seed}: one of them was not trained as its "
                    "settings say. Delete both files and look at the settings."
                )
