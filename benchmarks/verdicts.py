"""Counts the wrong verdicts of math-verify alone and of this reward, and writes the table of docs/rewards.md.

The pairs are in tests/rewards/cases. Each has a gold answer, an answer and the right verdict. math-verify alone reads both
as the content of a box, and has ten seconds for each pair.

    python benchmarks/verdicts.py            # writes the table, and what math-verify said of each pair
    python benchmarks/verdicts.py --print    # prints it, and every wrong verdict of this reward
"""

import argparse
import importlib.metadata
import json
import logging
import multiprocessing
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from trl_forking.rewards.math_reward import verify_math
from trl_forking.writing.files import write_atomically
from trl_forking.writing.markdown import format_table, replace_between


ROOT = Path(__file__).parents[1]
CASES = ROOT / "tests" / "rewards" / "cases"
PAGE = ROOT / "docs" / "rewards.md"
RECORD = CASES / "math_verify.json"  # what math-verify said of each pair, in the order of the pairs: 1 for right
START, END = "<!-- verdicts: benchmarks/verdicts.py writes what follows -->", "<!-- end of verdicts -->"
LIMIT = 10.0  # seconds of math-verify
HELD_OUT = "written after the rules"


class Case(NamedTuple):
    """A pair of answers, and what the verdict has to be."""

    kind: str
    gold: str
    answer: str
    right: int


def read_cases() -> list[Case]:
    """Read all pairs. Those that were written after the rules have no family."""
    lines = [
        (name, json.loads(line))
        for name in ("verifier", "held_out")
        for line in (CASES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    return [
        Case(row["kind"] if name == "verifier" else HELD_OUT, row["gold"], row["answer"], row["right"])
        for name, row in lines
    ]


def verify(case: Case) -> float | None:
    """Ask this reward."""
    return verify_math(rf"\boxed{{{case.answer}}}", case.gold)


def ask_math_verify(cases: Sequence[Case]) -> list[float]:
    """Ask math-verify alone, in a process that is replaced if it hangs."""
    replies, child, connection = [], None, None
    for case in cases:
        if child is None:
            connection, other = multiprocessing.Pipe()
            child = multiprocessing.get_context("spawn").Process(target=_serve_math_verify, args=(other,), daemon=True)
            child.start()
            connection.recv()
        connection.send((case.gold, case.answer))
        if connection.poll(LIMIT):
            replies.append(float(connection.recv()))
            continue
        child.kill()
        replies.append(0.0)
        child = None
    if child is not None:
        child.kill()
    return replies


def _serve_math_verify(connection: Connection) -> None:
    from math_verify import LatexExtractionConfig, parse, verify

    logging.disable()
    config = [LatexExtractionConfig(boxed_match_priority=0)]
    connection.send("ready")
    while True:
        gold, answer = (
            parse(rf"\boxed{{{text}}}", extraction_config=config, extraction_mode="first_match", parsing_timeout=None)
            for text in connection.recv()
        )
        connection.send(bool(verify(gold, answer, timeout_seconds=None)))


def count_errors(cases: Sequence[Case], verdicts: Sequence[float | None]) -> tuple[int, int]:
    """Count false positives and false negatives. No verdict is a false negative."""
    pairs = list(zip(cases, verdicts, strict=True))
    false_positives = sum(verdict == 1.0 and not case.right for case, verdict in pairs)
    return false_positives, sum(verdict != 1.0 and bool(case.right) for case, verdict in pairs)


def build_table(cases: Sequence[Case], theirs: Sequence[float]) -> str:
    """Build the table of Markdown from the verdicts of math-verify: one row for each family, and their sum."""
    ours = [verify(case) for case in cases]
    kinds = [*dict.fromkeys(case.kind for case in cases)]
    rows = []
    for kind in [*kinds, None]:
        places = [place for place, case in enumerate(cases) if kind in (None, case.kind)]
        chosen = [cases[place] for place in places]
        counts = [count_errors(chosen, [verdicts[place] for place in places]) for verdicts in (theirs, ours)]
        num_wrong = sum(not case.right for case in chosen)
        numbers = [len(chosen), num_wrong, *counts[0], *counts[1]]
        rows.append([kind or "all", *map(str, numbers)])
    version = importlib.metadata.version("math-verify")
    header = ["family", "pairs", "of them wrong", *(f"{who}: false {kind}" for who in (f"math-verify {version} alone", "this reward")
              for kind in ("positives", "negatives"))]  # fmt: skip
    return format_table(header, rows)


def main() -> None:
    """Write or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--print", action="store_true", help="print the table instead of writing it")
    arguments = parser.parse_args()
    cases = read_cases()
    theirs = ask_math_verify(cases)
    table = build_table(cases, theirs)
    if arguments.print:
        print(table)
        for case in cases:
            if verify(case) != float(case.right):
                print(f"wrong verdict: {case}")
        return
    record = {"version": importlib.metadata.version("math-verify"), "verdicts": "".join(f"{v:.0f}" for v in theirs)}
    write_atomically(RECORD, json.dumps(record))
    write_atomically(PAGE, replace_between(PAGE.read_text(encoding="utf-8"), START, END, table.strip()))
    print(f"wrote the table of {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
