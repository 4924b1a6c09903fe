"""Writes the tables of updates and of whole steps in docs/performance.md from the results of the two benchmarks.

OMP_WAIT_POLICY=PASSIVE python benchmarks/update_step.py --repeats 2 --json benchmarks/results/update_step.json --plot docs/update_step.png
OMP_WAIT_POLICY=PASSIVE python benchmarks/whole_step.py --task countdown --json benchmarks/results/whole_step_countdown.json
OMP_WAIT_POLICY=PASSIVE python benchmarks/whole_step.py --task smollm2 --steps 3 --json benchmarks/results/whole_step_smollm2.json
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
from trl_forking.writing.numbers import format_percent


ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "update_step.json"
PAGE = ROOT / "docs" / "performance.md"
STEPS = [ROOT / "benchmarks" / "results" / f"whole_step_{task}.json" for task in ("countdown", "smollm2")]
STEPS_START = "<!-- whole steps: benchmarks/write_update_page.py writes what follows -->"
STEPS_END = "<!-- end of whole steps -->"
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


def build_steps(paths: list[Path]) -> str:
    """Build the table of whole steps of all tasks, below a line with machine and versions."""
    contents = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    rows, sentences = [], []
    for content in contents:
        theirs = content["result"]["TRL's mask"]["step"]
        for kind, parts in content["result"].items():
            seconds = [f"{parts[name]:.2f} s" for name in ("step", "generation", "scoring", "rest")]
            rows.append([content["task"], kind, *seconds, f"{theirs / parts['step']:.2f}"])
        extra = format_percent(content["result"]["no scoring pass"]["entropies"], 2)
        sentences.append(f"Taking the entropies adds {extra} to generation on {content['task']}.")
    table = format_table(("task", "trainer", "step", "generation", "scoring", "rest", "times faster"), rows)
    return f"{contents[0]['device']}; {contents[0]['versions']}.\n\n{table}\n\n{' '.join(sentences)}"


def main() -> None:
    text = replace_between(PAGE.read_text(encoding="utf-8"), START, END, build_page(RESULTS))
    write_atomically(PAGE, replace_between(text, STEPS_START, STEPS_END, build_steps(STEPS)))
    print(f"wrote the tables of {PAGE.name}")


if __name__ == "__main__":
    main()
