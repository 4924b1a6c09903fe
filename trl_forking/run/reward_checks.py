"""Checks of reward functions: how they can be called, before a model is loaded, and what they return, at every batch."""

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import gather_object
from datasets import Dataset
from transformers import TrainerState
from trl import GRPOTrainer, is_conversational
from trl.trainer.utils import get_callable_name, is_async_callable


# Rewards of these packages keep no state and draw no random numbers, so a call more changes nothing.
_STATELESS = ("trl.rewards.", "trl_forking.")

LARGEST_REWARD = 1e15
"""Largest reward times its weight. The squares of larger ones, which a deviation and the norm of a gradient sum, overflow."""


def check_rewards(reward_funcs: Any, train_dataset: object) -> None:
    """
    Check that TRL can call each reward function, without a call of a function that a user wrote.

    A function may count its calls, draw random numbers or ask a judge that costs money. So only its signature is
    read here; [`RewardCheckMixin`] checks what it returns.

    Args:
        reward_funcs (`Callable`, `str`, `PreTrainedModel` or a list of them):
            Reward functions as passed to the trainer.
        train_dataset (`Dataset`):
            Dataset whose columns the functions receive. A stream is left out: its columns are not known yet.

    Raises:
        `ValueError`: if a function does not take what TRL passes; the message names it and the arguments.
        `ImportError`: if a function of TRL or of this library needs a package that is not installed.

    Example:
    ```python
    >>> from datasets import Dataset
    >>> def short(completions):
    ...     return [-len(completion) for completion in completions]
    >>> check_rewards(short, Dataset.from_dict({"prompt": ["1 + 1 ="]}))
    Traceback (most recent call last):
        ...
    ValueError: Reward function 'short' does not take completion_ids, log_extra, ...: add **kwargs to its arguments.
    ```
    """
    if not isinstance(train_dataset, Dataset) or len(train_dataset) == 0:
        return
    rows = [train_dataset[index] for index in range(min(2, len(train_dataset)))]
    arguments = _build_arguments(rows)
    for reward_func in reward_funcs if isinstance(reward_funcs, list) else [reward_funcs]:
        if callable(reward_func) and not isinstance(reward_func, torch.nn.Module):
            _check_signature(reward_func, arguments)
            if getattr(reward_func, "__module__", "").startswith(_STATELESS):
                _check_imports(reward_func, arguments)


