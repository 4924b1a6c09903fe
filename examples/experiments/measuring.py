"""What is measured of a trained model: its answers to all held-out problems, and how far its forks have moved."""

from collections.abc import Callable
from typing import Any

import torch

from trl_forking.analysis.comparison import build_comparison
from trl_forking.analysis.scoring import compute_token_scores
from trl_forking.countdown import (
    END_TOKEN,
    MAX_COMPLETION_LENGTH,
    NUM_PROBLEMS,
    load_countdown_model,
    load_countdown_tokenizer,
    make_countdown_dataset,
    verify_countdown,
)
from trl_forking.decoding.sampling import SamplingSettings, TransformersSampler


NUM_ANSWERS = 8
SAMPLING_SEED = 0  # the same for every arm and seed, as is the order of the problems
BATCH_SIZE = 128
NUM_SCORED = 256


def score_answers(
    sampler: TransformersSampler,
    prompt_ids: list[list[int]],
    is_right: Callable[[int, list[int]], bool],
    batch_size: int,
) -> tuple[dict[str, Any], list[list[int]]]:
    """
    Draw several answers to each problem and verify them.

    Args:
        sampler ([`~trl_forking.decoding.sampling.TransformersSampler`]):
            Draws at most eight answers to each prompt, with the same seed for every model.
        prompt_ids (`list[list[int]]`):
            Tokens of the prompts.
        is_right (`Callable[[int, list[int]], bool]`):
            Takes the index of a problem and the tokens of an answer.
        batch_size (`int`):
            Prompts in a forward pass.

    Returns:
        The figures, and the tokens of the first answer to each problem. `scores` has two hexadecimal digits for each
        problem: bit `k` is set if answer `k` is right. `accuracy` and `truncated` are fractions, and `mean_length` is in
        tokens.
    """
    answers = sampler.sample(prompt_ids, SAMPLING_SEED, batch_size)
    scores = [
        sum(is_right(index, answer) << place for place, answer in enumerate(drawn))
        for index, drawn in enumerate(answers)
    ]
    flat = [answer for drawn in answers for answer in drawn]
    ends = set(sampler.eos_token_ids)
    figures = {
        "num_problems": len(answers),
        "num_answers": sampler.settings.num_generations,
        "accuracy": sum(score.bit_count() for score in scores) / len(flat),
        "mean_length": sum(map(len, flat)) / len(flat),
        "truncated": sum(ends.isdisjoint(answer) for answer in flat) / len(flat),
        "scores": "".join(f"{score:02x}" for score in scores),
    }
    return figures, [drawn[0] for drawn in answers]


def evaluate(model: Any, num_problems: int = NUM_PROBLEMS["eval"]) -> tuple[dict[str, Any], list[list[int]]]:
    """
    Let a model answer the held-out problems of the built-in task, eight times each.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            The model.
        num_problems (`int`, *optional*, defaults to `1771`):
            Number of problems.

    Returns:
        The figures and the first answers, as [`score_answers`] returns them.
    """
    tokenizer = load_countdown_tokenizer()
    problems = list(make_countdown_dataset("eval", num_problems, seed=0))
    settings = SamplingSettings(num_generations=NUM_ANSWERS, max_completion_length=MAX_COMPLETION_LENGTH)

    def is_right(index: int, answer: list[int]) -> bool:
        # Special tokens stay: padding in the middle of an answer is an error, and the verifier has to see it.
        text = tokenizer.decode(answer, skip_special_tokens=False).partition(END_TOKEN)[0].strip()
        return verify_countdown(text, problems[index]["nums"], problems[index]["goal"])

    prompt_ids = tokenizer([problem["prompt"] for problem in problems])["input_ids"]
    return score_answers(TransformersSampler(model, tokenizer, settings), prompt_ids, is_right, BATCH_SIZE)


def compute_entropies(model: Any, prompt_ids: list[list[int]], answers: list[list[int]]) -> list[Any]:
    """Compute the entropies of given answers, an array in nats for each."""
    return [answer.entropies for answer in compute_token_scores(model, prompt_ids, answers)]


def follow_forks(answers: list[list[int]], weights: dict[int, dict[str, torch.Tensor]]) -> dict[str, Any]:
    """
    Score the answers of the last model with the model before training and with every copy of the weights.

    Args:
        answers (`list[list[int]]`):
            Tokens of the first answer to each held-out problem. The first 256 are scored.
        weights (`dict[int, dict[str, Tensor]]`):
            Copies of the weights by step.

    Returns:
        `dict`: the tables of [`~trl_forking.analysis.comparison.build_comparison`]: overlap of the forks, percentiles, and
        the change of the entropy by bins.
    """
    prompts = make_countdown_dataset("eval", NUM_PROBLEMS["eval"], seed=0)["prompt"][:NUM_SCORED]
    prompt_ids = load_countdown_tokenizer()(list(prompts))["input_ids"][: len(answers)]

    def score(state: dict[str, torch.Tensor] | None) -> list[Any]:
        model = load_countdown_model()
        if state is not None:
            model.load_state_dict(state)
        return compute_entropies(model, prompt_ids, answers[: len(prompt_ids)])

    return build_comparison(score(None), {f"step {step}": score(state) for step, state in sorted(weights.items())})
