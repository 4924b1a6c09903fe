"""The built-in task: search for a way from three numbers to a goal, with forks known by construction.

    nums 3 5 2 goal 16 :
    3 * 5 = 15 left 15 2 , 15 - 2 = 13 vs 16 no 5 + 3 = 8 left 8 2 , 8 * 2 = 16 vs 16 yes

An answer is one to three attempts of 17 words, and it ends at the first `yes`. In an attempt the first operand, the
first operation, the second operand and the second operation are free choices, and every other word follows from what
stands before it. Four words of 17 are therefore the true forks that a selection by entropy has to find.

The task, its verifier and a model of 2.7 MB come with the package: a whole training run needs neither network nor GPU.
"""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import permutations, product
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast, Qwen3ForCausalLM


SMALLEST_NUMBER = 1
LARGEST_NUMBER = 9
LARGEST_VALUE = 50
OPERATIONS = ("+", "-", "*")

WORDS_PER_ATTEMPT = 17
MAX_ATTEMPTS = 3
# The end token is the last word of a complete answer.
MAX_COMPLETION_LENGTH = MAX_ATTEMPTS * WORDS_PER_ATTEMPT + 1
# First operand, first operation, second operand, second operation. The second step's operands are no choice: two
# numbers are left and the larger one stands first.
FORK_OFFSETS = (0, 1, 2, 10)

PAD_TOKEN = "<pad>"
END_TOKEN = "<end>"
VOCABULARY = (
    PAD_TOKEN,
    END_TOKEN,
    *(str(value) for value in range(LARGEST_VALUE + 1)),
    *OPERATIONS,
    *("nums", "goal", ":", "=", "left", ",", "vs", "no", "yes"),
)

NUM_PROBLEMS = {"train": 6232, "eval": 1771}
ASSETS = Path(__file__).parent / "assets"


def _list_steps(numbers: tuple[int, ...]) -> list[tuple[str, tuple[int, ...]]]:
    """List the legal steps on `numbers` as (text, numbers afterwards), the result in front of what was not used."""
    steps = []
    for first, second in permutations(range(len(numbers)), 2):
        larger, smaller = numbers[first], numbers[second]
        # Between equal numbers the order is invisible; it is taken once, so that no choice counts double.
        if larger < smaller or (larger == smaller and first > second):
            continue
        rest = tuple(number for index, number in enumerate(numbers) if index not in (first, second))
        results = {"+": larger + smaller, "-": larger - smaller, "*": larger * smaller}
        for operation in OPERATIONS:
            result = results[operation]
            if result <= LARGEST_VALUE:
                steps.append((f"{larger} {operation} {smaller} = {result}", (result, *rest)))
    return steps


@cache
def _list_values(nums: tuple[int, ...]) -> tuple[tuple[str, int], ...]:
    """List every way to use up `nums` as (text up to the verdict, value reached), at most 27 of them."""
    return tuple(
        (f"{first_step} left {left[0]} {left[1]} , {second_step}", value)
        for first_step, left in _list_steps(nums)
        for second_step, (value,) in _list_steps(left)
    )


def list_attempts(nums: Sequence[int], goal: int) -> list[str]:
    """
    List every legal attempt at a problem, right and wrong ones alike.

    Of two equal numbers each is used in turn, so some attempts are listed twice: a uniform draw is a random search.

    Args:
        nums (`Sequence[int]`):
            Three numbers from 1 to 9.
        goal (`int`):
            The number to reach.

    Returns:
        `list[str]`: At most 27 attempts of 17 words. The last word is `yes` in an attempt that reaches the goal.

    Example:
    ```python
    >>> from trl_forking.countdown import list_attempts
    >>> attempts = list_attempts([3, 5, 2], goal=16)
    >>> attempts[0]
    '3 + 2 = 5 left 5 5 , 5 + 5 = 10 vs 16 no'
    >>> [attempt for attempt in attempts if attempt.endswith("yes")]
    ['5 + 3 = 8 left 8 2 , 8 * 2 = 16 vs 16 yes']
    ```
    """
    return [
        f"{derivation} vs {goal} {'yes' if value == goal else 'no'}" for derivation, value in _list_values(tuple(nums))
    ]


