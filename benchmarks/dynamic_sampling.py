"""Dynamic sampling on the built-in task: the same number of steps with and without it.

The two runs of a seed have the same model, problems, seed of the answers and evaluation. The script reports the share of
zero-variance groups that were trained, the accuracy on held-out problems, and how many more answers and how much more time
dynamic sampling took.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/dynamic_sampling.py --json dynamic_sampling.json
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from typing import Any

import torch
import trl
from transformers import PrinterCallback

from trl_forking import ForkingGRPOConfig, ForkingGRPOTrainer
from trl_forking.countdown import (
    MAX_COMPLETION_LENGTH,
    NUM_PROBLEMS,
    countdown_reward,
    evaluate_countdown,
    load_countdown_model,
    load_countdown_tokenizer,
    make_countdown_dataset,
)
from trl_forking.evaluation import compute_standard_error
from trl_forking.writing.files import write_atomically


NUM_PROMPTS, NUM_GENERATIONS = 32, 4


def build_trainer(dynamic_sampling: bool, max_steps: int, seed: int, output_dir: str) -> ForkingGRPOTrainer:
    args = ForkingGRPOConfig(
        output_dir,
        dynamic_sampling=dynamic_sampling,
        max_steps=max_steps,
        learning_rate=3e-4,
        lr_scheduler_type="constant",
        adam_beta2=0.99,
        per_device_train_batch_size=NUM_PROMPTS * NUM_GENERATIONS,
        num_generations=NUM_GENERATIONS,
        max_completion_length=MAX_COMPLETION_LENGTH,
        bf16=False,
        gradient_checkpointing=False,
        logging_steps=1,
        save_strategy="no",
        seed=seed,
        report_to="none",
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
    )
    return ForkingGRPOTrainer(
        model=load_countdown_model(),
        reward_funcs=countdown_reward,
        args=args,
        train_dataset=make_countdown_dataset("train", num_problems=NUM_PROBLEMS["train"], seed=seed),
        processing_class=load_countdown_tokenizer(),
    )


def run(dynamic_sampling: bool, max_steps: int, seed: int, num_problems: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        trainer = build_trainer(dynamic_sampling, max_steps, seed, folder)
        trainer.remove_callback(PrinterCallback)
        start = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - start
    logs = [entry for entry in trainer.state.log_history if "reward" in entry]
    problems = make_countdown_dataset("eval", num_problems=num_problems, seed=seed)
    evaluation = evaluate_countdown(trainer.model, trainer.processing_class, problems, seed=seed)
    # Every batch was filled, so the share of informative groups tells how many groups were generated.
    num_groups = sum(NUM_PROMPTS / entry.get("forking/informative_groups", 1.0) for entry in logs)
    return {
        "dynamic_sampling": dynamic_sampling,
        "seed": seed,
        "accuracy": evaluation.accuracy,
        "zero_variance_share_trained": statistics.fmean(entry["frac_reward_zero_std"] for entry in logs),
        "zero_variance_share_before_refilling": statistics.fmean(
            entry.get("forking/zero_variance_groups", entry["frac_reward_zero_std"]) for entry in logs
        ),
        "rounds": statistics.fmean(entry.get("forking/sampling_rounds", 1) for entry in logs),
        "answers": round(num_groups) * NUM_GENERATIONS,
        "seconds": seconds,
    }


def summarize(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Compare the runs of each seed with each other."""
    off, on = ([entry for entry in runs if entry["dynamic_sampling"] is value] for value in (False, True))
    differences = [b["accuracy"] - a["accuracy"] for a, b in zip(off, on, strict=True)]
    return {
        "accuracy": [statistics.fmean(entry["accuracy"] for entry in arm) for arm in (off, on)],
        "accuracy_difference": statistics.fmean(differences),
        "standard_error": compute_standard_error(differences),
        "zero_variance_share_trained": [
            statistics.fmean(entry["zero_variance_share_trained"] for entry in arm) for arm in (off, on)
        ],
        "answers_ratio": sum(entry["answers"] for entry in on) / sum(entry["answers"] for entry in off),
        "time_ratio": sum(entry["seconds"] for entry in on) / sum(entry["seconds"] for entry in off),
        "rounds": statistics.fmean(entry["rounds"] for entry in on),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max-steps", type=int, default=80)
    parser.add_argument("--num-seeds", type=int, default=3)
    parser.add_argument("--num-problems", type=int, default=512, help="held-out problems of an evaluation")
    parser.add_argument("--json", help="file for the figures")
    arguments = parser.parse_args()
    runs = []
    for seed in range(arguments.num_seeds):
        for dynamic_sampling in (False, True):
            runs.append(run(dynamic_sampling, arguments.max_steps, seed, arguments.num_problems))
            print(json.dumps(runs[-1]), flush=True)
    summary = summarize(runs)
    print(json.dumps(summary, indent=2))
    if arguments.json:
        machine = {"machine": platform.machine(), "torch": torch.__version__, "trl": trl.__version__}
        write_atomically(arguments.json, json.dumps({"summary": summary, "runs": runs, **machine}, indent=2))


if __name__ == "__main__":
    main()
