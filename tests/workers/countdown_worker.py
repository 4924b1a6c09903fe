"""One process of five steps on the built-in task with dynamic sampling, under DDP, ZeRO-2, ZeRO-3 or FSDP2.

Run: torchrun --nproc_per_node 2 tests/workers/countdown_worker.py OUTPUT_FILE '[{"lora": true, "fixed": true}, ...]' zero3
"""

import random
import tempfile

import torch
from peft import LoraConfig

from helpers.tiny import PLAIN_SGD
from trl_forking import ForkingGRPOConfig, ForkingGRPOTrainer
from trl_forking.analysis.callback import ForkReportCallback
from trl_forking.countdown import (
    MAX_COMPLETION_LENGTH,
    countdown_reward,
    load_countdown_model,
    load_countdown_tokenizer,
    make_countdown_dataset,
)
from trl_forking.countdown.warm_start import draw_search
from workers.sharded_worker import build_settings, describe_strategy, read_weights, run_all


NUM_PROMPTS, NUM_GENERATIONS, MAX_STEPS = 4, 4, 5


def replay_searches(prompts: list[str], trainer) -> dict:
    """A `rollout_func`: random searches, the same ones to a prompt whatever process and round asks for them."""
    tokenizer = trainer.processing_class
    completion_ids = []
    first = trainer.accelerator.process_index * len(prompts)  # a group may lie on two ranks
    for index, prompt in enumerate(prompts, start=first):
        nums, goal = [int(word) for word in prompt.split()[1:4]], int(prompt.split()[5])
        source = random.Random(f"{prompt}/{index % NUM_GENERATIONS}")
        completion_ids.append([*tokenizer(draw_search(nums, goal, source))["input_ids"], tokenizer.eos_token_id])
    return {"prompt_ids": tokenizer(prompts)["input_ids"], "completion_ids": completion_ids, "logprobs": None}


def build_trainer(strategy: str, settings: dict, num_processes: int) -> ForkingGRPOTrainer:
    config = settings.get("config", {})
    per_device = NUM_PROMPTS * NUM_GENERATIONS // num_processes // 2
    args = ForkingGRPOConfig(
        settings.get("folder") or tempfile.mkdtemp(),
        **PLAIN_SGD
        | {
            "dynamic_sampling": True,
            "per_device_train_batch_size": per_device,
            "gradient_accumulation_steps": 2,
            "num_generations": NUM_GENERATIONS,
            "max_completion_length": MAX_COMPLETION_LENGTH,
            "max_steps": MAX_STEPS,
            "learning_rate": 0.05,
        }
        | build_settings(strategy)
        | config,
    )
    lora = LoraConfig(r=8, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
    torch.manual_seed(0)  # the adapter is the same everywhere
    return ForkingGRPOTrainer(
        model=load_countdown_model(),
        reward_funcs=countdown_reward,
        args=args,
        train_dataset=make_countdown_dataset("train", num_problems=200, seed=0),
        processing_class=load_countdown_tokenizer(),
        peft_config=lora if settings.get("lora") else None,
        rollout_func=replay_searches if settings.get("fixed") else None,
    )


def run(strategy: str, settings: dict, num_processes: int = 2) -> dict:
    trainer = build_trainer(strategy, settings, num_processes)
    zero_variance_trained = []
    complete = trainer._generate_and_score_completions

    def record(inputs):
        batch = complete(inputs)
        advantages = trainer.accelerator.gather(batch["advantages"]).view(-1, NUM_GENERATIONS)
        zero_variance_trained.append(int((advantages == 0).all(1).sum()))
        return batch

    trainer._generate_and_score_completions = record
    if settings.get("report"):
        trainer.add_callback(ForkReportCallback(trainer, every_n_steps=2))
    before = read_weights(trainer.model)
    trainer.train(resume_from_checkpoint=settings.get("checkpoint"))
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    return {
        "weights": read_weights(trainer.model),
        "change": (read_weights(trainer.model) - before).abs().max().item(),
        "losses": [entry["loss"] for entry in logs],
        "rounds": [entry.get("forking/sampling_rounds") for entry in logs],
        "overlaps": [entry.get("forking/overlap_with_base") for entry in logs],
        "prompts_consumed": logs[-1].get("forking/prompts_consumed"),
        "zero_variance_trained": zero_variance_trained,
        **describe_strategy(trainer),
    }


if __name__ == "__main__":
    run_all(run)
