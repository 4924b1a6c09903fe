"""Tiny models, fixed answers and one training step for the trainer tests, without downloads and mocks."""

import random
from collections.abc import Callable
from typing import Any

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM, TrainerCallback

from trl_forking import ForkingGRPOConfig, ForkingGRPOTrainer


VOCABULARY_SIZE = 32
PAD, EOS = 0, 1
NUM_PROMPTS, NUM_GENERATIONS = 16, 4
PLAIN_SGD = {
    "lr_scheduler_type": "constant",
    "optim": "sgd",  # Adam's first steps are the gradient's sign: rounding would be learned at full size
    "max_grad_norm": 0.0,
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "report_to": "none",
    "save_strategy": "no",
    "logging_steps": 1,
    "disable_tqdm": True,
}
LOSS_TYPES = ("dapo", "grpo", "bnpo", "dr_grpo", "cispo", "sapo", "vespo", "luspo")


def build_tokenizer() -> PreTrainedTokenizerFast:
    words = {"<pad>": PAD, "<eos>": EOS, "<unk>": 2, **{f"w{i}": i for i in range(3, VOCABULARY_SIZE)}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", padding_side="left"
    )


def build_model(seed: int = 0, scale: float = 0.5, **config: Any) -> Qwen3ForCausalLM:
    """A Qwen3 of two layers whose logits are spread enough for entropies between 0.5 and 3.4 nats."""
    torch.manual_seed(seed)
    sizes = {"vocab_size": VOCABULARY_SIZE, "hidden_size": 16, "intermediate_size": 32, "head_dim": 8}
    layers = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    tokens = {"pad_token_id": PAD, "eos_token_id": EOS, "bos_token_id": None}
    model = Qwen3ForCausalLM(Qwen3Config(**(sizes | layers | tokens | {"tie_word_embeddings": False} | config)))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.normal_(std=scale)
    return model


def build_dataset(num_prompts: int = NUM_PROMPTS) -> Dataset:
    prompts = [
        " ".join(f"w{3 + (i * j) % 29}" for j in range(1, 2 + i % 4)) + f" w{3 + i}" for i in range(num_prompts)
    ]
    return Dataset.from_dict({"prompt": prompts, "number": list(range(num_prompts))})


def build_answer(number: int, sample: int, max_length: int = 12) -> list[int]:
    """The fixed answer `sample` to prompt `number`; the first words of answers to one prompt are often equal."""
    source = random.Random(1000 * number + sample)
    first = random.Random(number).choices(range(3, VOCABULARY_SIZE), k=2)
    return first + source.choices(range(3, VOCABULARY_SIZE), k=source.randint(0, max_length - 3)) + [EOS]


def reward_fixed(completion_ids: list[list[int]], number: list[int], **kwargs: Any) -> list[float]:
    """0 or 1 by the length of the answer; every fourth prompt has equal rewards for all its answers."""
    return [1.0 if n % 4 == 0 or len(ids) % 2 else 0.0 for ids, n in zip(completion_ids, number, strict=True)]


def reward_second_half(completion_ids: list[list[int]], number: list[int], **kwargs: Any) -> list[float]:
    """As `reward_fixed`, but the first eight prompts teach nothing: all that the first of two ranks holds."""
    rewards = reward_fixed(completion_ids, number)
    return [1.0 if n < NUM_PROMPTS // 2 else reward for n, reward in zip(number, rewards, strict=True)]


def replay_fixed_answers(prompts: list[str], trainer: Any) -> dict[str, Any]:
    """A `rollout_func`: the same answer to a prompt whatever process and step asks for it."""
    numbers = {prompt: number for number, prompt in enumerate(build_dataset()["prompt"])}
    first = trainer.accelerator.process_index * len(prompts)  # a group may lie on two ranks
    answers = [build_answer(numbers[prompt], index % NUM_GENERATIONS) for index, prompt in enumerate(prompts, first)]
    prompt_ids = [trainer.processing_class(prompt)["input_ids"] for prompt in prompts]
    return {"prompt_ids": prompt_ids, "completion_ids": answers, "logprobs": None}


def build_trainer(
    output_dir: str,
    trainer_class: type = ForkingGRPOTrainer,
    config_class: type = ForkingGRPOConfig,
    model: Any = None,
    rollout_func: Callable | None = replay_fixed_answers,
    reward_funcs: Any = reward_fixed,
    trainer_kwargs: dict[str, Any] | None = None,
    train_dataset: Any = None,
    **config: Any,
) -> Any:
    """A trainer whose one step covers the 64 fixed answers; with plain SGD its weight change is the gradient."""
    settings = PLAIN_SGD | {
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 8,
        "num_generations": NUM_GENERATIONS,
        "max_completion_length": 12,
        "max_steps": 1,
        "learning_rate": 1.0,
        "shuffle_dataset": False,
    }
    return trainer_class(
        model=build_model() if model is None else model,
        reward_funcs=reward_funcs,
        args=config_class(output_dir, **(settings | config)),
        train_dataset=build_dataset() if train_dataset is None else train_dataset,
        processing_class=build_tokenizer(),
        rollout_func=rollout_func,
        **(trainer_kwargs or {}),
    )


def compute_weight_change(trainer: Any) -> torch.Tensor:
    """Train and return the change of all weights as one vector."""
    before = torch.cat([parameter.detach().flatten().clone() for parameter in trainer.model.parameters()])
    torch.manual_seed(0)  # what was built in between must not move the sampled answers
    trainer.train()
    return torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()]) - before


class GradientRecorder(TrainerCallback):
    """Copies the gradient of every optimizer step; exact where a change of the weights is rounded to theirs."""

    def __init__(self):
        self.gradients = []

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        trained = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        self.gradients.append(torch.cat([gradient.flatten().float() for gradient in trained]))


def compute_gradients(trainer: Any) -> list[torch.Tensor]:
    """Train and return the gradient of every step as one vector each."""
    recorder = GradientRecorder()
    trainer.add_callback(recorder)
    torch.manual_seed(0)
    trainer.train()
    return recorder.gradients


def relative_error(value: torch.Tensor, reference: torch.Tensor) -> float:
    return ((value - reference).norm() / reference.norm()).item()


def roll_out(trainer: Any) -> dict[str, Any]:
    """The rollout batch of one process, as the trainer buffers it, for calling the loss by hand."""
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    rows = [row for row in trainer.train_dataset for _ in range(NUM_GENERATIONS)]
    return trainer._generate_and_score_completions(rows)


def record_rollouts(trainer: Any) -> list[Any]:
    """The rollouts that a trainer is going to make; each holds the batch as it is when it is read."""
    rollouts, make_rollout = [], trainer.make_rollout

    def record(inputs):
        rollouts.append(make_rollout(inputs))
        return rollouts[-1]

    trainer.make_rollout = record
    return rollouts


class GradientSpy(ForkingGRPOTrainer):
    """Keeps the log-probabilities of the loss pass, whose gradient shows which tokens are trained."""

    def _get_per_token_logps_and_entropies(self, *args, **kwargs):
        scores = super()._get_per_token_logps_and_entropies(*args, **kwargs)
        self.seen_logps, self.seen_entropies = scores[0], scores[1]
        if self.seen_logps.requires_grad:
            self.seen_logps.retain_grad()
        return scores