def list_goals(nums: Sequence[int]) -> list[int]:
    """
    List the goals that three numbers can reach.

    Args:
        nums (`Sequence[int]`):
            Three numbers.

    Returns:
        `list[int]`: The goals in ascending order.

    Example:
    ```python
    >>> from trl_forking.countdown import list_goals
    >>> list_goals([1, 1, 1])
    [0, 1, 2, 3]
    ```
    """
    return sorted({value for _, value in _list_values(tuple(nums))})


def is_held_out(nums: Sequence[int]) -> bool:
    """
    Tell whether a triple of numbers belongs to the `eval` split, in whatever order it is written.

    A checksum of the sorted numbers decides, which no seed and no version of Python can change. It holds out 34 of
    the 165 triples (20.6 %).

    Args:
        nums (`Sequence[int]`):
            Three numbers from 1 to 9.

    Returns:
        `bool`: True for `eval`, False for `train`.

    Example:
    ```python
    >>> from trl_forking.countdown import is_held_out
    >>> is_held_out([3, 5, 2]) == is_held_out([2, 3, 5])
    True
    ```
    """
    return zlib.crc32(bytes(sorted(nums))) % 5 == 0


@cache
def _list_problems(split: str) -> tuple[tuple[tuple[int, ...], int], ...]:
    """List every solvable problem of a split as (nums, goal), each order of the numbers as a problem of its own."""
    numbers = range(SMALLEST_NUMBER, LARGEST_NUMBER + 1)
    return tuple(
        (nums, goal)
        for nums in product(numbers, repeat=3)
        if is_held_out(nums) == (split == "eval")
        for goal in list_goals(nums)
    )


def format_prompt(nums: Sequence[int], goal: int) -> str:
    """
    Write a problem the way the model reads it.

    Args:
        nums (`Sequence[int]`):
            Three numbers from 1 to 9.
        goal (`int`):
            The number to reach, 0 to 50.

    Returns:
        `str`: The prompt, 7 words.

    Example:
    ```python
    >>> from trl_forking.countdown import format_prompt
    >>> format_prompt([3, 5, 2], 16)
    'nums 3 5 2 goal 16 :'
    ```
    """
    return f"nums {' '.join(map(str, nums))} goal {goal} :"


def make_countdown_dataset(split: str, num_problems: int, seed: int) -> "Dataset":
    """
    Draw distinct solvable problems from one split, in random order.

    The splits share no triple of numbers, whatever its order, and the bundled model was not trained on one of `eval`.

    Args:
        split (`str`):
            `"train"` (131 triples, 6,232 problems) or `"eval"` (34 triples, 1,771 problems).
        num_problems (`int`):
            Number of problems, from 1 to `NUM_PROBLEMS[split]`.
        seed (`int`):
            Decides which problems are drawn. The same seed draws the same problems.

    Returns:
        [`~datasets.Dataset`]: Columns `prompt` (`str`), `nums` (`list[int]`, three numbers) and `goal` (`int`).

    Raises:
        `ValueError`: If the split does not exist or has fewer than `num_problems` problems.

    Example:
    ```python
    >>> from trl_forking.countdown import make_countdown_dataset
    >>> dataset = make_countdown_dataset("train", num_problems=100, seed=0)
    >>> dataset.column_names
    ['prompt', 'nums', 'goal']
    >>> len(dataset[0]["nums"])
    3
    ```
    """
    from datasets import Dataset

    if split not in NUM_PROBLEMS:
        raise ValueError(f"split must be 'train' or 'eval', not {split!r}.")
    if not 1 <= num_problems <= NUM_PROBLEMS[split]:
        raise ValueError(f"num_problems must be 1 to {NUM_PROBLEMS[split]} for split {split!r}, not {num_problems}.")
    drawn = Random(seed).sample(_list_problems(split), num_problems)
    return Dataset.from_dict(
        {
            "prompt": [format_prompt(nums, goal) for nums, goal in drawn],
            "nums": [list(nums) for nums, _ in drawn],
            "goal": [goal for _, goal in drawn],
        }
    )


