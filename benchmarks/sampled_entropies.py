"""How far entropies that are taken while sampling are from those of a scoring pass, and how many kept tokens that changes.

Decoding and a full pass multiply matrices of different shapes, so that their roundings differ. So do two full passes whose
micro-batches or paddings differ; both are compared with the same scoring pass. The answers are those of a model before any
training: SmolLM2-135M, or the model of the built-in task.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/sampled_entropies.py --task smollm2 --dtype bfloat16
"""

import argparse
import json
import platform
import warnings
from pathlib import Path
from typing import Any

import torch
import transformers
import trl
from real_tasks import TASKS, build_trainer

from trl_forking.selection.tokens import round_entropies, select_tokens
from trl_forking.writing.files import write_atomically
from trl_forking.writing.markdown import format_table
from trl_forking.writing.numbers import format_percent


def pad_prompts(batch: dict[str, Any], num_columns: int, pad_token_id: int) -> dict[str, Any]:
    """Add columns of padding on the left."""
    pad = torch.nn.functional.pad
    return batch | {
        "prompt_ids": pad(batch["prompt_ids"], (num_columns, 0), value=pad_token_id),
        "prompt_mask": pad(batch["prompt_mask"], (num_columns, 0)),
    }


def collect(trainer: Any, micro_batch: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Sample answers, and return their entropies by the way that they were computed, and the mask of their tokens."""
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
    torch.manual_seed(0)
    batch = trainer._generate_and_score_completions(next(iter(trainer.get_train_dataloader())))
    entropies = {"while sampling": batch["entropies"]}
    trainer.leaves_out_padding = False  # or passes with more padding would have the same shapes
    for name, size, padding in (
        ("scoring pass", micro_batch, 0),
        (f"micro-batches of {micro_batch // 2}", micro_batch // 2, 0),
        ("7 more columns of padding", micro_batch, 7),
    ):
        trainer.args.per_device_train_batch_size = size
        entropies[name] = trainer.score_rollout(pad_prompts(batch, padding, trainer._tokenizer.pad_token_id))
    return {name: values.float() for name, values in entropies.items()}, batch["completion_mask"].bool()


def compare(entropies: dict[str, torch.Tensor], mask: torch.Tensor) -> list[list[str]]:
    reference = entropies["scoring pass"]
    before = select_tokens(round_entropies(reference), mask, 0.2)
    rows = []
    for name, values in entropies.items():
        if name == "scoring pass":
            continue
        distance = (values - reference)[mask].abs()
        kept = select_tokens(round_entropies(values), mask, 0.2)
        changed = ((before & ~kept).sum() / before.sum()).item()
        rows.append([name, f"{distance.mean():.1e}", f"{distance.max():.1e}", format_percent(changed, 2)])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=TASKS, default="smollm2")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--answers", type=int, default=32)
    parser.add_argument("--micro-batch", type=int, default=8)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    transformers.utils.logging.set_verbosity_error()
    settings = {"per_device_train_batch_size": arguments.micro_batch, "count_zero_advantage": True}
    settings["gradient_accumulation_steps"] = arguments.answers // arguments.micro_batch
    trainer = build_trainer(arguments.task, True, 1, getattr(torch, arguments.dtype), **settings)
    entropies, mask = collect(trainer, arguments.micro_batch)
    rows = compare(entropies, mask)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    print(f"{device}; Python {platform.python_version()}, torch {torch.__version__}, trl {trl.__version__}")
    print(f"{arguments.task}, {arguments.dtype}, {int(mask.sum())} tokens of {len(mask)} answers\n")
    print(format_table(["entropies", "mean distance", "largest distance", "kept tokens that change"], rows))
    if arguments.json:
        write_atomically(arguments.json, json.dumps({"tokens": int(mask.sum()), "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
