"""What padding and waiting cost on many ranks: padded tokens over real tokens, and idle time. No model runs.

The cost of a micro-batch is its rows times its longest answer. Ranks wait for each other at one of two places:

    DDP             once in an optimizer step, when the gradients are summed
    synchronized    in every micro-batch, because ZeRO-3 and FSDP gather the weights of every layer from all ranks

Four layouts of the same answers are compared:

    TRL             every row is padded to the longest answer in the rollout of its rank
    cut             every micro-batch is cut off after its longest answer
    within a rank   a rank deals its rows to its micro-batches by length
    over ranks      the rows of all ranks are dealt to the micro-batches of all ranks by length

Left out: prompts, attention (quadratic in length, so that it gains more), and the time of the exchange.

    python benchmarks/simulate_ranks.py --plot docs/simulate_ranks.png
    python benchmarks/simulate_ranks.py --lengths lengths.txt --micro-batches 4
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from answer_lengths import SIGMA, draw_lengths

from trl_forking.update.dealing import SLACK, deal
from trl_forking.update.rank_plan import plan_ranks
from trl_forking.writing.colors import ACCENT, MUTED, OTHER
from trl_forking.writing.files import write_atomically
from trl_forking.writing.markdown import format_table
from trl_forking.writing.numbers import format_percent


Rows = list[list[np.ndarray]]
"""By rank and micro-batch: the lengths of its answers."""


@dataclass(frozen=True)
class Cost:
    """What a layout costs on average.

    `padding` is padded tokens over real ones. `synchronized` and `ddp` have the waiting in it: the time that all ranks spend,
    over the time of the real tokens. The idle shares are shares of that time.
    """

    padding: float
    synchronized: float
    ddp: float

    @property
    def idle_synchronized(self) -> float:
        return 1 - self.padding / self.synchronized

    @property
    def idle_ddp(self) -> float:
        return 1 - self.padding / self.ddp


# Layouts ---------------------------------------------------------------------------------------------------------------


def split_in_order(lengths: np.ndarray, num_micro_batches: int) -> Rows:
    return [np.split(row, num_micro_batches) for row in lengths]


def deal_within_ranks(lengths: np.ndarray, num_micro_batches: int) -> Rows:
    slack = SLACK if len(lengths) == 1 else 0.0
    return [[row[part] for part in deal(row.tolist(), num_micro_batches, slack)] for row in lengths]


def deal_over_ranks(lengths: np.ndarray, num_micro_batches: int) -> Rows:
    if len(lengths) == 1:  # as in the trainer, which then has nothing to exchange
        return deal_within_ranks(lengths, num_micro_batches)
    rows = lengths.ravel()
    return [[rows[part] for part in of_rank] for of_rank in plan_ranks(lengths.tolist(), num_micro_batches)]


def compute_costs(rows: Rows) -> np.ndarray:
    """Compute the padded tokens `(R, M)` of the micro-batches of every rank, each cut off after its longest answer."""
    return np.array([[len(part) * part.max(initial=0) for part in parts] for parts in rows])


def cost_of(deal: Callable[[np.ndarray, int], Rows]) -> Callable[[np.ndarray, int], np.ndarray]:
    return lambda lengths, count: np.array([compute_costs(deal(step, count)) for step in lengths])


def pad_to_longest_of_rollout(lengths: np.ndarray, num_micro_batches: int) -> np.ndarray:
    num_steps, num_ranks, num_answers = lengths.shape
    widths = lengths.max(axis=(0, 2))[None, :, None]
    return np.broadcast_to(widths * (num_answers // num_micro_batches), (num_steps, num_ranks, num_micro_batches))


LAYOUTS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "TRL": pad_to_longest_of_rollout,
    "cut": cost_of(split_in_order),
    "within a rank": cost_of(deal_within_ranks),
    "over ranks": cost_of(deal_over_ranks),
}
"""Layouts by name. Each takes the lengths `(S, R, A)` of S optimizer steps, R ranks and A answers, and the number M of
micro-batches, and returns the padded tokens `(S, R, M)`."""


# Costs -----------------------------------------------------------------------------------------------------------------


def simulate(rollouts: Sequence[np.ndarray], num_micro_batches: int) -> dict[str, Cost]:
    """Compute what each layout costs.

    Args:
        rollouts: Lengths `(S, R, A)` of the answers of each rollout: S optimizer steps, R ranks, A answers of a rank in a step.
        num_micro_batches: Micro-batches of a rank in an optimizer step.
    """
    num_answers = rollouts[0].shape[2]
    if num_answers % num_micro_batches:
        raise ValueError(
            f"{num_answers} answers of a rank cannot be split into {num_micro_batches} micro-batches of equal size: "
            "choose a number of micro-batches that divides them."
        )
    real = sum(int(lengths.sum()) for lengths in rollouts)
    costs = {}
    for name, lay_out in LAYOUTS.items():
        computed = np.stack([lay_out(lengths, num_micro_batches) for lengths in rollouts])  # (N, S, R, M)
        num_ranks = computed.shape[2]
        synchronized = num_ranks * computed.max(axis=2).sum()
        ddp = num_ranks * computed.sum(axis=3).max(axis=2).sum()
        costs[name] = Cost(*(float(value / real) for value in (computed.sum(), synchronized, ddp)))
    return costs


def read_lengths(path: Path) -> np.ndarray:
    """Read lengths in the order in which the answers were written: whole numbers, with white space or commas between."""
    numbers = path.read_text(encoding="utf-8").replace(",", " ").split()
    wrong = [number for number in numbers if not (number.isdecimal() and int(number) > 0)]
    if wrong or not numbers:
        found = f"{wrong[0]!r} is none" if wrong else "there are none"
        raise ValueError(f"{path} must have the lengths of answers in tokens, positive whole numbers, but {found}.")
    return np.array([int(number) for number in numbers])


def take_rollouts(lengths: np.ndarray, shape: tuple[int, ...], generator: np.random.Generator) -> list[np.ndarray]:
    """Take rollouts `(S, R, A)` from measured lengths, in their order, until each was used once.

    The order keeps the answers to one prompt, whose lengths are alike, on one rank, as TRL does. The answers of a rank are
    then shuffled over the optimizer steps, also as TRL does. If there are too few lengths, they begin anew.
    """
    num_steps, num_ranks, num_answers = shape
    size = num_steps * num_ranks * num_answers
    whole = np.resize(lengths, (max(1, len(lengths) // size), num_ranks, num_steps * num_answers))
    shuffled = generator.permuted(whole, axis=2)
    return [rollout.reshape(num_ranks, num_steps, num_answers).swapaxes(0, 1) for rollout in shuffled]


# Output ----------------------------------------------------------------------------------------------------------------


COLUMNS = ["ranks", "layout", "padding", "synchronized", "idle", "DDP", "idle"]


def build_row(num_ranks: int, layout: str, cost: Cost) -> list[str]:
    return [
        *(f"{num_ranks}", layout, f"{cost.padding:.2f}"),
        *(f"{cost.synchronized:.2f}", format_percent(round(cost.idle_synchronized, 3), 2)),
        *(f"{cost.ddp:.2f}", format_percent(round(cost.idle_ddp, 3), 2)),
    ]


def plot_costs(results: dict[int, dict[str, Cost]], path: Path) -> None:
    """Plot padding and waiting over the number of ranks."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    styles = [(OTHER, "-"), (OTHER, "--"), (ACCENT, "--"), (ACCENT, "-")]
    for axes, kind, title in zip(panels, ("synchronized", "ddp"), ("ZeRO-3 and FSDP", "DDP"), strict=True):
        for (color, line), name in zip(styles, LAYOUTS, strict=True):
            values = [getattr(costs[name], kind) for costs in results.values()]
            axes.plot(list(results), values, line, color=color, marker=".", label=name)
        axes.axhline(1.0, color=MUTED, linewidth=0.8)
        axes.set_xscale("log", base=2)
        axes.set_xticks(list(results), [str(number) for number in results])
        axes.set_title(title)
        axes.set_xlabel("ranks")
    panels[0].set_ylabel("time over the time of the real tokens")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, frameon=False, loc="outside upper center", ncols=4)
    figure.savefig(path, dpi=120)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, nargs="+", default=[2**power for power in range(10)])
    parser.add_argument("--answers", type=int, default=16, help="answers of a rank in an optimizer step (16)")
    parser.add_argument("--micro-batches", type=int, default=16, help="micro-batches of a rank in a step (16)")
    parser.add_argument("--optimizer-steps", type=int, default=1, help="optimizer steps of a rollout (1)")
    parser.add_argument("--mean", type=float, default=7500, help="mean length in tokens (7500)")
    parser.add_argument("--cap", type=int, default=20_480, help="longest answer in tokens (20480)")
    parser.add_argument("--sigma", type=float, default=SIGMA, help=f"spread of the logarithm ({SIGMA})")
    parser.add_argument(
        "--lengths", type=Path, help="file of lengths in the order of the answers, instead of drawn ones"
    )
    parser.add_argument("--rollouts", type=int, default=20, help="rollouts to average over, for drawn lengths (20)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    return parser


def main(flags: Sequence[str] | None = None) -> dict[int, dict[str, Cost]]:
    arguments = build_parser().parse_args(flags)
    generator = np.random.default_rng(arguments.seed)
    results = {}
    for num_ranks in arguments.ranks:
        shape = (arguments.optimizer_steps, num_ranks, arguments.answers)
        if arguments.lengths:
            rollouts = take_rollouts(read_lengths(arguments.lengths), shape, generator)
        else:
            drawn = (arguments.cap, generator, arguments.mean / arguments.cap, arguments.sigma)
            rollouts = [draw_lengths(shape, *drawn) for _ in range(arguments.rollouts)]
        results[num_ranks] = simulate(rollouts, arguments.micro_batches)
    rows = [build_row(ranks, name, cost) for ranks, costs in results.items() for name, cost in costs.items()]
    print(format_table(COLUMNS, rows))
    if arguments.plot:
        plot_costs(results, arguments.plot)
    if arguments.json:
        content = {ranks: {name: asdict(cost) for name, cost in costs.items()} for ranks, costs in results.items()}
        write_atomically(arguments.json, json.dumps(content, indent=2))
    return results


if __name__ == "__main__":
    main()