def verify_countdown(completion: str, nums: Sequence[int], goal: int) -> bool:
    """
    Verify an answer exactly: right from the first word to the last, and the goal is reached.

    At most 27 attempts can be written for three numbers, so an attempt is checked by looking it up among them. That
    covers the grammar, the operands, their order, the arithmetic, the numbers left and the verdict at once.

    Args:
        completion (`str`):
            The answer without prompt and end token; words are separated by white space.
        nums (`Sequence[int]`):
            The three numbers of the problem.
        goal (`int`):
            The number to reach.

    Returns:
        `bool`: True if one to three legal attempts were written, the last one ends with `yes`, and no earlier one
        does. Anything else is False: an answer cut short, words after the `yes`, any other string.

    Example:
    ```python
    >>> from trl_forking.countdown import verify_countdown
    >>> verify_countdown("5 + 3 = 8 left 8 2 , 8 * 2 = 16 vs 16 yes", nums=[3, 5, 2], goal=16)
    True
    >>> verify_countdown("5 + 3 = 8 left 8 2 , 8 + 2 = 16 vs 16 yes", nums=[3, 5, 2], goal=16)  # 8 + 2 is 10
    False
    ```
    """
    words = completion.split()
    attempts = [
        " ".join(words[start : start + WORDS_PER_ATTEMPT]) for start in range(0, len(words), WORDS_PER_ATTEMPT)
    ]
    verdicts = [attempt.rpartition(" ")[2] for attempt in attempts]
    return (
        len(attempts) <= MAX_ATTEMPTS
        and verdicts == ["no"] * (len(attempts) - 1) + ["yes"]
        and set(attempts) <= set(list_attempts(nums, goal))
    )


def countdown_reward(
    prompts: list[str], completions: list[str], nums: list[list[int]], goal: list[int], **kwargs
) -> list[float]:
    """
    Reward right answers with 1.0 and all others with 0.0; a reward function as TRL calls it.

    Args:
        prompts (`list[str]`):
            The prompts. They are not read: `nums` and `goal` hold the problem.
        completions (`list[str]`):
            One answer for each prompt.
        nums (`list[list[int]]`):
            The dataset's column `nums`.
        goal (`list[int]`):
            The dataset's column `goal`.
        **kwargs:
            What else TRL passes; not read.

    Returns:
        `list[float]`: One reward for each answer.

    Example:
    ```python
    >>> from trl_forking.countdown import countdown_reward
    >>> completions = ["5 + 3 = 8 left 8 2 , 8 * 2 = 16 vs 16 yes", "5 + 3 = 8 left 8 2"]
    >>> countdown_reward(["nums 3 5 2 goal 16 :"] * 2, completions, nums=[[3, 5, 2]] * 2, goal=[16, 16])
    [1.0, 0.0]
    ```
    """
    return [float(verify_countdown(*answer)) for answer in zip(completions, nums, goal, strict=True)]


def mark_forks(tokens: list[str]) -> list[bool]:
    """
    Mark the tokens of an answer at which the task leaves a choice.

    Attempts are counted anew from each verdict, so that a wrong number of words in one attempt does not shift the
    marks of the next.

    Args:
        tokens (`list[str]`):
            The words of one answer, of any length, with or without spaces; the end token and padding may follow.

    Returns:
        `list[bool]`: For each token, True at the first operand, first operation, second operand and second operation
        of an attempt. The end token, padding and whatever follows a `yes` are no forks.

    Example:
    ```python
    >>> from trl_forking.countdown import mark_forks
    >>> tokens = "5 + 3 = 8 left 8 2 , 8 * 2 = 16 vs 16 yes <end>".split()
    >>> [token for token, is_fork in zip(tokens, mark_forks(tokens)) if is_fork]
    ['5', '+', '3', '*']
    ```
    """
    forks = []
    offset = 0
    finished = False
    for token in map(str.strip, tokens):
        finished = finished or token in ("yes", END_TOKEN, PAD_TOKEN)
        forks.append(not finished and offset in FORK_OFFSETS)
        offset = 0 if token == "no" else offset + 1
    return forks


