"""
Run the grid: every arm with every seed, two runs at a time with one thread each. Finished runs are not repeated.

    OMP_WAIT_POLICY=PASSIVE python examples/experiments/run_grid.py
    OMP_WAIT_POLICY=PASSIVE python examples/experiments/run_grid.py --arms top_20 all_tokens --seeds 0 1

A run takes about four minutes. After an interruption, the same command goes on: at most the runs that had begun are lost.
"""

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from arms import ARMS, HEADLINE
from records import BEFORE, RESULTS, locate, read_all


RUN_ARM = Path(__file__).with_name("run_arm.py")


def list_jobs(arms: list[str], seeds: list[int] | None, folder: Path) -> list[tuple[str, int]]:
    """
    List the runs that are missing, in the order in which they are made.

    The first five seeds of all arms come before the other seeds, and one seed of all arms before the next.

    Args:
        arms (`list[str]`):
            Names of arms.
        seeds (`list[int]`, *optional*):
            Seeds. `None` for all seeds of each arm.
        folder (`Path`):
            Folder of the records.

    Returns:
        `list[tuple[str, int]]`: arm and seed of each run.
    """
    order = list(ARMS)
    jobs = [
        (name, seed)
        for name in arms
        for seed in (range(ARMS[name].num_seeds) if seeds is None else seeds)
        if not locate(folder, name, seed).exists()
    ]
    return sorted(jobs, key=lambda job: (job[0] not in HEADLINE, job[1], order.index(job[0])))


def run_job(arm: str, seed: int, folder: Path) -> bool:
    """Run an arm with a seed in a process of its own, and return whether it finished."""
    start = time.perf_counter()
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, str(RUN_ARM), arm, "--seed", str(seed), "--results", str(folder)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    if result.returncode != 0:
        print(f"{arm}, seed {seed}: failed\n{result.stderr[-2000:]}", file=sys.stderr, flush=True)
        return False
    print(f"{arm}, seed {seed}: {time.perf_counter() - start:.0f} s", flush=True)
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the grid of arms and seeds on the built-in task.")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS), help="arms (default: all)")
    parser.add_argument("--seeds", nargs="+", type=int, help="seeds (default: all of each arm)")
    parser.add_argument("--workers", type=int, default=2, help="runs at a time (default: 2)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the records")
    arguments = parser.parse_args()

    jobs = list_jobs(arguments.arms, arguments.seeds, arguments.results)
    print(f"{len(jobs)} runs, {arguments.workers} at a time", flush=True)
    with ThreadPoolExecutor(arguments.workers) as pool:
        if not (arguments.results / BEFORE).exists():
            jobs.insert(0, ("before", 0))
        futures = [pool.submit(run_job, arm, seed, arguments.results) for arm, seed in jobs]
        try:
            failed = sum(not future.result() for future in futures)
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            sys.exit(130)
    read_all(arguments.results)  # an error where two arms are the same
    if failed:
        sys.exit(f"{failed} runs failed: see their messages above, and run the same command again.")


if __name__ == "__main__":
    main()
