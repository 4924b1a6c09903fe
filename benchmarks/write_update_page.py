"""Writes the table of update times in docs/performance.md from the results of benchmarks/update_step.py.

OMP_WAIT_POLICY=PASSIVE python benchmarks/update_step.py --repeats 2 --json benchmarks/results/update_step.json --plot docs/update_step.png
python benchmarks/write_update_page.py
"""

import json
import sys
from pathlib import Path
from typing import Any


sys.path.insert(0, str(Path(__file__).parent))

from update_step import COLUMNS, Case, build_row

from trl_forking.writing.files import write_atomically
from trl_forking.writing.markdown import format_table, replace_between


ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "update_step.json"
PAGE = ROOT / "docs" / "performance.md"
START, END = "<!-- updates: benchmarks/write_update_page.py writes what follows -->", "<!-- end of updates -->"


def read_results(path: Path) -> tuple[dict[str, Any], dict[Case, dict[str, Any]]]:
    """Read the description of the machine, and the result of each case."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return content, {Case(**entry["case"]): entry["result"] for entry in content["results"]}


def build_page(path: Path) -> str:
    """Build the table of all cases, below a line with machine and versions."""
    content, results = read_results(path)
    table = format_table(COLUMNS, [build_row(case, result) for case, result in results.items()])
    return f"{content['device']}; {content['versions']}.\n\n{table}"


def main() -> None:
    write_atomically(PAGE, replace_between(PAGE.read_text(encoding="utf-8"), START, END, build_page(RESULTS)))
    print(f"wrote the table of {PAGE.name}")


if __name__ == "__main__":
    main()
