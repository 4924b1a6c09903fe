"""Trains on the built-in task and pushes the model to a stand-in for the Hub, one process per group of scenarios.

Run: python tests/workers/hub_worker.py FOLDER SCENARIO ...; it writes what each scenario saw to FOLDER/results.json.
"""

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from helpers.processes import leave_together
from workers.hub_runs import hub


def find_scenario(name: str) -> Callable:
    """Find a scenario: a function of the folder that it may write to."""
    from workers import hub_failures, hub_pushes  # huggingface_hub reads the address of the server when it is imported

    return getattr(hub_pushes if hasattr(hub_pushes, name) else hub_failures, name)


def main() -> None:
    folder, *names = sys.argv[1:]
    folder = Path(folder) / os.environ.get("RANK", "")
    folder.mkdir(exist_ok=True)
    results = {}
    for name in names:
        start = time.time()
        try:
            shared = folder.parent if "RANK" in os.environ else folder / name
            shared.mkdir(exist_ok=True)
            results[name] = find_scenario(name)(shared)
        except Exception:
            if name == "two_processes_end":
                raise
            results[name] = {"error": traceback.format_exc()}
            hub.heal()
        print(f"{name}: {time.time() - start:.1f} s", flush=True)
        (folder / "results.json").write_text(json.dumps(results))
    if "RANK" in os.environ:
        leave_together()


if __name__ == "__main__":
    main()
