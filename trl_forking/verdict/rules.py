"""
The rules of the verdict. Each takes the log of a run and returns a finding, or nothing.

A rule compares the first third of the steps with the last, and says what it saw, with the numbers, and one remedy. The limits
are those of docs/metrics.md.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..writing.numbers import format_percent
from .history import FEWEST_STEPS, RunHistory, split_thirds


# The rewards and names that a run of TRL has too come last.
REWARDS = ("forking/sampled_reward", "reward")
ZERO_VARIANCE = ("forking/zero_variance_groups", "frac_reward_zero_std")
CLIPPING = ("forking/clip_fraction", "clip_ratio/region_mean")
ENTROPY = ("entropy",)
TRUNCATED = ("completions/clipped_ratio",)

MANY_ZERO_VARIANCE = 0.5
NEARLY_ALL = 0.95
MANY_TRUNCATED = 0.1
MANY_CLIPPED = 0.2
COLLAPSED = 0.2  # of the entropy at the start
LOW_THRESHOLD = 0.01  # nats; half of the paper's tokens are below
SPIKE = 10.0  # times the median of the gradient norm
MANY_REPEATED = 0.5
_LIMIT = 1.96  # of a standard normal variable, for 95 %


class Finding(NamedTuple):
    """
    What a rule found.

    Attributes:
        rule (`str`): name of the rule.
        verdict (`str`): what it says in one word or two, such as `"rose"`.
        sentence (`str`): the sentence for people, with its evidence.
        remedy (`str`): one thing to do; empty where nothing is wrong.
        evidence (`dict[str, float]`): the numbers.

    Example:
    ```python
    >>> Finding("truncated", "many", "40 % of the answers were cut.", "Raise max_completion_length.", {"last": 0.4}).text
    '40 % of the answers were cut. Raise max_completion_length.'
    ```
    """

    rule: str
    verdict: str
    sentence: str
    remedy: str
    evidence: dict[str, Any]

    @property
    def text(self) -> str:
        """The sentence and the remedy."""
        return f"{self.sentence} {self.remedy}".strip()


def compute_rank_score(first: Sequence[float], last: Sequence[float]) -> float:
    r"""
    Compute how far the ranks of two samples are apart, as a standard normal variable.

    \\( z = (U - m n / 2) / \sigma_U \\), with half a rank taken off for continuity and \\( \sigma_U \\) corrected for ties.
    The rank test needs no normal rewards, and one step out of line cannot decide it.

    Source: [Mann and Whitney, 1947](https://doi.org/10.1214/aoms/1177730491).

    Args:
        first, last (`Sequence[float]`):
            Values of the first and the last steps.

    Returns:
        `float`: positive if the last values are larger; 0 if all are equal.

    Example:
    ```python
    >>> round(compute_rank_score([1, 2, 3, 4], [5, 6, 7, 8]), 2), compute_rank_score([1, 1], [1, 1])
    (2.17, 0.0)
    ```
    """
    num_first, num_last = len(first), len(last)
    wins = sum((b > a) + (a == b) / 2 for a in first for b in last)
    total = num_first + num_last
    values = [*first, *last]
    ties = sum(count**3 - count for count in (values.count(value) for value in set(values)))
    variance = num_first * num_last / 12 * (total + 1 - ties / (total * (total - 1)))
    distance = wins - num_first * num_last / 2
    if variance <= 0 or distance == 0:
        return 0.0
    return math.copysign(max(abs(distance) - 0.5, 0.0), distance) / math.sqrt(variance)


def judge_reward(history: RunHistory) -> Finding | None:
    """
    Say whether the reward rose, fell or did not move beyond chance.

    Example:
    ```python
    >>> judge_reward(RunHistory({"reward": [0.2] * 10 + [0.3] * 5 + [0.4] * 15})).verdict
    'rose'
    ```
    """
    values = history.get(*REWARDS)
    if not values:
        return None
    first, last = (math.fsum(part) / len(part) for part in split_thirds(values))
    evidence = {"first_third": first, "last_third": last, "steps": len(values)}
    if len(values) < FEWEST_STEPS:
        return _call_too_short(values, history.find_interval(len(values)), evidence)
    score = compute_rank_score(*split_thirds(values))
    evidence["rank_score"] = score
    numbers = f"from {first:.2f} in the first third of the steps to {last:.2f} in the last"
    if score > _LIMIT:
        return Finding("reward", "rose", f"The mean reward rose, {numbers}.", "", evidence)
    if score < -_LIMIT:
        remedy = "Lower learning_rate, and read some answers: the reward may contradict what the model was good at."
        return Finding("reward", "fell", f"The mean reward fell, {numbers}.", remedy, evidence)
    sentence = f"The mean reward did not move beyond chance: it went {numbers}."
    return Finding(
        "reward", "did not move", sentence, "Train longer, or raise learning_rate if nothing below says why.", evidence
    )


def _call_too_short(values: list[float], interval: int, evidence: dict[str, Any]) -> Finding:
    """Say that there are too few rewards. A run logs one at every `interval` steps."""
    count = f"{len(values)} steps" if interval == 1 else f"{len(values)} logged rewards"
    sentence = (
        f"The mean reward went from {values[0]:.2f} at the first step to {values[-1]:.2f} at the last: {count} are too few to "
        "say whether the run learned."
        if len(values) > 1
        else f"The mean reward was {values[0]:.2f}: one {'step' if interval == 1 else 'logged reward'} is too few to say "
        "whether the run learned."
    )
    remedy = f"Train at least {FEWEST_STEPS * interval} steps to get a verdict"
    remedy += "." if interval == 1 else f": the run logged a reward every {interval} steps."
    return Finding("reward", "too short", sentence, remedy, evidence)


def judge_groups(history: RunHistory) -> Finding | None:
    """
    Say how many groups had equal rewards, and whether dynamic sampling could help.

    Example:
    ```python
    >>> judge_groups(RunHistory({"reward": [0.0] * 12, "frac_reward_zero_std": [1.0] * 12})).verdict
    'all fail'
    ```
    """
    found, reward = history.compare(*ZERO_VARIANCE), history.compare(*REWARDS)
    if found is None or reward is None or found[1] < MANY_ZERO_VARIANCE:
        return None
    share, evidence = found[1], {"first_third": found[0], "last_third": found[1], "reward": reward[1]}
    is_dynamic = history.settings.get("dynamic_sampling") or history.get("forking/zero_variance_groups")
    groups = f"{format_percent(share, digits=2)} of the groups{' of a first round' if is_dynamic else ''}"
    effect = "and dynamic sampling replaced them" if is_dynamic else "so training learned nothing from them"
    sentence = f"In the last third of the steps {groups} had equal rewards, {effect}"
    rewards = history.get(*REWARDS)
    lowest, highest = min(rewards), max(rewards)
    if share >= NEARLY_ALL and reward[1] - lowest <= 0.02 and lowest <= 0.02:
        remedy = (
            "Use easier prompts, a stronger model or a longer max_completion_length; dynamic_sampling cannot help where "
            "every group fails."
        )
        return Finding(
            "groups", "all fail", f"{sentence}: nearly all of them got the lowest reward.", remedy, evidence
        )
    if share >= NEARLY_ALL and highest - reward[1] <= 0.02 and highest >= 0.98:
        remedy = "Use harder prompts; dynamic_sampling cannot help where every group succeeds."
        return Finding(
            "groups", "all succeed", f"{sentence}: nearly all of them got the highest reward.", remedy, evidence
        )
    if is_dynamic:
        remedy = "Choose prompts of medium difficulty: each replaced group costs its generation."
    else:
        remedy = "Set dynamic_sampling=True, raise num_generations, or choose prompts of medium difficulty."
    return Finding("groups", "many", f"{sentence}.", remedy, evidence)


def judge_truncation(history: RunHistory) -> Finding | None:
    """
    Say how many answers were cut at `max_completion_length`.

    Example:
    ```python
    >>> judge_truncation(RunHistory({"reward": [0.0] * 3, "completions/clipped_ratio": [0.1, 0.2, 0.4]})).verdict
    'many'
    ```
    """
    found = history.compare(*TRUNCATED)
    if found is None or found[1] < MANY_TRUNCATED:
        return None
    sentence = (
        f"{format_percent(found[1], digits=2)} of the answers in the last third of the steps were cut at "
        "max_completion_length"
    )
    evidence = {"first_third": found[0], "last_third": found[1]}
    if found[1] >= NEARLY_ALL:
        sentence += ": the reward sees no end of an answer."
        remedy = "Raise max_completion_length, or check that the model can write its end token."
        return Finding("truncated", "all", sentence, remedy, evidence)
    remedy = "Raise max_completion_length, or set mask_truncated_completions=True."
    return Finding("truncated", "many", f"{sentence}.", remedy, evidence)


def judge_entropy(history: RunHistory) -> Finding | None:
    """
    Say whether the entropy collapsed: then the kept tokens are no longer forks.

    Example:
    ```python
    >>> judge_entropy(RunHistory({"reward": [0.5] * 3, "entropy": [0.5, 0.2, 0.02]})).verdict
    'collapsed'
    ```
    """
    found, threshold = history.compare(*ENTROPY), history.compare("forking/threshold")
    fell = found is not None and found[0] > 0 and found[1] <= COLLAPSED * found[0]
    is_low = threshold is not None and threshold[1] < LOW_THRESHOLD
    if found is None or not (fell or is_low):
        return None
    evidence = {"first_third": found[0], "last_third": found[1]}
    remedy = "Stop at an earlier checkpoint, lower learning_rate, or raise epsilon_high."
    if not fell and threshold is not None:
        sentence = f"The threshold was {threshold[1]:.3f} nats in the last third of the steps: the kept tokens are hardly forks."
        return Finding("entropy", "low threshold", sentence, remedy, evidence | {"threshold": threshold[1]})
    sentence = (
        f"The mean entropy collapsed, from {found[0]:.3f} nats in the first third of the steps to {found[1]:.3f} in the last: "
        "the policy explores hardly any more."
    )
    return Finding("entropy", "collapsed", sentence, remedy, evidence)


def judge_clipping(history: RunHistory) -> Finding | None:
    """
    Say whether many importance ratios were clipped.

    Example:
    ```python
    >>> judge_clipping(RunHistory({"reward": [0.5] * 3, "forking/clip_fraction": [0.0, 0.3, 0.4]})).verdict
    'many'
    ```
    """
    found = history.compare(*CLIPPING)
    if found is None or found[1] < MANY_CLIPPED:
        return None
    sentence = (
        f"{format_percent(found[1], digits=2)} of the importance ratios were clipped in the last third of the steps: the "
        "policy moved far from the one that wrote the answers."
    )
    remedy = "Lower learning_rate, num_iterations or the number of optimizer steps a rollout."
    return Finding("clipping", "many", sentence, remedy, {"first_third": found[0], "last_third": found[1]})


def judge_repetition(history: RunHistory) -> Finding | None:
    """
    Say whether many answers were the same as another answer to their prompt.

    Example:
    ```python
    >>> judge_repetition(RunHistory({"reward": [0.5] * 3, "forking/repeated_answers": [0.1, 0.5, 0.9]})).verdict
    'many'
    ```
    """
    found = history.compare("forking/repeated_answers")
    if found is None or found[1] < MANY_REPEATED:
        return None
    sentence = (
        f"{format_percent(found[1], digits=2)} of the answers in the last third of the steps were word for word the same as "
        "an earlier answer to their prompt."
    )
    remedy = "Raise temperature towards 1.0, leave top_k and top_p at their defaults, or use harder prompts."
    return Finding("repetition", "many", sentence, remedy, {"first_third": found[0], "last_third": found[1]})


def judge_gradient(history: RunHistory) -> Finding | None:
    """
    Say whether the gradient norm had spikes, or was not a number.

    Example:
    ```python
    >>> judge_gradient(RunHistory({"reward": [0.5] * 5, "grad_norm": [0.1, 0.1, 9.0, 0.1, 0.1]})).verdict
    'spikes'
    ```
    """
    values = history.get("grad_norm")
    lost = len(history.columns.get("grad_norm", ())) - len(values) + sum(map(math.isinf, values))
    norms = [value for value in values if math.isfinite(value)]
    if lost and values:
        sentence = f"The gradient norm was not a finite number at {lost} of {history.num_steps} steps."
        remedy = "Lower learning_rate, and train in bf16 or float32 instead of fp16."
        return Finding("gradient", "not finite", sentence, remedy, {"steps": lost})
    median = statistics.median(norms) if norms else 0.0
    spikes = [value for value in norms if value > SPIKE * median > 0]
    if not spikes:
        return None
    steps = "1 step" if len(spikes) == 1 else f"{len(spikes)} steps"
    sentence = f"The gradient norm was more than {SPIKE:.0f} times its median of {median:.2g} at {steps}, at most {max(spikes):.2g}."
    remedy = "Set max_grad_norm to a few times the median, or lower learning_rate."
    return Finding(
        "gradient", "spikes", sentence, remedy, {"median": median, "largest": max(spikes), "steps": len(spikes)}
    )


RULES: tuple[Callable[[RunHistory], Finding | None], ...] = (
    judge_groups,
    judge_truncation,
    judge_entropy,
    judge_gradient,
    judge_clipping,
    judge_repetition,
)
"""The rules beside that of the reward, the most harmful first."""
