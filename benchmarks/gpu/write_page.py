"""Writes what was measured on a GPU into docs/performance.md and the README in both languages, from the results of benchmarks/gpu/run.sh.

python benchmarks/gpu/write_page.py                  # the committed results
python benchmarks/gpu/write_page.py results --print  # others, printed
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple


sys.path.insert(0, str(Path(__file__).parents[1]))

from update_step import AT_HAND, Case, plot_results

from trl_forking.writing.files import write_atomically
from trl_forking.writing.markdown import format_table, replace_between, replace_phrases


ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results" / "h200"
PAGE, README, README_ZH = ROOT / "docs" / "performance.md", ROOT / "README.md", ROOT / "README.zh.md"
PLOT = ROOT / "docs" / "gpu_update.png"
START, END = "<!-- gpu: benchmarks/gpu/write_page.py writes what follows -->", "<!-- end of gpu -->"
CHINESE = {
    **{"model": "模型", "longest answer": "最长的回答", "trained": "训练的词元"},
    **{
        " yes |": " 是 |",
        " no |": " 否 |",
        "checkpointing": "梯度检查点",
        "update": "更新",
        "with scoring pass": "含打分前向",
        "memory": "显存",
        " x ": " 倍 ",
    },
}
"""What stands in the Chinese README in place of each phrase of the table. Names of models stay."""


class Ratios(NamedTuple):
    """Times of TRL's mask over ours, without and with the scoring pass, and our peak memory over that of TRL's mask."""

    update: float
    with_scoring: float
    memory: float


def read(folder: Path, part: str) -> Any:
    """Read the results of a part; `None` if it has none."""
    path = folder / f"{part}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def compute_ratios(result: dict[str, dict[str, float]]) -> Ratios:
    ours, mask = result["forking"], result["TRL's mask"]
    totals = (ours["update"], ours["update"] + ours["scoring"])
    return Ratios(*(mask["update"] / total for total in totals), ours["peak_bytes"] / mask["peak_bytes"])


def list_measured(update: dict[str, Any]) -> list[tuple[Case, dict[str, Any]]]:
    """List the cases that have a result."""
    return [(Case(**entry["case"]), entry["result"]) for entry in update["results"] if "result" in entry]


def describe_machine(environment: dict[str, Any]) -> str:
    names = {"torch": "PyTorch", "transformers": "Transformers", "trl": "TRL", "peft": "PEFT"}
    names |= {"bitsandbytes": "bitsandbytes"}
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
    if failed:
        return f"{text} These do not: {'; '.join(failed)}."
    errors = [
        max(result["error"] for name, result in results.items() if name.endswith(dtype))
        for dtype in ("float32", "bfloat16")
    ]
    return (
        f"{text} The largest relative error of a gradient is {errors[0]:.0e} in float32 and {errors[1]:.0e} in bfloat16. "
        "At a share of 1.0 with TRL's tensors the gradient is TRL's bit for bit, and a resumed run is the uninterrupted "
        "one bit for bit, in both types."
    )


def describe_qlora(results: dict[str, Any] | None) -> str:
    if not results or "left_out" in results:
        return "QLoRA was not run."
    parts = [
        f"{result['error']:.0e} in {dtype} (bound {result['bound']:.0e}: {'holds' if result['holds'] else 'does not hold'})"
        for dtype, result in results.items()
    ]
    rounding = results["bfloat16"]["dense_from_float32"]
    return (
        f"QLoRA: the gradient of the sparse update differs from that of the dense one by {' and '.join(parts)}. "
        f"In bfloat16 the dense gradient itself differs from the one in float32 by {rounding:.0e} on this small model."
    )


def describe_targets(measured: list[tuple[Case, dict[str, Any]]]) -> str:
    """Say for each row at 20 % whether it meets the three targets."""
    parts = []
    for case, result in measured:
        if case.rho != 0.2:
            continue
        ratios = compute_ratios(result)
        missed = [
            name
            for name, meets in (
                ("time without scoring", ratios.update >= 3.0),
                ("time with scoring", ratios.with_scoring >= 2.0),
                ("memory", ratios.memory <= 0.6),
            )
            if not meets
        ]
        groups = " and half of the groups zero-variance" if case.zero_variance_share else ""
        memory = ", with checkpointing" if case.gradient_checkpointing else ""
        verdict = f"misses {' and '.join(missed)}" if missed else "meets all three"
        parts.append(f"- {name_model(case)}, up to {case.completion_length:,} tokens{groups}{memory}: {verdict}.")
    return (
        "The targets at a share of 20 %: at least 3 times as fast as TRL's mask without scoring, 2 times with it, and at "
        "most 0.6 of its peak memory.\n\n" + "\n".join(parts)
    )


def name_model(case: Case) -> str:
    return case.shape + (", LoRA" if case.lora else "")


def name_trained(case: Case) -> str:
    rule = "" if case.token_selection == "high_entropy" else f", {case.token_selection.replace('_', ' ')}"
    return f"{100 * case.rho:g} %{rule}"


COLUMNS = (
    *(
        "model",
        "trained",
        "longest",
        "answers",
        "a micro-batch",
        "checkpointing",
        "zero-variance groups",
        "TRL's mask",
    ),
    *("here", "scoring", "times faster", "with scoring", "memory", "peak here", "of the matrix rate"),
)


def build_row(case: Case, result: dict[str, Any]) -> list[str]:
    """Build the row of a case."""
    ours, mask, ratios = result["forking"], result["TRL's mask"], compute_ratios(result)
    return [
        *(name_model(case), name_trained(case), f"{case.completion_length:,}"),
        *(f"{case.num_answers}", f"{case.micro_batch}", "yes" if case.gradient_checkpointing else "no"),
        *({0.0: "none", 0.5: "half"}[case.zero_variance_share], f"{mask['update']:.2f} s", f"{ours['update']:.2f} s"),
        *(f"{ours['scoring']:.2f} s", *(f"{ratio:.2f}" for ratio in ratios)),
        *(f"{ours['peak_bytes'] / 1e9:.1f} GB", f"{100 * ours['share_of_matrix_rate']:.0f} %"),
    ]


def build_updates(update: dict[str, Any] | None) -> str:
    """Build the table of updates; a case that failed is named below it."""
    if not update:
        return "The updates were not measured."
    measured = list_measured(update)
    failed = [entry for entry in update["results"] if "result" not in entry]
    notes = [f"- Not measured: {entry['case']}: {entry['traceback'].strip().splitlines()[-1]}" for entry in failed]
    table = format_table(COLUMNS, [build_row(*each) for each in measured])
    parts = [describe_targets(measured), "\n".join([table, *notes]), *map(describe_forks, measured)]
    return "\n\n".join(part for part in parts if part)


def describe_forks(entry: tuple[Case, dict[str, Any]]) -> str:
    """Compare the fork path with the full path, where it was measured."""
    case, result = entry
    if AT_HAND not in result:
        return ""
    full, mask, fork = result["forking"], result["TRL's mask"], result[AT_HAND]
    faster = "faster" if fork["update"] < full["update"] else "slower"
    return (
        f"The fork path with keys and values at hand takes {fork['update']:.2f} s at {case.completion_length:,} tokens, where "
        f"the full path takes {full['update']:.2f} s: it is {faster} here. Its memory is "
        f"{fork['peak_bytes'] / mask['peak_bytes']:.2f} of that of TRL's mask, and that of the full path is "
        f"{full['peak_bytes'] / mask['peak_bytes']:.2f}."
    )


def build_steps(steps: dict[str, Any] | None) -> str:
    if not steps:
        return "Whole steps were not measured."
    rows = [
        [kind, *(f"{parts[name]:.3f} s" for name in ("step", "generation", "scoring", "rest"))]
        for kind, parts in steps["result"].items()
    ]
    return "Whole steps on the built-in task:\n\n" + format_table(
        ("trainer", "step", "generation", "scoring", "rest"), rows
    )


def build_section(folder: Path) -> str:
    """Build the text of the page between the two marks."""
    environment = read(folder, "environment")
    if environment is None:
        raise SystemExit(f"{folder} has no environment.json: give the folder that benchmarks/gpu/run.sh wrote.")
    place = folder.resolve()
    shown = place.relative_to(ROOT) if place.is_relative_to(ROOT) else place
    parts = [
        f"{describe_machine(environment)} Results: `{shown}`, made by `benchmarks/gpu/run.sh`.",
        describe_correctness(read(folder, "correctness")),
        describe_qlora(read(folder, "qlora")),
        build_updates(read(folder, "update")),
        build_steps(read(folder, "whole_step")),
    ]
    return "\n\n".join(parts)


def build_readme(folder: Path, phrases: Mapping[str, str] | None = None) -> str:
    """
    Build the short table of the README: how many times faster than TRL's mask, and the memory over its memory.

    It has the rows without zero-variance groups and without other rules. The page has all.

    `phrases` says it in another language.
    """
    rows = []
    for case, result in list_measured(read(folder, "update")):
        if case.zero_variance_share or case.token_selection != "high_entropy":
            continue
        ratios = compute_ratios(result)
        rows.append(
            (
                name_model(case),
                f"{case.completion_length:,}",
                "yes" if case.gradient_checkpointing else "no",
                name_trained(case),
                f"{ratios.update:.1f} x",
                f"{ratios.with_scoring:.1f} x",
                f"{ratios.memory:.2f}",
            )
        )
    columns = ("model", "longest answer", "checkpointing", "trained", "update", "with scoring pass", "memory")
    return replace_phrases(format_table(columns, rows), phrases or {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=RESULTS, help="folder of the results")
    parser.add_argument("--print", action="store_true", help="print the section instead of writing it")
    arguments = parser.parse_args()
    section = build_section(arguments.folder)
    if arguments.print:
        print(section)
        return
    contents = {PAGE: section, README: build_readme(arguments.folder)}
    contents[README_ZH] = build_readme(arguments.folder, CHINESE)
    for file, content in contents.items():
        write_atomically(file, replace_between(file.read_text(encoding="utf-8"), START, END, content))
    plot_results([entry for entry in read(arguments.folder, "update")["results"] if "result" in entry], PLOT)
    print(f"wrote {', '.join(file.name for file in (*contents, PLOT))}")


if __name__ == "__main__":
    main()
