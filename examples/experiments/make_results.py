"""
Write docs/results.md, its plots, and the table of the README in both languages from the records in results/.

    make results
"""

import json
from collections.abc import Mapping
from pathlib import Path

from arms import ARMS, HEADLINE
from clock import CLOCK
from figures import (
    average_changes,
    average_overlap,
    compare,
)
from page_tables import (
    FORK_PATHS,
    Runs,
    count_seeds,
    describe_clock,
    describe_machines,
    describe_other,
    describe_plain,
    format_before,
    format_interval,
    split_changes,
    tabulate,
    tabulate_kept,
    tabulate_percentiles,
    tabulate_rates,
    tabulate_rules,
)
from plots import plot_forks, plot_kept, plot_model, plot_rewards
from records import RESULTS, read, read_all

from trl_forking.evaluation.comparison import SeedDifference
from trl_forking.writing.files import write_atomically
from trl_forking.writing.markdown import format_table, replace_between, replace_phrases


ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "results.md"
README, README_ZH = ROOT / "README.md", ROOT / "README.zh.md"
START, END = "<!-- results: make results writes what follows -->", "<!-- end of results -->"
PLOTS = ROOT / "docs" / "results"

SETTINGS = (
    *("scope_sequence", "scope_micro_batch", "divided_by_all", "divided_by_all_5x"),
    *("zero_variance_counted", "dynamic_sampling"),
)
SHARES = ("top_5", "top_10", "top_20", "top_50", "all_tokens")
CHINESE = {
    **{"trained": "训练的词元", "seeds": "种子数", "accuracy": "准确率", "verdict": "结论"},
    **{"s an update": "每次更新秒数"},
    **{"difference": "与全部词元之差", "all tokens (GRPO)": "全部词元（GRPO）"},
    **{"top 20 %": "熵最高的 20 %", "random 20 %": "随机的 20 %", "lowest 80 %": "熵最低的 80 %"},
    **{" to ": " 至 ", "lower": "更低", "higher": "更高", "not distinguishable": "无法区分"},
    **{"Before training the accuracy is": "训练前的准确率为", ").": ")。"},
}
"""What stands in the Chinese README in place of each phrase of the table and of the sentence below it."""


def list_claims(runs: Runs) -> str:
    """List the paper's claims beside what was measured here."""
    rows = []

    def add(claim: str, paper: str, difference: SeedDifference | None, agrees: str, disagrees: str) -> None:
        if difference is not None:
            verdict = "cannot be said here" if difference.is_noise else agrees if difference.mean > 0 else disagrees
            rows.append(
                (claim, paper, f"{format_interval(difference, '+')}, {count_seeds(difference.num_seeds)}", verdict)
            )

    def find(first: str, second: str) -> SeedDifference | None:
        return compare(runs.get(first, {}), runs.get(second, {}))

    add(
        "The top 20 % keep or beat all tokens.",
        "+4.1 points (32B), +3.0 (14B), +0.5 (8B)",
        find("top_20", "all_tokens"),
        "agrees",
        "does not agree",
    )
    add(
        "The lowest 80 % fall far behind all tokens.",
        "a marked drop",
        find("all_tokens", "lowest_80"),
        "agrees",
        "does not agree",
    )
    add("Forks, and not only few tokens: top 20 % against random 20 %.", "no figure", find("top_20", "random_20"), "forks carry more", "random tokens carry more")  # fmt: skip
    add("The share matters little from 10 to 50 %: top 10 % against top 50 %.", "much alike (8B)", find("top_10", "top_50"), "10 % is higher", "50 % is higher")  # fmt: skip
    if "top_20" in runs:
        overlaps = list(average_overlap(runs["top_20"]).values())[-1]
        low, high = min(overlaps), max(overlaps)
        rows.append(
            (
                "The forks stay where they were.",
                "86.7 % of them after 1,360 steps (14B)",
                f"{100 * sum(overlaps) / len(overlaps):.1f} % ({100 * low:.1f} to {100 * high:.1f} over {count_seeds(len(overlaps))})",
                "agrees in kind",
            )
        )
        upper, lower = split_changes(average_changes(runs["top_20"]))
        rows.append(
            (
                "The entropy changes where it was high.",
                "larger changes in higher bins",
                f"mean change {upper:.3f} nats in the top 20 %, {lower:.3f} in the others",
                "agrees" if upper > lower else "does not agree",
            )
        )
    return format_table(("claim", "paper", "here", "verdict"), rows)


