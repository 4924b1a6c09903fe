"""A run on the built-in task with dynamic sampling. A test kills and resumes it.

Run: python tests/workers/killed_worker.py OUTPUT_DIR MAX_STEPS; it resumes where OUTPUT_DIR has a complete checkpoint.
"""

import sys
from pathlib import Path

import torch
from transformers import TrainerCallback

from trl_forking import ForkingGRPOConfig, ForkingGRPOTrainer
from trl_forking.countdown import (
    countdown_reward,
    load_countdown_model,
    load_countdown_tokenizer,
    make_countdown_dataset,
)
from trl_forking.run.resume import find_last_complete


class Announcer(TrainerCallback):
    """Says when a step ends, for whoever is to kill it."""

    def on_step_end(self, args, state, control, **kwargs):
        print(f"step {state.global_step}", flush=True)


def main() -> None:
    output_dir, max_steps = sys.argv[1], int(sys.argv[2])
    args = ForkingGRPOConfig(
        output_dir,
        dynamic_sampling=True,
        max_steps=max_steps,
        learning_rate=3e-4,
        per_device_train_batch_size=8,
        steps_per_generation=2,  # a rollout of two steps, so that half of the kills come within one
        num_generations=4,
        max_completion_length=52,
        bf16=False,
        gradient_checkpointing=False,
        logging_steps=1,
        save_steps=1,
        save_total_limit=2,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    trainer = ForkingGRPOTrainer(
        model=load_countdown_model(),
        reward_funcs=countdown_reward,
        args=args,
        train_dataset=make_countdown_dataset("train", num_problems=24, seed=0),  # several passes
        processing_class=load_countdown_tokenizer(),
        callbacks=[Announcer()],
    )
    trainer.train(resume_from_checkpoint=find_last_complete(output_dir) is not None)
    weights = torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    kept = [entry["forking/threshold"] for entry in trainer.state.log_history if "loss" in entry]
    torch.save({"weights": weights, "losses": losses, "thresholds": kept}, Path(output_dir) / "result.pt")


if __name__ == "__main__":
    main()
