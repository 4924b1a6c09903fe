"""A summary of a run in plain sentences."""

from collections.abc import Sequence
from typing import Any

from ..writing.numbers import format_percent


def summarize_run(run: dict[str, Any]) -> str:
    """
    Summarize the figures of a run in plain sentences.

    Args:
        run (`dict[str, Any]`):
            Facts of a run, as [`~trl_forking.card.run_record.collect_run`] collects them.

    Returns:
        `str`: sentences about the reward, the groups and the kept tokens. A sentence without figures is left out.

    Example:
    ```python
    >>> run = {"forking": {"top_entropy_quantile": 1.0, "dynamic_sampling": False}}
    >>> summarize_run(run | {"history": {"step": [1, 2], "reward": [0.25, 0.5], "frac_reward_zero_std": [0.5, 0.3]}})
    'The mean reward in training went from 0.25 at the first step to 0.50 at the last. 40 % of the groups had equal rewards, so training learned nothing from them. dynamic_sampling=True replaces such groups.'
    ```
    """
    history = run["history"]
    dynamic = run["forking"]["dynamic_sampling"]
    sentences = [
        _describe_reward(history.get("forking/sampled_reward") or history.get("reward", [])),
        _describe_replaced_groups(history) if dynamic else _describe_zero_variance_groups(history),
        _describe_selection(run["forking"], history),
    ]
    return " ".join(filter(None, sentences))


def compute_mean(values: Sequence[float | None] | None) -> float | None:
    """
    Compute the mean of the values that are numbers.

    Example:
    ```python
    >>> compute_mean([1.0, None, 2.0]), compute_mean([None])
    (1.5, None)
    ```
    """
    numbers = [value for value in values or [] if value is not None]
    return sum(numbers) / len(numbers) if numbers else None


def _describe_reward(values: Sequence[float | None]) -> str:
    rewards = [value for value in values if value is not None]
    if len(rewards) < 2:
        return ""
    tenth = len(rewards) // 10
    if tenth < 2:
        return f"The mean reward in training went from {rewards[0]:.2f} at the first step to {rewards[-1]:.2f} at the last."
    first, last = sum(rewards[:tenth]) / tenth, sum(rewards[-tenth:]) / tenth
    return (
        f"The mean reward in training went from {first:.2f} in the first tenth of the steps to {last:.2f} in the last."
    )


def _describe_zero_variance_groups(history: dict[str, list]) -> str:
    share = compute_mean(history.get("frac_reward_zero_std"))
    if share is None:
        return ""
    if share == 0:
        return "No group had equal rewards, so training learned from every group."
    advice = " dynamic_sampling=True replaces such groups." if share >= 0.2 else ""
    return f"{format_percent(share, digits=2)} of the groups had equal rewards, so training learned nothing from them.{advice}"


def _describe_replaced_groups(history: dict[str, list]) -> str:
    replaced = compute_mean(history.get("forking/zero_variance_groups"))
    trained = compute_mean(history.get("forking/informative_groups"))
    if replaced is None or not trained:
        return ""
    return (
        f"In the first round of a rollout {format_percent(replaced, digits=2)} of the groups had equal rewards. Dynamic "
        f"sampling replaced them by answers to new prompts: {format_percent(trained, digits=2)} of all generated groups "
        "were trained."
    )


def _describe_selection(forking: dict[str, Any], history: dict[str, list]) -> str:
    share = compute_mean(history.get("forking/entropy_share"))
    kept = compute_mean(history.get("forking/kept_fraction"))
    if forking["top_entropy_quantile"] >= 1.0 or share is None or kept is None:
        return ""
    return (
        f"The kept tokens were {format_percent(kept, digits=2)} of the counted tokens and had "
        f"{format_percent(share, digits=2)} of their entropy."
    )