def build_page(results: Path) -> str:
    """
    Build the page.

    Args:
        results (`Path`):
            Folder of the records.

    Returns:
        `str`: Markdown.
    """
    runs = read_all(results)
    clock = read(results / CLOCK) if (results / CLOCK).exists() else {"seconds": {}}
    seconds = clock["seconds"]
    missing = sum(arm.num_seeds for arm in ARMS.values()) - sum(map(len, runs.values()))
    template = (Path(__file__).parent / "results_page.md").read_text(encoding="utf-8")
    values = {
        "before": format_before(results),
        "missing": f"{missing} of the runs are not made yet. The tables have the seeds that are there.\n\n"
        if missing
        else "",
        "headline": tabulate(HEADLINE, "all_tokens", runs, seconds),
        "claims": list_claims(runs),
        "shares": tabulate(SHARES, "top_20", runs, seconds),
        "settings": tabulate(("top_20", *SETTINGS), "top_20", runs, seconds),
        "rates": tabulate_rates(runs),
        "rules": tabulate_rules(runs, seconds),
        "plain": describe_plain(runs),
        "fork_paths": tabulate(("top_20", *FORK_PATHS), "top_20", runs, seconds),
        "smollm2": describe_other(results.with_name("smollm2")),
        "four_numbers": describe_other(results.with_name("four_numbers")),
        "kept": tabulate_kept(runs),
        "percentiles": tabulate_percentiles(runs),
        "machines": describe_machines(runs),
        "commits": ", ".join(sorted({record["commit"][:7] for each in runs.values() for record in each.values()})),
        "clock": describe_clock(clock),
    }
    for name, value in values.items():
        template = template.replace("{{ " + name + " }}", value)
    return template


def build_readme(readme: str, results: Path, phrases: Mapping[str, str] | None = None) -> str:
    """Put the table of the four arms into a README. `phrases` says them in another language."""
    clock = read(results / CLOCK)["seconds"] if (results / CLOCK).exists() else {}
    table = tabulate(HEADLINE, "all_tokens", read_all(results), clock, is_short=True)
    content = f"{table}\n\nBefore training the accuracy is {format_before(results)}."
    return replace_between(readme, START, END, replace_phrases(content, phrases or {}))


def main() -> None:
    runs = read_all(RESULTS)
    PLOTS.mkdir(parents=True, exist_ok=True)
    clock = RESULTS / CLOCK
    seconds = json.loads(clock.read_text())["seconds"] if clock.exists() else None
    plot_rewards(runs, seconds, PLOTS / "rewards.png")
    plot_forks(runs, PLOTS / "forks.png")
    plot_kept(runs, PLOTS / "kept.png")
    for folder in (RESULTS.with_name(name) for name in ("smollm2", "four_numbers")):
        if folder.exists():
            plot_model(read_all(folder), PLOTS / f"{folder.name}.png")
    write_atomically(PAGE, build_page(RESULTS))
    for readme, phrases in ((README, None), (README_ZH, CHINESE)):
        write_atomically(readme, build_readme(readme.read_text(encoding="utf-8"), RESULTS, phrases))
    print(
        f"wrote {PAGE.relative_to(ROOT)}, {PLOTS.relative_to(ROOT)}/ and the table of {README.name} and {README_ZH.name}"
    )


if __name__ == "__main__":
    main()