def _build_arguments(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Build what TRL passes to a reward function for an empty answer to each row."""
    answer = [{"role": "assistant", "content": ""}] if is_conversational(rows[0]) else ""
    columns = [key for key in rows[0] if key not in ("prompt", "completion", "completion_ids")]
    return {
        "prompts": [row["prompt"] for row in rows],
        "completions": [answer] * len(rows),
        "completion_ids": [[0]] * len(rows),
        **{key: [row[key] for row in rows] for key in columns},
        "trainer_state": TrainerState(),
        "log_extra": lambda column, values: None,
        "log_metric": lambda metric, value: None,
    }


def _check_signature(reward_func: Callable, arguments: dict[str, Any]) -> None:
    try:
        signature = inspect.signature(reward_func)
    except (TypeError, ValueError):  # some functions of C have none
        return
    try:
        signature.bind(**arguments)
    except TypeError as error:
        name = get_callable_name(reward_func)
        kinds = {key: parameter.kind for key, parameter in signature.parameters.items()}
        unknown = sorted(key for key in arguments if kinds.get(key) in (None, inspect.Parameter.POSITIONAL_ONLY))
        if unknown and inspect.Parameter.VAR_KEYWORD not in kinds.values():
            raise ValueError(
                f"Reward function {name!r} does not take {', '.join(unknown)}, which TRL passes to every reward "
                "function: add **kwargs to its arguments."
            ) from error
        raise ValueError(
            f"Reward function {name!r} cannot be called with the columns of train_dataset ({error}): rename its "
            f"argument to one of {', '.join(sorted(arguments))}, or add that column."
        ) from error


def _check_imports(reward_func: Callable, arguments: dict[str, Any]) -> None:
    try:
        reward_func(**arguments)
    except ImportError as error:
        is_bare = "math" in str(error) and "pip install" not in str(error)
        extra = ": pip install 'trl-forking[math]'" if is_bare else ""
        raise ImportError(f"Reward function {get_callable_name(reward_func)!r} cannot run: {error}{extra}") from error
    except Exception:  # it may rely on what only a real answer has
        return


class RewardCheckMixin(GRPOTrainer):
    """Checks what every reward function returns for a batch, before TRL makes a tensor of it."""

    reward_funcs: list[Any]

    def _calculate_rewards(self, inputs, *args):
        functions, names = self.reward_funcs, self.reward_func_names
        problems: list[str] = []
        # TRL looks the functions up here and returns only a tensor, in which a wrong value has no name anymore.
        pairs = zip(functions, names, strict=True)
        self.reward_funcs = [_check_returned(function, name, problems) for function, name in pairs]
        try:
            rewards = super()._calculate_rewards(inputs, *args)
        finally:
            self.reward_funcs = functions
        is_model = torch.tensor([isinstance(function, torch.nn.Module) for function in functions])
        problems += find_unusable_rewards(rewards, self.reward_weights, names, is_model)
        # All ranks raise, whoever found it: one that went on would wait for the others for ever.
        if found := gather_object(problems):
            raise ValueError(found[0])
        return rewards


def _check_returned(reward_func: Any, name: str, problems: list[str]) -> Any:
    """Wrap a function so that what it returns is checked, and the problem noted. A model stays as it is."""
    if isinstance(reward_func, torch.nn.Module):
        return reward_func

    def read_or_note(rewards: Any, prompts: Sequence[Any]) -> list[Any]:
        try:
            return read_rewards(rewards, name, prompts)
        except ValueError as error:
            problems.append(str(error))
            return [0.0] * len(prompts)

    async def await_and_check(completions: list[Any], **kwargs: Any) -> list[Any]:
        with _name_in_errors(name, completions):
            rewards = await reward_func(completions=completions, **kwargs)
        return read_or_note(rewards, kwargs["prompts"])

    def call_and_check(completions: list[Any], **kwargs: Any) -> list[Any]:
        with _name_in_errors(name, completions):
            rewards = reward_func(completions=completions, **kwargs)
            if isinstance(rewards, Iterator):  # a generator runs the user's code only now
                rewards = list(rewards)
        return read_or_note(rewards, kwargs["prompts"])

    return await_and_check if is_async_callable(reward_func) else call_and_check


@contextmanager
def _name_in_errors(name: str, completions: Sequence[Any]) -> Iterator[None]:
    """Add to an error of a reward function which function it was, and that there was an empty answer, if there was one."""
    try:
        yield
    except Exception as error:
        empty = [number for number, completion in enumerate(completions) if _is_empty(completion)]
        hint = f" Answer {empty[0]} is empty: a model can write an empty answer." if empty else ""
        error.add_note(f"Reward function {name!r} raised this error for a batch of {len(completions)} answers.{hint}")
        raise


def _is_empty(completion: Any) -> bool:
    if isinstance(completion, list) and completion and isinstance(completion[-1], dict):
        completion = completion[-1].get("content")
    return not completion


def read_rewards(rewards: Any, name: str, prompts: Sequence[Any]) -> list[Any]:
    """
    Check what a reward function returned for a batch, and return it as a list of the same values.

    Args:
        rewards:
            What the function returned: anything that yields one number, or `None`, for each answer.
        name (`str`):
            Name of the function, for the message.
        prompts (`Sequence`):
            Prompts of the answers.

    Returns:
        `list`: the values, unchanged.

    Raises:
        `ValueError`: if there is not one number or `None` for each answer; the message names the function, the answer
            and the value.

    Example:
    ```python
    >>> from trl_forking.run.reward_checks import read_rewards
    >>> read_rewards((len(text) for text in ["a", "bc"]), "length", ["1 + 1 =", "2 + 2 ="])
    [1, 2]
    >>> read_rewards([1.0, "good"], "taste", ["1 + 1 =", "2 + 2 ="])
    Traceback (most recent call last):
        ...
    ValueError: Reward function 'taste' returned 'good' for answer 1, to the prompt '2 + 2 =': return a number, or None ...
    ```
    """
    if (
        not isinstance(rewards, Iterable)
        or isinstance(rewards, (str, bytes, dict))
        or getattr(rewards, "ndim", 1) == 0
    ):
        raise ValueError(
            f"Reward function {name!r} returned {shorten(rewards)} for {len(prompts)} answers: return a list with one "
            "number (or None) per answer."
        )
    values = list(rewards)
    if len(values) != len(prompts):
        raise ValueError(
            f"Reward function {name!r} returned {len(values)} values for {len(prompts)} answers: return one number (or "
            "None) per answer."
        )
    for number, value in enumerate(values):
        reward = 0.0 if value is None else _to_float32(value)
        if reward is None or not math.isfinite(reward):
            kind = "number" if reward is None else "finite number of float32"
            raise ValueError(
                f"Reward function {name!r} returned {shorten(value)} for answer {number}, to the prompt "
                f"{shorten(prompts[number])}: return a {kind}, or None where it cannot judge."
            )
    return values


def _to_float32(value: Any) -> float | None:
    """Return what TRL trains with in place of a value, or `None` if it does not become one number of a float32 tensor."""
    try:
        reward = torch.tensor([value], dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return None
    return reward.item() if reward.shape == (1,) else None


def find_unusable_rewards(
    rewards_per_func: torch.Tensor, reward_weights: torch.Tensor, names: Sequence[str], is_model: torch.Tensor
) -> list[str]:
    """
    Find rewards that float32 cannot train with: of a model what is not finite, and what is too large once it is weighted.

    Args:
        rewards_per_func (`torch.Tensor` of shape `(N * G, F)`):
            Rewards of all ranks by function; NaN where a function did not judge.
        reward_weights (`torch.Tensor` of shape `(F,)`):
            Weights of the functions.
        names (`Sequence[str]`):
            Names of the functions.
        is_model (`torch.Tensor` of shape `(F,)`):
            Which of them are models, which judge every answer.

    Returns:
        `list[str]`: a sentence for the first of them; empty if there is none.

    Example:
    ```python
    >>> from trl_forking.run.reward_checks import find_unusable_rewards
    >>> find_unusable_rewards(torch.tensor([[1.0], [3e38]]), torch.ones(1), ["length"], torch.tensor([False]))
    ["Reward function 'length' returned 3e+38 for answer 1 of the batch, ...: scale it to a size below 1e+15."]
    ```
    """
    terms = rewards_per_func * reward_weights.to(rewards_per_func.device)
    unusable = terms.nan_to_num(0.0, posinf=math.inf, neginf=-math.inf).abs() > LARGEST_REWARD
    unusable |= rewards_per_func.isnan() & is_model.to(terms.device)
    if not unusable.any():
        return []
    row, column = unusable.nonzero()[0].tolist()
    value, weight = rewards_per_func[row, column].item(), reward_weights[column].item()
    reason, remedy = "which is not finite", "use a model whose scores are finite"
    if math.isfinite(value):
        weighted = "" if weight == 1 else f" with weight {weight:g}"
        reason, remedy = f"which{weighted} is too large for float32", f"scale it to a size below {LARGEST_REWARD:g}"
    kind = "model" if is_model[column] else "function"
    return [f"Reward {kind} {names[column]!r} returned {value:g} for answer {row} of the batch, {reason}: {remedy}."]


def shorten(value: Any) -> str:
    """
    Show a value of a user in a message, at most 200 characters of it.

    Example:
    ```python
    >>> from trl_forking.run.reward_checks import shorten
    >>> len(shorten("a" * 1000))
    200
    ```
    """
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:197]}..."
