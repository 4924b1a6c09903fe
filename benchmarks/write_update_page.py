"""Writes the tables of update times in docs/performance.md and the README from the results of benchmarks/update_step.py.

OMP_WAIT_POLICY=PASSIVE python benchmarks/update_step.py --repeats 2 --json benchmarks/results/update_step.json --plot docs/update_step.png
python benchmarks/write_update_page.py
"""

import json
import sys
from pathlib import Path
from typing import Any


sys.path.insert(0, str(Path(__file__).parent))

from update_step import COLUMNS, Case, build_even, build_row

from trl_forking.writing.files import write_atomically
from trl_forking.writing.markdown import format_table, replace_between


ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "update_step.json"
PAGE, README = ROOT / "docs" / "performance.md", ROOT / "README.md"
START, END = "<!-- updates: benchmarks/write_update_page.py writes what follows -->", "<!-- end of updates -->"
SHOWN = (Case(), Case(zero_variance_share=0.5), Case(rho=1.0), build_even())  # the rows of the README


def read_results(path: Path) -> tuple[dict[str, Any], dict[Case, dict[str, Any]]]:
    """Read the description of the machine, and the result of each case."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return content, {Case(**entry["case"]): entry["result"] for entry in content["results"]}


def build_page(path: Path) -> str:
    """Build the table of all cases, below a line with machine and versions."""
    content, results = read_results(path)
    table = format_table(COLUMNS, [build_row(case, result) for case, result in results.items()])
    return f"{content['device']}; {content['versions']}.\n\n{table}"


def build_readme(path: Path) -> str:
    """Build the short table: how many times faster than TRL's mask, and the memory over that of TRL's mask."""
    _, results = read_results(path)
    rows = []
    for case in SHOWN:
        ours, mask = results[case]["forking"], results[case]["TRL's mask"]
        rows.append(
            (
                case.lengths,
                f"{100 * case.rho:g} %",
                {0.0: "none", 0.5: "half"}[case.zero_variance_share],
                f"{mask['update'] / ours['update']:.1f} x",
                f"{mask['update'] / (ours['update'] + ours['scoring']):.1f} x",
                f"{ours['peak_bytes'] / mask['peak_bytes']:.2f}",
            )
        )
    columns = ("lengths of answers", "trained", "zero-variance groups", "update", "with scoring pass", "memory")
    return format_table(columns, rows)


def main() -> None:
    for file, content in ((PAGE, build_page(RESULTS)), (README, build_readme(RESULTS))):
        write_atomically(file, replace_between(file.read_text(encoding="utf-8"), START, END, content))
    print(f"wrote the tables of {PAGE.name} and {README.name}")


if __name__ == "__main__":
    main()
