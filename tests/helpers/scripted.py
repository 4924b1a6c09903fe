"""Tools, environments and pictures for scripted answers, and one recorded training run of them."""

from dataclasses import dataclass
from typing import Any

import torch

from helpers.tiny import compute_gradients
from helpers.tiny_multimodal import (
    build_chat_trainer,
    build_image_dataset,
    build_vision_model,
    call,
    freeze,
    write_words,
)


@dataclass
class Run:
    gradient: torch.Tensor
    passes: list[dict[str, Any]]  # what the backbone got, in the passes that the loss is taken from
    rewards: list[dict[str, Any]]
    turns: list[dict[str, Any]]
    logs: list[dict[str, Any]]
    trainer: Any


def run(trainer: Any) -> Run:
    passes: list[dict[str, Any]] = []

    def record(module: torch.nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        if torch.is_grad_enabled():
            passes.append(freeze({"args": args, **kwargs}))

    handle = trainer.model.base_model.register_forward_pre_hook(record, with_kwargs=True)
    for reward_func in trainer.reward_funcs:
        getattr(reward_func, "calls", []).clear()  # the check at construction is no reward of an answer
    gradient = compute_gradients(trainer)[-1]
    handle.remove()
    rewards = [call for reward_func in trainer.reward_funcs for call in getattr(reward_func, "calls", [])]
    return Run(gradient, passes, rewards, trainer.turns, trainer.state.log_history, trainer)


def build_seeing(tmp_path, name, trainer_class, dataset=None, **settings):
    model, processor = build_vision_model(name)
    dataset = build_image_dataset() if dataset is None else dataset
    # An answer with an image token in it, which an untrained model draws now and then, is refused by Transformers.
    drawn = {"generation_kwargs": {"suppress_tokens": [model.config.image_token_id]}}
    settings = {"max_completion_length": 12} | drawn | settings
    return build_chat_trainer(tmp_path, trainer_class, model, processor, dataset, **settings)


def add(a: int, b: int) -> int:
    """
    Add two numbers.

    Args:
        a: One number.
        b: Another.
    """
    return a + b


async def shout(word: str) -> str:
    """
    Make a word loud.

    Args:
        word: What to shout.
    """
    return word.upper()


def dump() -> str:
    """Return more than fits."""
    return "z" * 300


def use_tools(prompt, source):
    """One call, two at once, a wrong one, one whose answer is too long, or none; sometimes a second one later."""
    calls = [
        call("add", a=source.randint(0, 9), b=source.randint(0, 9)),
        call("shout", word=write_words(source)) + call("add", a=1, b=2),
        call("missing"),
        call("dump"),
        call("add", a=1),
        "",
    ]
    is_first_turn = "<|im_start|>tool" not in prompt
    chosen = source.choice(calls) if is_first_turn or source.random() < 0.3 else ""
    return f"{write_words(source)}{chosen}<|im_end|>"


def look(width: int) -> list:
    """
    Take a picture.

    Args:
        width: Its width.
    """
    return [{"type": "image", "image": build_image_dataset((1,))[0]["images"][0].resize((width, 12))}]


def look_twice(prompt, source):
    wants_picture = "<|im_start|>tool" not in prompt and source.random() < 0.6
    return f"{write_words(source)}{call('look', width=source.randint(8, 24)) if wants_picture else ''}<|im_end|>"


class Counter:
    """A number to count up; owns its reward."""

    def reset(self, **row):
        self.log, self.total = [("reset", sorted(row))], row.get("number", 5)
        return f"from {self.total} "

    def count(self, step: int) -> int:
        """
        Count up.

        Args:
            step: How far.
        """
        self.log.append(("count", step))
        self.total += step
        return self.total

    def get_reward(self) -> float:
        return float(self.total % 3)


class Speller:
    """Letters to spell; has no reward of its own, and an asynchronous tool."""

    def reset(self, **row):
        self.log = [("reset", sorted(row))]

    async def spell(self, word: str) -> str:
        """
        Spell a word.

        Args:
            word: What to spell.
        """
        self.log.append(("spell", word))
        return "-".join(word)


def act(prompt, source):
    """Call whatever tool the prompt offers, up to three times."""
    if prompt.count("<|im_start|>tool") > 2 or source.random() < 0.3:
        return f"{write_words(source)}<|im_end|>"
    offered = call("count", step=source.randint(1, 4)) if "count(step)" in prompt else call("spell", word="abc")
    return f"{write_words(source)}{offered}<|im_end|>"
