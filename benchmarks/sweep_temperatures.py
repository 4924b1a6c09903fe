# /// script
# requires-python = ">=3.11"
# dependencies = ["trl-forking[analysis,math]"]
# ///
"""
Sample forks at one temperature and other tokens at another, and plot the accuracy over both temperatures.

    python benchmarks/sweep_temperatures.py                                    # the built-in model and task, offline
    python benchmarks/sweep_temperatures.py --pairs paper --num_problems 256   # one temperature varies, the other is 1
    python benchmarks/sweep_temperatures.py --model Qwen/Qwen3-0.6B --problems problems.jsonl --max_new_tokens 4096

This is the experiment of figure 3 of https://huggingface.co/papers/2506.01939. A fork is a token whose entropy reaches the
threshold. Without --threshold, the threshold is the 80th percentile of the entropies in the model's own answers at
temperature 1, as in the paper. The script does not use vLLM or several processes, and it cannot resume a sweep.
"""

import argparse
import csv
import io
import json
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from trl_forking import countdown
from trl_forking.analysis.scoring import compute_token_scores
from trl_forking.data.problems import load_problems
from trl_forking.decoding import ForkTemperature, check_fork_temperature
from trl_forking.decoding.sampling import SamplingSettings, TransformersSampler
from trl_forking.evaluation import compute_standard_error
from trl_forking.rewards.math_reward import verify_math
from trl_forking.run.user_errors import UserError, exit_on_user_error, require
from trl_forking.writing.colors import ACCENT, FORK, OTHER
from trl_forking.writing.files import write_atomically


BUILT_IN = "countdown"  # name of the built-in task and of its model
TEMPERATURES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
FORK_PERCENTILE = 0.8


@dataclass(frozen=True)
class Task:
    """A model, its prompts, and a function that takes the number of a prompt and an answer and says if it is right."""

    model: Any
    tokenizer: Any
    prompts: list[str]
    verify: Callable[[int, str], bool]


@dataclass(frozen=True)
class Cell:
    """The accuracy at one pair of temperatures. Standard errors are over problems, and differences are paired by problem."""

    fork_temperature: float
    other_temperature: float
    accuracy: float
    standard_error: float
    difference: float  # to the cell where both temperatures are 1
    difference_standard_error: float


@dataclass(frozen=True)
class Sweep:
    """The results of one model."""

    model: str
    threshold: float  # nats
    cells: list[Cell]


def load_task(name: str, args: argparse.Namespace) -> Task:
    """Load a model and its problems: those of the built-in task, or rows with a question and an answer."""
    if name == BUILT_IN:
        model, tokenizer = countdown.load_countdown_model(), countdown.load_countdown_tokenizer()
    else:
        tokenizer = AutoTokenizer.from_pretrained(name, padding_side="left")
        model = AutoModelForCausalLM.from_pretrained(name, dtype="auto")
    model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    if args.problems == BUILT_IN:
        rows = countdown.make_countdown_dataset("eval", args.num_problems, seed=args.seed)
        nums, goals = list(rows["nums"]), list(rows["goal"])
        return Task(
            model,
            tokenizer,
            list(rows["prompt"]),
            lambda number, text: countdown.verify_countdown(text, nums[number], goals[number]),
        )
    require("math_verify", "'trl-forking[math]'")
    rows = load_problems(args.problems, template="chat" if tokenizer.chat_template else "paper")
    rows = rows.select(range(min(args.num_problems, len(rows))))
    prompts, solutions = list(rows["prompt"]), list(rows["solution"])
    if tokenizer.chat_template:
        prompts = tokenizer.apply_chat_template(prompts, add_generation_prompt=True, tokenize=False)
    return Task(model, tokenizer, prompts, lambda number, text: verify_math(text, solutions[number]) == 1.0)


