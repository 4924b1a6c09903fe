"""Trains SmolLM2 on chain sums and a model of 27 million parameters on Countdown, side by side on one GPU.

    python benchmarks/gpu/models.py --json models.json --smollm2 all_tokens:0 top_20:0 --four_numbers all_tokens:0 top_20:0
    python benchmarks/gpu/models.py --json models.json --tiny  # two steps of each, for a trial on a CPU
    python benchmarks/gpu/models.py --unpack models.json       # on the machine with the checkout: into the folders of the records

A run is an arm and a seed. Both warm starts are made first, at the same time. Runs that don't finish in time have no record.
"""

import argparse
import json
import os
import sys
import threading
import time
from pathlib import Path

from seeds import EXPERIMENTS, pack, run_limited, unpack

from trl_forking.writing.files import write_atomically


ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}  # the runs share the cores
TASKS = ("smollm2", "four_numbers")
TINY_ARGUMENTS = {"smollm2": ["--num_steps", "2", "--num_problems", "4"], "four_numbers": ["--tiny"]}


class SideBySide:
    """Starts the runs of the tasks, each in a process of its own, and ends all of them when the time is over."""

    def __init__(self, folder: Path, seconds: float, tiny: bool) -> None:
        self.folder, self.end, self.tiny = folder, time.monotonic() + seconds, tiny
        self.failed: list[str] = []

    def run(self, task: str, arm: str, seed: str = "0") -> None:
        """Make one run, and print how it ended."""
        name = f"{task} {arm} {seed}"
        command = [sys.executable, str(EXPERIMENTS / f"run_{task}.py"), arm, "--seed", seed]
        command += ["--runs", str(self.folder / "runs" / task), "--results", str(self.folder / "results" / task)]
        command += TINY_ARGUMENTS[task] if self.tiny else []
        start = time.monotonic()
        log = self.folder / f"{name.replace(' ', '-')}.log"
        with log.open("w") as output:
            status = run_limited(command, self.end - start, env=ENVIRONMENT, stdout=output, stderr=output)
        if status != 0:
            self.failed.append(name)
        ending = "out of time" if status is None else f"exit code {status}"
        print(f"{name}: {ending} after {time.monotonic() - start:.0f} s: {log.read_text()[-300:]}", flush=True)

    def run_task(self, task: str, runs: list[str]) -> None:
        """Make the warm start of a task by evaluating the model before training, and then all runs at once."""
        self.run(task, "before")
        run_all([threading.Thread(target=self.run, args=(task, *run.split(":"))) for run in runs])


def run_all(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--unpack", type=Path)
    parser.add_argument(
        "--folder", type=Path, default=Path("runs") / "gpu", help="folder of models, checkpoints and records"
    )
    parser.add_argument("--seconds", type=float, default=500, help="time for the runs (default: 500)")
    for task in TASKS:
        parser.add_argument(
            f"--{task}", nargs="*", default=["top_20:0"], help="runs, such as top_20:0 (default: this one)"
        )
    parser.add_argument("--tiny", action="store_true", help="two steps of each run, for a trial")
    arguments = parser.parse_args()
    if arguments.unpack:
        print("\n".join(unpack(arguments.unpack, EXPERIMENTS / "results")))
        return
    if arguments.json is None:
        parser.error("--json names the file for the records.")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    runs = SideBySide(arguments.folder, arguments.seconds, arguments.tiny)
    run_all([threading.Thread(target=runs.run_task, args=(task, getattr(arguments, task))) for task in TASKS])
    records = pack(arguments.folder / "results")
    write_atomically(arguments.json, json.dumps(records))
    print(f"{len(records)} records: {', '.join(records)}")
    if runs.failed:
        sys.exit(f"{len(runs.failed)} runs have no record: {', '.join(runs.failed)}.")


if __name__ == "__main__":
    main()
