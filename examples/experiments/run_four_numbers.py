"""
Train a model of 27 million parameters on Countdown with four numbers: one arm with one seed, on a GPU.

    python examples/experiments/run_four_numbers.py top_20 --seed 0
    python examples/experiments/run_four_numbers.py top_20 --seed 0 --tiny  # a trial in a minute on a CPU

The first run trains the model from nothing on random searches. A run then has 130 steps of 32 problems x 8 answers, and it is
evaluated on 1,000 held-out problems x 8 answers. The record goes to results/four_numbers. Part A of the grid:

    for arm in all_tokens top_20 random_20 lowest_80; do
        for seed in 0 1 2 3 4; do python examples/experiments/run_four_numbers.py $arm --seed $seed; done
    done
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import torch
from arms import ARMS
from datasets import Dataset
from four_numbers import (
    END_TOKEN,
    FORK_OFFSETS,
    LARGEST_NUMBER,
    LARGEST_VALUE,
    MAX_COMPLETION_LENGTH,
    PAD_TOKEN,
    VOCABULARY,
    Problem,
    draw_problem,
    verify,
    write_search,
)
from measuring import NUM_SCORED, compute_entropies, score_answers
from new_record import build_record, build_record_before
from records import BEFORE, RESULTS, locate, write
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from training import COMMON_SETTINGS, ForkRecall, open_unfinished, read_log
from transformers import PreTrainedTokenizerFast, PrinterCallback, Qwen3Config, Qwen3ForCausalLM

from trl_forking import ForkingGRPOConfig, ForkingGRPOTrainer
from trl_forking.analysis.comparison import build_comparison
from trl_forking.commands.quiet import quiet_libraries
from trl_forking.decoding.sampling import SamplingSettings, TransformersSampler


NUM_ANSWERS = 8
WARM_RATE, NUM_WARMUP_STEPS = 1e-3, 100
RIGHT_PROBABILITY = 0.1  # of an attempt in the texts of the warm start
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Size(NamedTuple):
    """Size of the model and of a run."""

    width: int = 512
    num_layers: int = 8
    num_warm_steps: int = 1000
    warm_batch: int = 256
    num_steps: int = 130
    num_prompts: int = 32
    num_problems: int = 1000
    learning_rate: float = 1e-4


TINY = Size(64, 2, 20, 16, 2, 2, 16)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Build the tokenizer, with one token for each word."""
    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate(VOCABULARY)}))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **{"pad_token": PAD_TOKEN, "eos_token": END_TOKEN, "padding_side": "left"},
        # The clean-up would remove the space before a comma.
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )


def build_model(size: Size) -> Qwen3ForCausalLM:
    """Build the model with new random weights."""
    config = Qwen3Config(
        vocab_size=len(VOCABULARY),
        hidden_size=size.width,
        intermediate_size=3 * size.width,
        num_hidden_layers=size.num_layers,
        num_attention_heads=size.width // 64 or 1,
        num_key_value_heads=size.width // 64 or 1,
        head_dim=64,
        max_position_embeddings=256,
        rope_parameters={"rope_type": "default", "rope_theta": 1000.0},
        tie_word_embeddings=True,
        pad_token_id=VOCABULARY.index(PAD_TOKEN),
        eos_token_id=VOCABULARY.index(END_TOKEN),
        bos_token_id=None,
    )
    torch.manual_seed(0)
    return Qwen3ForCausalLM(config).float()


class Searches(TorchDataset):
    """
    Batches of random searches as `input_ids` and `labels`, `(B, T)` each. Prompts and padding have no loss.

    A batch depends on its index alone, so that the number of processes that draw them changes nothing.
    """

    def __init__(self, size: Size, tokenizer: PreTrainedTokenizerFast) -> None:
        self.size, self.tokenizer = size, tokenizer

    def __len__(self) -> int:
        return self.size.num_warm_steps

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        random = Random(index)
        input_ids, labels = [], []
        for _ in range(self.size.warm_batch):
            largest = LARGEST_VALUE if random.random() < 0.5 else LARGEST_NUMBER
            problem = draw_problem(held_out=False, random=random, largest=largest)
            prompt = self.tokenizer(problem.prompt)["input_ids"]
            search = self.tokenizer(write_search(problem, RIGHT_PROBABILITY, random))["input_ids"]
            answer = [*search, self.tokenizer.eos_token_id]
            padding = MAX_COMPLETION_LENGTH - len(answer)
            input_ids.append(prompt + answer + [self.tokenizer.pad_token_id] * padding)
            labels.append([-100] * len(prompt) + answer + [-100] * padding)
        return torch.tensor(input_ids), torch.tensor(labels)


