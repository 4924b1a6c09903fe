"""
Fuzz the trainer and the readers of its folders, within ten minutes.

    make fuzz                                    # as many trials as fit, with a seed that is printed
    make fuzz ARGS="--seed 7 --kind run"         # one trial of that seed, such as one that failed
    make fuzz ARGS="--minutes 60 --first 1000"   # more of them
"""

import argparse
import itertools
import logging
import os
import random
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path


def parse(args: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make fuzz", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="time after which no new trial begins")
    parser.add_argument("--first", type=int, help="seed of the first trial; by default a random one")
    parser.add_argument("--trials", type=int, help="most trials of each kind")
    parser.add_argument("--seed", type=int, help="run one trial, with this seed, and show its traceback")
    parser.add_argument("--kind", choices=("run", "damage", "interruption"), help="only trials of this kind")
    return parser.parse_args(args)


def silence() -> None:
    warnings.filterwarnings("ignore")
    logging.disable(logging.ERROR)
    os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}


def main() -> int:
    arguments = parse()
    silence()
    from . import damages, interruptions, runs  # what they import says a lot

    kinds = {"run": runs.try_run, "damage": damages.try_damage, "interruption": interruptions.try_interruption}
    kinds = {name: kind for name, kind in kinds.items() if arguments.kind in (None, name)}
    first = arguments.first if arguments.first is not None else random.SystemRandom().randrange(10**6)
    seeds = itertools.count(first) if arguments.seed is None else [arguments.seed]
    end, counts, failed = time.monotonic() + 60 * arguments.minutes, Counter(), []
    for number, seed in enumerate(seeds):
        for name, kind in kinds.items():
            if time.monotonic() > end or number == arguments.trials:
                return report(counts, failed, first)
            with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
                failed += try_once(name, kind, seed, Path(folder), counts)
    return report(counts, failed, first)


def try_once(name: str, kind, seed: int, folder: Path, counts: Counter) -> list[str]:
    """Run one trial; a failure is printed with the command that repeats it."""
    try:
        for what, number in kind(seed, folder).items():
            counts[what] += number
    except Exception as error:
        command = f'make fuzz ARGS="--kind {name} --seed {seed}"'
        print(f"FAILED: {command}\n{''.join(traceback.format_exception(error)[-6:])}", flush=True)
        return [command]
    return []


def report(counts: Counter, failed: list[str], first: int) -> int:
    figures = ", ".join(f"{number} {what}" for what, number in sorted(counts.items()))
    print(f"From seed {first}: {figures or 'nothing'}; {len(failed)} failed.", *failed, sep="\n", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