def load_countdown_tokenizer() -> "PreTrainedTokenizerFast":
    """
    Load the tokenizer that comes with the package.

    Returns:
        [`~transformers.PreTrainedTokenizerFast`]: 65 words, padding on the left, no unknown word.

    Example:
    ```python
    >>> from trl_forking.countdown import load_countdown_tokenizer
    >>> load_countdown_tokenizer()("5 + 3")["input_ids"]
    [7, 53, 5]
    ```
    """
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(ASSETS)


def load_countdown_model() -> "Qwen3ForCausalLM":
    """
    Load the model that comes with the package, which searches at random and writes legal attempts.

    It was made by `python -m trl_forking.countdown.warm_start` and is the starting point for reinforcement learning.

    Returns:
        [`~transformers.Qwen3ForCausalLM`]: The model on the CPU, in fp32 and in evaluation mode.

    Example:
    ```python
    >>> from trl_forking.countdown import load_countdown_model
    >>> load_countdown_model().dtype
    torch.float32
    ```
    """
    import torch
    from transformers import Qwen3ForCausalLM

    return Qwen3ForCausalLM.from_pretrained(ASSETS, dtype=torch.float32)


@dataclass(frozen=True)
class CountdownEvaluation:
    """
    What [`evaluate_countdown`] measured.

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
            The answers, in the order of the problems.
    """

    num_problems: int
    num_correct: int
    accuracy: float
    interval: tuple[float, float]
    completions: list[str]


def _sample_answers(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", prompts: list[str], seed: int, batch_size: int
) -> list[str]:
    """Sample one answer to each prompt from the model's full distribution; one that does not end is cut at 52 words."""
    import torch
    from transformers import GenerationConfig

    generation_config = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        max_new_tokens=MAX_COMPLETION_LENGTH,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    was_training = model.training
    answers: list[str] = []
    try:
        model.eval()
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())), torch.no_grad():
            torch.manual_seed(seed)
            for start in range(0, len(prompts), batch_size):
                inputs = tokenizer(prompts[start : start + batch_size], return_tensors="pt", padding=True)
                inputs = inputs.to(model.device)
                outputs = model.generate(**inputs, generation_config=generation_config)
                # (B, T); special tokens are kept, so that padding in the midst of an answer is seen as the error it is
                texts = tokenizer.batch_decode(outputs[:, inputs["input_ids"].size(1) :])
                answers.extend(text.partition(END_TOKEN)[0].strip() for text in texts)
    finally:
        model.train(was_training)
    return answers


def _compute_wilson_interval(num_correct: int, num_problems: int) -> tuple[float, float]:
    """Compute Wilson's 95 % interval of a proportion, which stays inside 0 to 1 at either end."""
    z = 1.959964
    accuracy = num_correct / num_problems
    denominator = 1 + z**2 / num_problems
    center = (accuracy + z**2 / (2 * num_problems)) / denominator
    spread = math.sqrt(accuracy * (1 - accuracy) / num_problems + z**2 / (4 * num_problems**2))
    half_width = z * spread / denominator
    return max(0.0, center - half_width), min(1.0, center + half_width)


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
            A model over the task's vocabulary. Its training mode is left as it was.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            The task's tokenizer.
        dataset ([`~datasets.Dataset`]):
            Problems as [`make_countdown_dataset`] makes them.
        seed (`int`):
            Seed of the sampling. The global random state of CPU and CUDA is left as it was.
        batch_size (`int`, *optional*, defaults to `512`):
            Problems per forward pass. Another size draws other answers.

    Returns:
        [`CountdownEvaluation`]: Accuracy, its 95 % interval and the answers.

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
    completions = _sample_answers(model, tokenizer, list(dataset["prompt"]), seed, batch_size)
    num_correct = sum(map(verify_countdown, completions, dataset["nums"], dataset["goal"]))
    return CountdownEvaluation(
        num_problems=len(completions),
        num_correct=num_correct,
        accuracy=num_correct / len(completions),
        interval=_compute_wilson_interval(num_correct, len(completions)),
        completions=completions,
    )
