"""The accuracy of a model on the built-in task."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..evaluation.intervals import compute_share_interval
from .problems import END_TOKEN, MAX_COMPLETION_LENGTH
from .verifier import verify_countdown


if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class CountdownEvaluation:
    """
    Result of [`evaluate_countdown`].

    Attributes:
        num_problems (`int`):
            Number of problems, one answer each.
        num_correct (`int`):
            Number of right answers.
        accuracy (`float`):
            Share of right answers, 0 to 1.
        interval (`tuple[float, float]`):
            Wilson's 95 % interval of the accuracy.
        completions (`list[str]`):
            Answers, in the order of the problems.
    """

    num_problems: int
    num_correct: int
    accuracy: float
    interval: tuple[float, float]
    completions: list[str]


def evaluate_countdown(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    dataset: "Dataset",
    seed: int,
    batch_size: int = 512,
) -> CountdownEvaluation:
    """
    Measure the accuracy of a model: one sampled answer per problem, at temperature 1.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            Model with the vocabulary of the task. Its training mode is left as it was.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer of the task.
        dataset ([`~datasets.Dataset`]):
            Problems of [`make_countdown_dataset`].
        seed (`int`):
            Seed of the sampling. The random state of the caller, on CPU and CUDA, is left as it was.
        batch_size (`int`, *optional*, defaults to `512`):
            Problems per forward pass. Another size draws other answers.

    Returns:
        [`CountdownEvaluation`]: accuracy, its 95 % interval and the answers.

    Example:
    ```python
    >>> from trl_forking.countdown import (
    ...     evaluate_countdown, load_countdown_model, load_countdown_tokenizer, make_countdown_dataset
    ... )
    >>> problems = make_countdown_dataset("eval", num_problems=64, seed=0)
    >>> evaluation = evaluate_countdown(load_countdown_model(), load_countdown_tokenizer(), problems, seed=0)
    >>> evaluation.interval[0] < evaluation.accuracy < evaluation.interval[1]
    True
    ```
    """
    completions = _draw_answers(model, tokenizer, list(dataset["prompt"]), seed, batch_size)
    num_correct = sum(map(verify_countdown, completions, dataset["nums"], dataset["goal"]))
    return CountdownEvaluation(
        num_problems=len(completions),
        num_correct=num_correct,
        accuracy=num_correct / len(completions),
        interval=compute_share_interval(num_correct, len(completions)),
        completions=completions,
    )


def _draw_answers(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", prompts: list[str], seed: int, batch_size: int
) -> list[str]:
    """Draw one answer to each prompt. An answer without an end is cut after 52 words."""
    from ..decoding.sampling import (  # without an evaluation the task needs no torch
        SamplingSettings,
        TransformersSampler,
    )

    settings = SamplingSettings(num_generations=1, max_completion_length=MAX_COMPLETION_LENGTH)
    sampler = TransformersSampler(model, tokenizer, settings)
    answers = sampler.sample(tokenizer(prompts)["input_ids"], seed, batch_size)
    # Special tokens stay: padding in the middle of an answer is an error, and the verifier has to see it.
    texts = tokenizer.batch_decode([ids for (ids,) in answers], skip_special_tokens=False)
    return [text.partition(END_TOKEN)[0].strip() for text in texts]
