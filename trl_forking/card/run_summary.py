"""A summary of a run in plain sentences."""

from collections.abc import Sequence
from typing import Any

from ..verdict.history import collect_columns
from ..verdict.verdict import judge_run
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
    >>> rewards = [0.25] * 8 + [0.5] * 8
    >>> summarize_run(run | {"history": {"step": list(range(16)), "reward": rewards, "frac_reward_zero_std": [0.1] * 16}})
    'The mean reward rose, from 0.25 in the first third of the steps to 0.50 in the last. Nothing in its log stands out. 10 % of the groups had equal rewards, so training learned nothing from them.'
    ```
    """
    history = run["history"]
    dynamic = run["forking"]["dynamic_sampling"]
    verdict = judge_run(collect_columns(history, run["forking"]))
    tells_groups = any(finding.rule == "groups" for finding in verdict.findings)
    sentences = verdict.sentences if verdict.findings else []
    if dynamic:
        sentences.append(_describe_replaced_groups(history))
    else:
        sentences.append(_describe_zero_variance_groups(history, tells_groups))
    return " ".join(filter(None, [*sentences, _describe_selection(run["forking"], history)]))


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


def _describe_zero_variance_groups(history: dict[str, list], tells_groups: bool) -> str:
    share = compute_mean(history.get("frac_reward_zero_std"))
    if share is None:
        return ""
    if share == 0:
        return "No group had equal rewards, so training learned from every group."
    groups = f"{format_percent(share, digits=2)} of the groups had equal rewards"
    if tells_groups:  # the verdict has said what follows from it
        return f"Over the whole run {groups}."
    advice = " dynamic_sampling=True replaces such groups." if share >= 0.2 else ""
    return f"{groups}, so training learned nothing from them.{advice}"


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
