"""Makes runs of the grid side by side, one on each core of a machine, and packs their records into one file.

    python benchmarks/gpu/seeds.py --json seeds.json --workers 16
    python benchmarks/gpu/seeds.py --json seeds.json --seeds 4  # of every arm
    python benchmarks/gpu/seeds.py --unpack seeds.json  # on the machine with the checkout: into the folder of the records

Runs whose records are in the checkout are not repeated. Runs that don't finish in time are not packed.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from trl_forking.writing.files import write_atomically


EXPERIMENTS = Path(__file__).parents[2] / "examples" / "experiments"
RECORDS = EXPERIMENTS / "results" / "countdown"


def make_runs(arms: list[str], seeds: list[str], workers: int, seconds: float, tiny: bool, folder: Path) -> None:
    """Run the grid until it is finished or the time is over."""
    command = [sys.executable, str(EXPERIMENTS / "run_grid.py"), "--results", str(folder), "--workers", str(workers)]
    command += ["--seeds", *seeds] if seeds else []
    if tiny:
        command = [sys.executable, str(EXPERIMENTS / "run_arm.py"), "top_20", "--results", str(folder)]
        command += ["--num_steps", "2", "--num_problems", "16"]
    elif arms:
        command += ["--arms", *arms]
    run_limited(command, seconds, env=os.environ | {"CUDA_VISIBLE_DEVICES": ""})


def run_limited(command: list[str], seconds: float, **kwargs: Any) -> int | None:
    """Run a command, and end it with all its processes when the time is over. Return its status, `None` if it was ended."""
    process = subprocess.Popen(command, start_new_session=True, **kwargs)
    try:
        return process.wait(max(seconds, 0))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return None


def pack(folder: Path) -> dict[str, str]:
    """Read all records of a folder, by their name."""
    return {path.relative_to(folder).as_posix(): path.read_text() for path in sorted(folder.rglob("*.json"))}


def unpack(file: Path, folder: Path) -> list[str]:
    """Write the records that a folder lacks. Return their names."""
    written = []
    for name, text in json.loads(file.read_text()).items():
        path = folder / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, text)
            written.append(name)
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--unpack", type=Path)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--seconds", type=float, default=450, help="time for the runs (default: 450)")
    parser.add_argument("--arms", nargs="*", default=[], help="arms of the grid (default: all, the headline first)")
    parser.add_argument("--seeds", nargs="*", default=[], help="seeds of the grid (default: all of each arm)")
    parser.add_argument("--tiny", action="store_true", help="one short run, for a trial")
    arguments = parser.parse_args()
    if arguments.unpack:
        print("\n".join(unpack(arguments.unpack, RECORDS)))
        return
    if arguments.json is None:
        parser.error("--json names the file for the records.")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "records"
        if not arguments.tiny:
            shutil.copytree(RECORDS, folder)
        known = pack(folder)
        make_runs(arguments.arms, arguments.seeds, arguments.workers, arguments.seconds, arguments.tiny, folder)
        records = {name: text for name, text in pack(folder).items() if name not in known}
    write_atomically(arguments.json, json.dumps(records))
    print(f"{len(records)} records: {', '.join(records)}")


if __name__ == "__main__":
    main()