def warm_start(size: Size, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Train a new model on random searches, and save it."""
    model = build_model(size).to(DEVICE).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=WARM_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    # One process draws about seven batches in a second.
    batches = DataLoader(
        Searches(size, tokenizer), batch_size=None, num_workers=max(len(os.sched_getaffinity(0)) - 1, 0)
    )
    for step, (input_ids, labels) in enumerate(batches):
        rise, fall = (step + 1) / NUM_WARMUP_STEPS, (size.num_warm_steps - step) / size.num_warm_steps
        optimizer.param_groups[0]["lr"] = WARM_RATE * min(rise, fall)
        # The padding is on the right, where causal attention never sees it. So there is no attention mask.
        with torch.autocast(DEVICE, torch.bfloat16, enabled=DEVICE == "cuda"):
            loss = model(input_ids=input_ids.to(DEVICE), labels=labels.to(DEVICE)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if (step + 1) % (size.num_warm_steps // 10) == 0:
            print(f"warm start, step {step + 1}: loss {loss.item():.3f} nats", flush=True)
    with open_unfinished(folder) as unfinished:
        model.eval().save_pretrained(unfinished)


def reward_search(completions: list[str], nums: list[list[int]], goal: list[int], **kwargs: Any) -> list[float]:
    """Reward a right answer with 1."""
    return [float(verify(text, Problem(tuple(n), g))) for text, n, g in zip(completions, nums, goal, strict=True)]


def list_problems(count: int, held_out: bool, seed: int) -> list[Problem]:
    """Draw distinct problems."""
    random = Random(seed)
    found: dict[Problem, None] = {}
    while len(found) < count:
        problem = draw_problem(held_out, random)
        found[problem] = None
    return list(found)


def build_trainer(
    settings: dict[str, Any], seed: int, size: Size, start: Path, tokenizer: PreTrainedTokenizerFast, folder: str
) -> ForkingGRPOTrainer:
    """Build the trainer of a run. All arms of a seed see the same problems in the same order."""
    problems = list_problems(size.num_prompts * size.num_steps, held_out=False, seed=seed)
    common = COMMON_SETTINGS | {
        "learning_rate": size.learning_rate,
        "per_device_train_batch_size": 8 * size.num_prompts,
        "max_completion_length": MAX_COMPLETION_LENGTH,
        "max_steps": size.num_steps,
        "seed": seed,
        "use_cpu": DEVICE == "cpu",
    }
    trainer = ForkingGRPOTrainer(
        model=load(start),
        reward_funcs=reward_search,
        args=ForkingGRPOConfig(folder, **(common | settings)),
        train_dataset=Dataset.from_list(
            [{"prompt": each.prompt, "nums": list(each.nums), "goal": each.goal} for each in problems]
        ),
        processing_class=tokenizer,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def load(start: Path) -> Qwen3ForCausalLM:
    """Load the model of the warm start."""
    return Qwen3ForCausalLM.from_pretrained(start, dtype=torch.float32).to(DEVICE)


def evaluate(
    model: Any, tokenizer: PreTrainedTokenizerFast, num_problems: int
) -> tuple[dict[str, Any], list[list[int]]]:
    """Let a model answer held-out problems, eight times each. Return the figures and the first answers."""
    problems = list_problems(num_problems, held_out=True, seed=0)
    settings = SamplingSettings(num_generations=NUM_ANSWERS, max_completion_length=MAX_COMPLETION_LENGTH)

    def is_right(index: int, answer: list[int]) -> bool:
        text = tokenizer.decode(answer, skip_special_tokens=False).partition(END_TOKEN)[0].strip()
        return verify(text, problems[index])

    prompt_ids = tokenizer([problem.prompt for problem in problems])["input_ids"]
    return score_answers(TransformersSampler(model, tokenizer, settings), prompt_ids, is_right, batch_size=250)


def run(arm: str, seed: int, size: Size, start: Path, tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """Train an arm with a seed, and return its record."""
    began = time.perf_counter()
    agreement = ForkRecall(VOCABULARY, FORK_OFFSETS)
    with tempfile.TemporaryDirectory() as folder:
        trainer = build_trainer(ARMS[arm].settings, seed, size, start, tokenizer, folder)
        trainer.add_callback(agreement)
        trainer.train()
    seconds = {"training": time.perf_counter() - began}
    figures, answers = evaluate(trainer.model, tokenizer, size.num_problems)
    answers = answers[:NUM_SCORED]
    # The same draw as that of the evaluation, as far as the answers go.
    problems = list_problems(len(answers), held_out=True, seed=0)
    prompt_ids = tokenizer([problem.prompt for problem in problems])["input_ids"]
    before, after = (compute_entropies(model, prompt_ids, answers) for model in (load(start), trainer.model))
    figures["forks"] = build_comparison(before, {f"step {size.num_steps}": after})
    return build_record(arm, seed, size.num_steps, seconds, figures, read_log(trainer) | agreement.list_shares())


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a larger model on Countdown with four numbers.")
    parser.add_argument("arm", choices=[*ARMS, "before"], help="arm of arms.py, or `before` for the model as it is")
    parser.add_argument("--seed", type=int, default=0, help="seed (default: 0)")
    parser.add_argument("--tiny", action="store_true", help="a tiny model and two steps, to try the script on a CPU")
    parser.add_argument("--runs", type=Path, default=Path("runs") / "four_numbers", help="folder of the model")
    parser.add_argument(
        "--results", type=Path, default=RESULTS.with_name("four_numbers"), help="folder of the records"
    )
    arguments = parser.parse_args()

    quiet_libraries()
    torch.set_num_threads(1)
    size, tokenizer = TINY if arguments.tiny else Size(), build_tokenizer()
    start = arguments.runs / ("tiny" if arguments.tiny else "warm-start")
    if not (start / "model.safetensors").exists():
        warm_start(size, tokenizer, start)
    if arguments.arm == "before":
        figures, _ = evaluate(load(start), tokenizer, size.num_problems)
        write(arguments.results / BEFORE, build_record_before(figures))
        return
    record = run(arguments.arm, arguments.seed, size, start, tokenizer)
    write(locate(arguments.results, arguments.arm, arguments.seed), record)


if __name__ == "__main__":
    main()
