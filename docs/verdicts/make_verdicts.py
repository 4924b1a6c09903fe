"""
Make the example verdicts of this folder: four short runs of the built-in task on a CPU, about six minutes, without a network.

    python docs/verdicts/make_verdicts.py [learned too_hard all_cut collapsed]

The runs go to `runs/verdicts/`, and their verdicts to `docs/verdicts/`.
"""

import json
import shutil
import sys
from pathlib import Path

from trl_forking import ForkingGRPOConfig, ForkingGRPOTrainer, countdown
from trl_forking.verdict.history import collect_history
from trl_forking.verdict.verdict import judge_run


PAGES = Path(__file__).parent
# By name: what the run is, and its settings.
RUNS = {
    "learned": (
        "The task and settings of `trl-forking demo`, with half of its batch.",
        {"max_steps": 90},
    ),
    "too_hard": ("No goal can be reached from its numbers: every answer fails.", {"max_steps": 15}),
    "all_cut": (
        "`max_completion_length=8`: no answer comes to its end.",
        {"max_steps": 15, "max_completion_length": 8},
    ),
    "collapsed": (
        "A reward for short answers alone: the policy soon writes the same few words to every prompt.",
        {"max_steps": 40, "learning_rate": 1e-3, "lr_scheduler_type": "constant", "count_zero_advantage": True},
    ),
}
SIZES = {
    "per_device_train_batch_size": 64,
    "num_generations": 8,
    "max_completion_length": countdown.MAX_COMPLETION_LENGTH,
}
STEPS = {"learning_rate": 3e-4, "lr_scheduler_type": "linear", "adam_beta2": 0.99, "logging_steps": 1, "seed": 0}
PLACE = {"use_cpu": True, "bf16": False, "gradient_checkpointing": False, "report_to": "none", "save_strategy": "no"}


def reward_short(completion_ids: list[list[int]], **kwargs: object) -> list[float]:
    """Give 1 for an empty answer, and less for each word."""
    return [1 - len(ids) / countdown.MAX_COMPLETION_LENGTH for ids in completion_ids]


def train(name: str, folder: Path) -> ForkingGRPOTrainer:
    problems = countdown.make_countdown_dataset("train", num_problems=16 * 130, seed=0)
    if name == "too_hard":  # from three numbers up to 10 nothing gets so high
        problems = problems.map(lambda row: {"goal": 5000})
    settings = SIZES | STEPS | PLACE | {"disable_tqdm": True} | RUNS[name][1]
    trainer = ForkingGRPOTrainer(
        model=countdown.load_countdown_model(),
        reward_funcs=reward_short if name == "collapsed" else countdown.countdown_reward,
        args=ForkingGRPOConfig(str(folder), **settings),
        train_dataset=problems,
        processing_class=countdown.load_countdown_tokenizer(),
    )
    trainer.train()
    return trainer


def write_page() -> None:
    lines = ["# Example verdicts", ""]
    lines += [
        "Four runs of the built-in task and what `trl-forking verdict` says of them. `make_verdicts.py` makes them again.",
        "",
    ]
    for name, (text, settings) in RUNS.items():
        path = PAGES / f"{name}.json"
        if path.is_file():
            shown = ", ".join(f"`{field}={value}`" for field, value in settings.items())
            lines += [f"## {name.replace('_', ' ').capitalize()}", "", f"{text} Settings: {shown}.", ""]
            lines += [
                f"> {' '.join(json.loads(path.read_text())['sentences'])}",
                "",
                f"[{path.name}]({path.name})",
                "",
            ]
    (PAGES / "README.md").write_text("\n".join(lines).rstrip() + "\n")


def main(names: list[str]) -> None:
    for name in names or RUNS:
        folder = Path("runs") / "verdicts" / name
        shutil.rmtree(folder, ignore_errors=True)
        trainer = train(name, folder)
        shutil.copy(folder / "verdict.json", PAGES / f"{name}.json")
        print(name, *judge_run(collect_history(trainer.state.log_history)).sentences, sep="\n  ")
    write_page()


if __name__ == "__main__":
    main(sys.argv[1:])
