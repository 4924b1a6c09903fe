"""What the token rules cost: a whole step of each beside `high_entropy`, and an update of `random_prefix` beside plain GRPO.

One trainer takes all rules in turn, on the same made-up answers. Seconds are CPU time, which other processes on the machine
move least, and medians over the rounds. Memory is what the forward passes save for the backward passes, the largest
micro-batch of an update. What the prefix predicts is its share of the columns of prompts and answers.

    OMP_NUM_THREADS=1 python benchmarks/token_rules.py
"""

import argparse
import statistics
import time
from collections import defaultdict
from contextlib import contextmanager
from typing import Any

import torch
from update_step import Case, build_model, build_trainer

from trl_forking.selection.rules import RULES
from trl_forking.update.scoring import HEAD_OUTPUTS
from trl_forking.writing.markdown import format_table


PLAIN = "all tokens (plain GRPO)"
PREFIX = "random_prefix"


class SavedBytes:
    """Notes how many bytes the forward passes inside save for their backward passes; weights are saved by reference."""

    def __init__(self, model: torch.nn.Module):
        self.weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
        self.largest = 0

    @contextmanager
    def measure(self):
        seen: dict[int, int] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in self.weights:
                seen[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            yield
        self.largest = max(self.largest, sum(seen.values()))


def run_step(trainer: Any, case: Case) -> dict[str, float]:
    """Make a rollout and update on it: CPU seconds of both parts and of the rule, saved bytes, and computed columns."""
    saved, spent, select = SavedBytes(trainer.model), [0.0], trainer.selector.select

    def timed_select(*args: Any, **kwargs: Any) -> Any:
        start = time.process_time()
        selection = select(*args, **kwargs)
        spent[0] += time.process_time() - start
        return selection

    trainer.selector.select = timed_select
    trainer.model.train()
    trainer.model.zero_grad(set_to_none=True)
    trainer._step, trainer._buffered_inputs = 0, None
    rows = [{"prompt": "?"}] * case.num_answers
    start = time.process_time()
    trainer._prepare_inputs(rows)
    update = time.process_time()
    for part in trainer._buffered_inputs:
        with saved.measure():
            loss = trainer._compute_loss(trainer.model, part)
        loss.backward()
    end = time.process_time()
    trainer.selector.select = select
    columns, real = count_columns(trainer._buffered_inputs)
    figures = {"rollout": update - start, "update": end - update, "rule": spent[0], "saved": float(saved.largest)}
    return figures | {"share": columns / real}


def count_columns(parts: list[dict[str, Any]]) -> tuple[int, int]:
    """Count the columns that a prefix needs, up to the last kept token, and those of prompts and whole answers."""
    needed = whole = 0
    for part in parts:
        mask = part["completion_mask"].bool()
        kept = part.get("kept", mask)
        for row in range(len(mask)):
            prompt, length = int(part["prompt_mask"][row].sum()), int(mask[row].sum())
            whole += prompt + length
            needed += prompt + int(kept[row].nonzero().max()) if kept[row].any() else 0
    return needed, whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--completion_length", type=int, default=256)
    parser.add_argument("--num_answers", type=int, default=16)
    parser.add_argument("--rules", nargs="*", default=list(RULES), help="rules beside high_entropy and random_prefix")
    args = parser.parse_args()
    chosen = [name for name in RULES if name in ("high_entropy", *args.rules)]
    case = Case(num_answers=args.num_answers, micro_batch=4, completion_length=args.completion_length)
    figures = defaultdict(list)
    trainer = build_trainer("forking", case, build_model(case, scale_down=True))
    # A rule that needs more of TRL's head keeps it for the rest of the run, so these come after all others.
    costly = [name for name in chosen if set(RULES[name].needs) & set(HEAD_OUTPUTS)]
    for names in ([PLAIN, f"{PREFIX}, 0.5", *(name for name in chosen if name not in costly)], costly):
        for number in range(args.rounds + 1):
            for name in names:
                choose_rule(trainer, name, number)
                figures[name].append(run_step(trainer, case))
    middle = {
        name: {key: statistics.median(step[key] for step in steps[1:]) for key in steps[0]}
        for name, steps in figures.items()
    }
    plain, prefix, paper = middle[PLAIN], middle[f"{PREFIX}, 0.5"], middle["high_entropy"]
    mean_share = statistics.fmean(step["share"] for step in figures[f"{PREFIX}, 0.5"][1:])
    print(f"random_prefix at 0.5 needs {mean_share:.3f} of the columns (mean of {args.rounds} rollouts)")
    ratios = {key: [step[key] for step in figures[f"{PREFIX}, 0.5"][1:]] for key in ("update", "saved")}
    print(
        f"update: {statistics.fmean(ratios['update']) / plain['update']:.3f} of plain GRPO's {plain['update']:.2f} s"
    )
    print(
        f"saved for backward: {statistics.fmean(ratios['saved']) / plain['saved']:.3f} of {plain['saved'] / 2**20:.1f} MiB"
    )
    print(f"medians: update {prefix['update'] / plain['update']:.3f}, saved {prefix['saved'] / plain['saved']:.3f}\n")
    rows = [
        [name, step["rule"] * 1e3, (step["rollout"]) / paper["rollout"], step["update"] / paper["update"]]
        for name, step in middle.items()
    ]
    header = ["rule", "rule, ms", "rollout and scoring / high_entropy's", "update / high_entropy's"]
    print(format_table(header, rows, float_format=".3f"))


def choose_rule(trainer: Any, name: str, number: int) -> None:
    """Let the trainer take another rule, as a callback can in a run, and other draws in every round."""
    rule, _, share = name.partition(", ")
    trainer.args.top_entropy_quantile = 1.0 if name == PLAIN else float(share or 0.2)
    trainer.args.token_selection = "high_entropy" if name == PLAIN else rule
    trainer.take_settings()
    trainer.state.global_step = number


if __name__ == "__main__":
    main()
