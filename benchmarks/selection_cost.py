"""What the selection costs: training steps of the demo with this trainer and with TRL's own mask.

The two trainers take turns in one process, step by step, so that a change of the machine's speed affects both. The time of a
step is split into the scoring pass, the selection with its metrics, and the rest. TRL's mask needs no scoring pass, because it
looks at the current micro-batch. Generation is not compared: it takes the same time for both.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/selection_cost.py --steps 20
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import trl
from trl import GRPOConfig, GRPOTrainer

from trl_forking import ForkingGRPOConfig, ForkingGRPOTrainer
from trl_forking.countdown import (
    MAX_COMPLETION_LENGTH,
    countdown_reward,
    load_countdown_model,
    load_countdown_tokenizer,
    make_countdown_dataset,
)
from trl_forking.writing.files import write_atomically
from trl_forking.writing.numbers import format_percent


def build_trainer(trainer_class: type, config_class: type, steps: int, **settings: Any) -> Any:
    config = config_class(
        tempfile.mkdtemp(),
        max_steps=steps,
        per_device_train_batch_size=128,
        num_generations=8,
        max_completion_length=MAX_COMPLETION_LENGTH,
        learning_rate=2e-4,
        lr_scheduler_type="constant",
        bf16=False,
        use_cpu=not torch.cuda.is_available(),
        gradient_checkpointing=False,
        report_to="none",
        save_strategy="no",
        logging_steps=10_000,
        disable_tqdm=True,
        top_entropy_quantile=0.2,
        loss_type="dapo",
        epsilon_high=0.28,
        **settings,
    )
    return trainer_class(
        model=load_countdown_model(),
        reward_funcs=countdown_reward,
        args=config,
        train_dataset=make_countdown_dataset("train", 16 * steps, seed=0),
        processing_class=load_countdown_tokenizer(),
    )


class Stopwatch:
    """Adds up the seconds that methods of objects take."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def watch(self, owner: Any, method: str, name: str) -> None:
        original: Callable = getattr(owner, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return original(*args, **kwargs)
            finally:
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

        setattr(owner, method, timed)


def measure(steps: int, warm_up: int = 3) -> dict[str, Any]:
    forking = build_trainer(ForkingGRPOTrainer, ForkingGRPOConfig, steps + warm_up)
    plain = build_trainer(GRPOTrainer, GRPOConfig, steps + warm_up)
    watch = Stopwatch()
    watch.watch(forking, "score_rollout", "scoring")
    watch.watch(forking, "_select", "selection")
    watch.watch(forking.selector, "weigh", "selection")
    watch.watch(forking, "_log_loss", "selection")
    watch.watch(plain, "get_high_entropy_mask", "trl_mask")
    times: dict[str, list[float]] = {name: [] for name in ("forking", "trl", "scoring", "selection", "trl_mask")}
    for trainer in (forking, plain):
        trainer.current_gradient_accumulation_steps = 1
        trainer.create_optimizer_and_scheduler(steps + warm_up)
        trainer.model.train()
    rows = list(forking.train_dataset)
    for step in range(steps + warm_up):
        batch = [row for row in rows[16 * step : 16 * (step + 1)] for _ in range(8)]
        for name, trainer in (("forking", forking), ("trl", plain)):
            watch.seconds.clear()
            start = time.perf_counter()
            trainer.training_step(trainer.model, batch, num_items_in_batch=None)
            trainer.optimizer.step()
            trainer.optimizer.zero_grad()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if step >= warm_up:
                times[name].append(time.perf_counter() - start)
                for part, seconds in watch.seconds.items():
                    times[part].append(seconds)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    seconds = measure(arguments.steps)
    extra = (seconds["selection"] - seconds["trl_mask"]) / seconds["trl"]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    print(f"{device}; Python {platform.python_version()}, torch {torch.__version__}, trl {trl.__version__}")
    print(f"medians of {arguments.steps} steps of 128 answers")
    print(
        f"TRL's own mask       step {seconds['trl'] * 1e3:8.1f} ms   of which the mask {seconds['trl_mask'] * 1e3:6.1f} ms"
    )
    print(
        f"this trainer         step {seconds['forking'] * 1e3:8.1f} ms   of which selection {seconds['selection'] * 1e3:6.1f} ms"
        f"   and scoring pass {seconds['scoring'] * 1e3:6.1f} ms"
    )
    print(f"selection, metrics and weights take {format_percent(extra, 2)} of TRL's step more than TRL's mask")
    print(f"the scoring pass takes {format_percent(seconds['scoring'] / seconds['trl'], 2)} of TRL's step")
    print(f"a step takes {seconds['forking'] / seconds['trl']:.3f} times as long as TRL's")
    if arguments.json:
        content = {"device": device, "seconds": seconds, "selection_share": extra}
        write_atomically(arguments.json, json.dumps(content, indent=2))


if __name__ == "__main__":
    main()
