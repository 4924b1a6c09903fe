"""Trainers that generate with the stand-in for vLLM, which adds noise to the log-probabilities that it returns."""

from trl import GRPOConfig, GRPOTrainer

from helpers.vllm_stand_in import build_vllm_trainer


ONE_BATCH = {"per_device_train_batch_size": 64, "gradient_accumulation_steps": 1}
TRL = {"trainer_class": GRPOTrainer, "config_class": GRPOConfig, "epsilon_high": 0.28}
MODES = ("token_truncate", "token_mask", "sequence_truncate", "sequence_mask")
LOWER, UPPER = 0.7, 1.5  # the noise below takes many ratios past both
CLIPPED = {"vllm_importance_sampling_clip_min": LOWER, "vllm_importance_sampling_clip_max": UPPER}
NOISE = 0.4


def build(tmp_path, *args, noise=0.0, nan_share=0.0, **settings):
    trainer, engine = build_vllm_trainer(tmp_path, *args, **settings)
    engine.noise, engine.nan_share = noise, nan_share
    return trainer, engine


def to_mode(mode: str) -> dict:
    return {"vllm_importance_sampling_mode": mode, **CLIPPED}