def draw_answers(task: Task, args: argparse.Namespace, *processors: ForkTemperature) -> list[list[list[int]]]:
    """Draw the answers to each prompt, with the same random numbers at every pair of temperatures."""
    settings = SamplingSettings(args.num_answers, args.max_new_tokens)
    sampler = TransformersSampler(task.model, task.tokenizer, settings, processors)
    prompt_ids = task.tokenizer(task.prompts)["input_ids"]
    return sampler.sample(prompt_ids, args.seed, max(1, args.batch_size // args.num_answers))


def estimate_threshold(task: Task, args: argparse.Namespace) -> float:
    """Estimate the 80th percentile, in nats, of the entropies of all tokens of answers at temperature 1."""
    prompt_ids = task.tokenizer(task.prompts)["input_ids"]
    pairs = [
        (prompt, answer)
        for prompt, answers in zip(prompt_ids, draw_answers(task, args), strict=True)
        for answer in answers
    ]
    scores = compute_token_scores(task.model, *zip(*pairs, strict=True))
    entropies = [entropy for score in scores for entropy in score.entropies.tolist()]
    return statistics.quantiles(entropies, n=100, method="inclusive")[round(100 * FORK_PERCENTILE) - 1]


def measure_accuracies(task: Task, args: argparse.Namespace, processor: ForkTemperature) -> list[float]:
    """Measure the share of right answers to each problem."""
    accuracies = []
    for number, answers in enumerate(draw_answers(task, args, processor)):
        texts = task.tokenizer.batch_decode(answers, skip_special_tokens=True)
        accuracies.append(statistics.fmean(task.verify(number, text.strip()) for text in texts))
    return accuracies


def list_pairs(temperatures: list[float], pairs: str) -> list[tuple[float, float]]:
    """List pairs of (fork, other) temperatures, (1, 1) first. In those of the `paper` one of the two is always 1."""
    values = sorted({1.0, *temperatures})
    every = [(fork, other) for fork in values for other in values if pairs == "all" or 1.0 in (fork, other)]
    return sorted(every, key=lambda pair: pair != (1.0, 1.0))


def sweep_temperatures(name: str, task: Task, args: argparse.Namespace) -> Sweep:
    """Measure one model at every pair of temperatures."""
    threshold = estimate_threshold(task, args) if args.threshold is None else args.threshold
    print(f"{name}: threshold {threshold:.3f} nats, {len(task.prompts)} problems, {args.num_answers} answers each")
    cells: list[Cell] = []
    at_one: list[float] = []
    for fork, other in list_pairs(args.temperatures, args.pairs):
        accuracies = measure_accuracies(task, args, ForkTemperature(threshold, fork, other))
        at_one = at_one or accuracies
        differences = [value - before for value, before in zip(accuracies, at_one, strict=True)]
        cells.append(
            Cell(
                fork,
                other,
                statistics.fmean(accuracies),
                compute_standard_error(accuracies),
                statistics.fmean(differences),
                compute_standard_error(differences),
            )
        )
        print(f"forks {fork:<5g} others {other:<5g} accuracy {cells[-1].accuracy:.3f}", flush=True)
    return Sweep(name, threshold, cells)


def plot_sweeps(sweeps: list[Sweep], path: Path) -> None:
    """Plot a row for each model: the accuracy over one temperature at a time, and over both."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    has_grid = any(1.0 not in (cell.fork_temperature, cell.other_temperature) for cell in sweeps[0].cells)
    figure = Figure(figsize=(10 if has_grid else 5.5, 4.2 * len(sweeps)), layout="constrained")
    FigureCanvasAgg(figure)
    for sweep, row in zip(sweeps, figure.subplots(len(sweeps), 1 + has_grid, squeeze=False), strict=True):
        _plot_curves(row[0], sweep)
        if has_grid:
            _plot_grid(row[1], sweep)
    figure.savefig(path, dpi=150)


def _plot_curves(axes: Any, sweep: Sweep) -> None:
    axes.set_title(f"{sweep.model}, forks from {sweep.threshold:.2f} nats", loc="left")
    arms: list[tuple[str, str, str, Callable[[Cell], bool]]] = [
        ("all tokens (plain sampling)", ACCENT, "--", lambda cell: cell.fork_temperature == cell.other_temperature),
        ("other tokens, forks at 1", OTHER, "-", lambda cell: cell.fork_temperature == 1.0),
        ("forks, other tokens at 1", FORK, "-", lambda cell: cell.other_temperature == 1.0),
    ]
    for label, color, style, belongs in arms:
        cells = sorted(filter(belongs, sweep.cells), key=lambda cell: (cell.fork_temperature, cell.other_temperature))
        if len(cells) > 1:
            temperatures = [max(cell.fork_temperature, cell.other_temperature, key=_distance) for cell in cells]
            heights, errors = [100 * cell.accuracy for cell in cells], [100 * cell.standard_error for cell in cells]
            axes.errorbar(
                temperatures, heights, errors, label=label, color=color, linestyle=style, marker="o", ms=4, capsize=3
            )
    axes.axvline(1.0, color="black", linewidth=0.5, alpha=0.4)
    axes.set_xscale("log")
    ticks = sorted({cell.fork_temperature for cell in sweep.cells})
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("temperature of the tokens in the legend")
    axes.set_ylabel("accuracy in % (bars: standard error)")
    axes.set_ylim(bottom=0)
    if len(ticks) > 1:
        axes.legend(frameon=False, loc="lower left")


def _distance(temperature: float) -> float:
    return abs(temperature - 1.0)  # it is largest for the temperature that varies, because the other one is 1


def _plot_grid(axes: Any, sweep: Sweep) -> None:
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.patches import Rectangle

    accuracy = {(cell.fork_temperature, cell.other_temperature): cell.accuracy for cell in sweep.cells}
    values = sorted({fork for fork, _ in accuracy})
    colors = LinearSegmentedColormap.from_list("accuracy", ["white", OTHER, ACCENT])
    highest = max(accuracy.values())
    rows = [[accuracy[fork, other] for other in values] for fork in values]
    axes.imshow(rows, origin="lower", cmap=colors, vmin=0, vmax=highest, aspect="auto")
    for y, fork in enumerate(values):
        for x, other in enumerate(values):
            value = accuracy[fork, other]
            shade = "white" if value > 0.5 * highest else "black"
            weight = "bold" if value == highest else "normal"
            axes.text(x, y, f"{100 * value:.1f}", ha="center", va="center", color=shade, weight=weight)
            if fork == other == 1.0:
                axes.add_patch(Rectangle((x - 0.44, y - 0.44), 0.88, 0.88, fill=False, edgecolor=shade, linewidth=2))
    axes.set_xticks(range(len(values)), [f"{value:g}" for value in values])
    axes.set_yticks(range(len(values)), [f"{value:g}" for value in values])
    axes.set_xlabel("temperature of other tokens")
    axes.set_ylabel("temperature of forks")
    axes.set_title("Accuracy in % (frame: both 1; bold: highest)", loc="left")


def write_sweeps(sweeps: list[Sweep], args: argparse.Namespace) -> None:
    """Write the cells as CSV, the cells and the settings as JSON, and the plot."""
    folder = args.output_dir
    rows = [
        {"model": sweep.model, "threshold": sweep.threshold, **asdict(cell)}
        for sweep in sweeps
        for cell in sweep.cells
    ]
    table = io.StringIO()
    writer = csv.DictWriter(table, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(folder / "two_temperatures.csv", table.getvalue())
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items()}
    figures = {"settings": settings, "sweeps": [asdict(sweep) for sweep in sweeps]}
    write_atomically(folder / "two_temperatures.json", json.dumps(figures, indent=2))
    plot_sweeps(sweeps, folder / "two_temperatures.png")
    print(f"Written to {folder}: two_temperatures.csv, .json and .png")


def parse_arguments(args: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=[BUILT_IN], help="models of the Hub, or folders (countdown)")
    parser.add_argument("--problems", default=BUILT_IN, help=".jsonl file with questions and answers (countdown)")
    parser.add_argument("--threshold", type=float, help="lowest entropy of a fork, in nats (80th percentile)")
    parser.add_argument(
        "--temperatures", type=float, nargs="+", default=TEMPERATURES, help="temperatures of forks and of other tokens"
    )
    parser.add_argument(
        "--pairs", choices=["all", "paper"], default="all", help="paper: one of the two temperatures is 1 (all)"
    )
    parser.add_argument("--num_problems", type=int, default=1536, help="most problems (1536)")
    parser.add_argument("--num_answers", type=int, default=2, help="answers to each problem (2)")
    parser.add_argument(
        "--max_new_tokens", type=int, default=countdown.MAX_COMPLETION_LENGTH, help="most tokens of an answer"
    )
    parser.add_argument(
        "--batch_size", type=int, default=2048, help="answers that are sampled at the same time (2048)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of problems and answers (0)")
    parser.add_argument("--output_dir", type=Path, default=Path("runs/two_temperatures"), help="folder for the files")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args(args)


def check(args: argparse.Namespace) -> None:
    """Check the arguments before anything is loaded."""
    require("matplotlib", "'trl-forking[analysis]'")
    for temperature in args.temperatures:
        check_fork_temperature(args.threshold or 0.0, temperature, temperature)
    for name, lowest in (("num_problems", 2), ("num_answers", 1), ("max_new_tokens", 1), ("batch_size", 1)):
        if getattr(args, name) < lowest:
            raise UserError(f"--{name} must be {lowest} or more, but it is {getattr(args, name)}.")
    if BUILT_IN in args.model and args.problems != BUILT_IN:
        raise UserError(
            "--problems: the built-in model knows the built-in task only: give another model with --model."
        )


def main(args: list[str] | None = None) -> list[Sweep]:
    arguments = parse_arguments(args)
    with exit_on_user_error(arguments.debug):
        check(arguments)
    sweeps = []
    for name in arguments.model:
        with exit_on_user_error(arguments.debug):
            task = load_task(name, arguments)
        sweeps.append(sweep_temperatures(name, task, arguments))
    write_sweeps(sweeps, arguments)
    return sweeps


if __name__ == "__main__":
    main()
