"""Writes the section on the GPU in docs/performance.md from the results of benchmarks/gpu/run.sh.

python benchmarks/gpu/write_page.py benchmarks/gpu/results/h100
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any


sys.path.insert(0, str(Path(__file__).parents[1]))

from update_step import COLUMNS, Case, build_row

from trl_forking.writing.files import write_atomically
from trl_forking.writing.markdown import format_table, replace_between


ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "performance.md"
START, END = "<!-- gpu: benchmarks/gpu/write_page.py writes what follows -->", "<!-- end of gpu -->"


def read(folder: Path, part: str) -> Any:
    """Read the results of a part; `None` if it has none."""
    path = folder / f"{part}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def describe_machine(environment: dict[str, Any]) -> str:
    names = {"torch": "PyTorch", "transformers": "Transformers", "trl": "TRL", "triton": "Triton"}
    versions = [
        f"{name} {environment['versions'][key]}" for key, name in names.items() if environment["versions"].get(key)
    ]
    return f"{environment['device']}, Python {environment['python']}, {', '.join(versions)}."


def describe_correctness(results: dict[str, Any] | None) -> str:
    """Say how many checks hold, and name those that do not."""
    if not results:
        return "The checks of exactness were not run."
    failed = [f"{name} ({result.get('error', 'an error')})" for name, result in results.items() if not result["holds"]]
    text = f"{len(results) - len(failed)} of {len(results)} checks of exactness hold (`correctness.py`)."
    return f"{text} These do not: {'; '.join(failed)}." if failed else text


def build_updates(update: dict[str, Any] | None) -> str:
    """Build the table of updates; a case that failed is named below it."""
    if not update:
        return "The updates were not measured."
    rows, notes = [], []
    for entry in update["results"]:
        case = Case(**entry["case"])
        if "result" not in entry:
            notes.append(f"{case}: {entry['traceback'].strip().splitlines()[-1]}")
            continue
        kind = "LoRA" if case.lora else "full"
        checkpointing = "yes" if case.gradient_checkpointing else "no"
        share = f"{entry['result']['forking']['share_of_matrix_rate']:.2f}"
        rows.append([*build_row(case, entry["result"]), kind, checkpointing, share])
    table = format_table([*COLUMNS, "weights", "gradient checkpointing", "share of the matrix rate"], rows)
    return "\n".join([table, *(f"- Not measured: {note}" for note in notes)])


def build_steps(steps: dict[str, Any] | None) -> str:
    if not steps:
        return "Whole steps were not measured."
    theirs = steps["result"]["TRL's mask"]["step"]
    rows = [
        [
            kind,
            *(f"{parts[name]:.3f} s" for name in ("step", "generation", "scoring", "rest")),
            f"{theirs / parts['step']:.2f}",
        ]
        for kind, parts in steps["result"].items()
    ]
    return format_table(["trainer", "step", "generation", "scoring", "rest", "TRL's step over it"], rows)


def build_section(folder: Path) -> str:
    """Build the text between the two marks."""
    environment = read(folder, "environment")
    if environment is None:
        raise SystemExit(f"{folder} has no environment.json: give the folder that benchmarks/gpu/run.sh wrote.")
    place = folder.resolve()
    shown = place.relative_to(ROOT) if place.is_relative_to(ROOT) else place
    parts = [
        f"{describe_machine(environment)} Results: `{shown}`, made by `benchmarks/gpu/run.sh`.",
        describe_correctness(read(folder, "correctness")),
        build_updates(read(folder, "update")),
        "Whole steps on the built-in task:",
        build_steps(read(folder, "whole_step")),
    ]
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of the results")
    parser.add_argument("--print", action="store_true", help="print the section instead of writing it")
    arguments = parser.parse_args()
    section = build_section(arguments.folder)
    if arguments.print:
        print(section)
        return
    write_atomically(PAGE, replace_between(PAGE.read_text(encoding="utf-8"), START, END, section))


if __name__ == "__main__":
    main()
