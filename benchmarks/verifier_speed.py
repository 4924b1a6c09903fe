"""Answers that the verifier judges per second on one core, before and after a change.

Both verifiers run in this process, each with a worker process of its own, and take turns. The one before is read from the
history of this repository. Every round has all pairs of tests/rewards/cases in another order, inside a completion of a few
hundred characters.

    python benchmarks/verifier_speed.py --before c272007
"""

import argparse
import importlib
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from trl_forking.rewards.math_reward import verify_math
from trl_forking.writing.markdown import format_table


ROOT = Path(__file__).parents[1]
CASES = ROOT / "tests" / "rewards" / "cases" / "verifier.jsonl"
FILES = ("math_reward.py", "math_worker.py")
TIMED_OUT = 0.1
REASONING = "We add what is known, and we solve for what is not. " * 8

Verify = Callable[[str, str], float | None]


def load_before(revision: str, folder: Path) -> Verify:
    """Read the two modules of the old verifier from the history and import them."""
    package = folder / "verifier_before"
    package.mkdir()
    (package / "__init__.py").touch()
    for name in FILES:
        content = subprocess.run(
            ["git", "show", f"{revision}:trl_forking/{name}"], cwd=ROOT, capture_output=True, check=True
        ).stdout
        (package / name).write_bytes(content)
    sys.path.insert(0, str(folder))
    return importlib.import_module("verifier_before.math_reward").verify_math


def read_pairs() -> list[tuple[str, str]]:
    """Read completions and gold answers."""
    rows = [json.loads(line) for line in CASES.read_text(encoding="utf-8").splitlines()]
    return [(rf"{REASONING}\boxed{{{row['answer']}}}", row["gold"]) for row in rows]


def measure(verify: Verify, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], float]:
    """Judge all pairs and return the seconds of each."""
    seconds = {}
    for pair in pairs:
        start = time.perf_counter()
        verify(*pair)
        seconds[pair] = time.perf_counter() - start
    return seconds


def print_rates(title: str, rounds: dict[str, list[dict]], pairs: Sequence[tuple[str, str]]) -> None:
    """Print the answers per second of both verifiers on some of the pairs, and their ratio."""
    rates = {name: [len(pairs) / sum(map(row.get, pairs)) for row in rows] for name, rows in rounds.items()}
    rows = [[name, statistics.median(values), min(values), max(values)] for name, values in rates.items()]
    print(f"{title}: {len(pairs)} pairs\n")
    print(format_table(["verifier", "answers per second, median", "slowest round", "fastest round"], rows, ".0f"))
    ratios = [after / before for before, after in zip(rates["before"], rates["after"], strict=True)]
    print(f"\nafter / before: {statistics.median(ratios):.1f} (rounds {min(ratios):.1f} to {max(ratios):.1f})\n")


def main() -> None:
    """Print the rates of both verifiers and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", default="c272007", help="revision of the old verifier")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each verifier")
    arguments = parser.parse_args()
    pairs, source = read_pairs(), random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        verifiers = {"before": load_before(arguments.before, Path(folder)), "after": verify_math}
        for verify in verifiers.values():
            verify(r"\boxed{1.0}", "1")  # start its process
        rounds: dict[str, list[dict]] = {name: [] for name in verifiers}
        for _ in range(arguments.rounds):
            source.shuffle(pairs)
            for name, verify in verifiers.items():
                rounds[name].append(measure(verify, pairs))
    slow = {pair for rows in rounds.values() for row in rows for pair in pairs if row[pair] > TIMED_OUT}
    print_rates("All pairs", rounds, pairs)
    print_rates(
        f"Pairs that took both less than {TIMED_OUT} s in every round", rounds, [p for p in pairs if p not in slow]
    )


if __name__ == "__main__":
    main()
