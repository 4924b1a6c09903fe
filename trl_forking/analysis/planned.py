"""What a token rule would train of answers that are there: which tokens, by which score, and how far two rules agree."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ..selection.rules import Rule, TokenStats, ask_rule
from ..selection.tokens import round_entropies
from .records import ScoredAnswer
from .scoring import compute_token_scores


@dataclass(frozen=True, eq=False)
class PlannedTokens:
    """
    What a rule would train.

    Attributes:
        rule ([`~trl_forking.selection.rules.Rule`]): rule.
        kept (`list[np.ndarray]`): for each answer a mask of its kept tokens, shape `(T_i,)`.
        scores (`list[np.ndarray]`): for each answer what the rule ranks its tokens by, or their weights if it ranks none.

    Example:
    ```python
    >>> from trl_forking.selection.rules import find_rule
    >>> planned = PlannedTokens(find_rule("random"), [np.array([True, False])], [np.array([0.0, 0.0])])
    >>> planned.count_kept()
    1
    ```
    """

    rule: Rule
    kept: list[np.ndarray]
    scores: list[np.ndarray]

    def count_kept(self) -> int:
        """Count the kept tokens of all answers."""
        return sum(int(kept.sum()) for kept in self.kept)


def plan_tokens(
    records: Sequence[ScoredAnswer],
    rule: Rule,
    top_entropy_quantile: float,
    costly: Mapping[str, Sequence[np.ndarray]] | None = None,
) -> PlannedTokens:
    """
    Ask a rule what it would train of answers, as if they were one rollout batch of the first step.

    Advantages are those of TRL's default: the reward of an answer, centered and scaled within its group. Answers without a
    reward have the advantage 1, and so have all if no group has different rewards.

    Args:
        records (sequence of [`ScoredAnswer`]):
            Answers, in the order of their prompts.
        rule ([`~trl_forking.selection.rules.Rule`]):
            Rule.
        top_entropy_quantile (`float`):
            Share that the rule keeps, if it keeps a share.
        costly (`Mapping[str, Sequence[np.ndarray]]`, *optional*):
            `sum_sq_probs` and `is_top1` for each answer, see [`score_costly`]. Log-probabilities are in the records.

    Returns:
        [`PlannedTokens`]

    Raises:
        `ValueError`: if there is no token, or the rule fails.

    Example:
    ```python
    >>> from trl_forking.selection.rules import find_rule
    >>> record = ScoredAnswer(
    ...     prompt_index=0, answer_index=0, prompt="1", token_ids=np.array([5, 6]), tokens=[" 2", " 3"],
    ...     entropies=np.array([0.1, 0.9]), logprobs=np.array([-0.1, -0.5]), top_tokens=[[], []], top_logprobs=np.zeros((2, 0)),
    ... )
    >>> plan_tokens([record], find_rule("high_entropy"), 0.5).kept[0].tolist()
    [False, True]
    ```
    """
    lengths = [len(record.tokens) for record in records]
    if not sum(lengths):
        raise ValueError("The answers have no token, so there is nothing that a rule could keep.")
    mask = torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)
    columns = {"log_prob": [record.logprobs for record in records], **(costly or {})}
    named = {name: _pad(columns[name], mask) for name in rule.needs}
    advantages = _compute_advantages(records)
    stats = TokenStats(
        mask & (advantages != 0).unsqueeze(1),
        round_entropies(_pad([record.entropies for record in records], mask)),
        advantages.unsqueeze(1).expand_as(mask),
        torch.arange(len(records)).unsqueeze(1).expand_as(mask),
        num_generations=_count_answers(records),
        share=top_entropy_quantile,
        costly={name: value > 0 if name == "is_top1" else round_entropies(value) for name, value in named.items()},
    )
    choice = ask_rule(rule, stats, mask)
    plan = rule.function(stats)
    found = plan.scores if plan.scores is not None else choice.weights
    scores = choice.kept.float() if found is None else found
    return PlannedTokens(rule, _split(choice.kept, lengths), _split(scores.float(), lengths))


def score_costly(model: Any, records: Sequence[ScoredAnswer], temperature: float) -> dict[str, list[np.ndarray]]:
    """
    Score answers again for the statistics that no record has.

    Args:
        model (`~transformers.PreTrainedModel`):
            Model that wrote the answers.
        records (sequence of [`ScoredAnswer`]):
            Answers with their `prompt_ids`.
        temperature (`float`):
            Temperature that the answers were sampled at.

    Returns:
        `dict[str, list[np.ndarray]]`: `sum_sq_probs` and `is_top1` for each answer.

    Example:
    ```python
    >>> from trl_forking.countdown import load_countdown_model
    >>> score_costly(load_countdown_model(), [], temperature=1.0)
    {'sum_sq_probs': [], 'is_top1': []}
    ```
    """
    ids = [
        (record.prompt_ids.tolist(), record.token_ids.tolist()) for record in records if record.prompt_ids is not None
    ]
    if len(ids) < len(records):
        raise ValueError("Answers without the tokens of their prompts cannot be scored again: collect them anew.")
    prompts, answers = [prompt for prompt, _ in ids], [answer for _, answer in ids]
    scores = compute_token_scores(model, prompts, answers, temperature, top_alternatives=1) if ids else []
    is_top1 = [
        score.top_ids[:, 0] == np.array(answer, np.int64) for score, answer in zip(scores, answers, strict=True)
    ]
    return {"sum_sq_probs": [score.sum_sq_probs for score in scores], "is_top1": is_top1}


def mark_planned(records: Sequence[ScoredAnswer], planned: PlannedTokens) -> list[ScoredAnswer]:
    """
    Return the answers with the tokens of a rule as their kept ones.

    Example:
    ```python
    >>> from trl_forking.selection.rules import find_rule
    >>> mark_planned([], PlannedTokens(find_rule("random"), [], []))
    []
    ```
    """
    return [replace(record, kept=kept) for record, kept in zip(records, planned.kept, strict=True)]


def tabulate_overlap(plans: Sequence[PlannedTokens]) -> tuple[str, list[str], list[list[Any]]]:
    """
    Tabulate what rules keep, and how far each two of them agree.

    Args:
        plans (sequence of [`PlannedTokens`]):
            What each rule would train of the same answers.

    Returns:
        `tuple`: caption, header and rows of a table.

    Example:
    ```python
    >>> from trl_forking.selection.rules import find_rule
    >>> plans = [PlannedTokens(find_rule(name), [np.array(kept)], []) for name, kept in (("random", [1, 0]), ("covariance", [1, 1]))]
    >>> tabulate_overlap(plans)[2]
    [['random', 'covariance', 1, 2, 1, 1.0, 0.5]]
    ```
    """
    rows: list[list[Any]] = []
    for first, second in itertools.combinations(plans, 2):
        both = sum(int((one & other).sum()) for one, other in zip(first.kept, second.kept, strict=True))
        num_first, num_second = first.count_kept(), second.count_kept()
        shares = [both / number if number else None for number in (num_first, num_second)]
        rows.append([first.rule.name, second.rule.name, num_first, num_second, both, *shares])
    header = [
        "rule",
        "other rule",
        "kept",
        "kept by the other",
        "kept by both",
        "share of the rule's",
        "share of the other's",
    ]
    return "What the rules have in common", header, rows


def _compute_advantages(records: Sequence[ScoredAnswer]) -> torch.Tensor:
    groups: dict[int, list[int]] = {}
    for row, record in enumerate(records):
        groups.setdefault(record.prompt_index, []).append(row)
    advantages = torch.ones(len(records))
    for rows in groups.values():
        rewards = [records[row].reward for row in rows]
        if all(reward is not None for reward in rewards):
            values = torch.tensor(rewards, dtype=torch.float32)
            spread = values.std() if len(rows) > 1 else torch.zeros(())
            advantages[rows] = (values - values.mean()) / (spread + 1e-4) if spread > 0 else 0.0
    return advantages if advantages.any() else torch.ones(len(records))


def _count_answers(records: Sequence[ScoredAnswer]) -> int:
    """Return the size of the groups, or 1 if they differ."""
    sizes = {sum(1 for _ in group) for _, group in itertools.groupby(record.prompt_index for record in records)}
    return sizes.pop() if len(sizes) == 1 else 1


def _pad(columns: Sequence[np.ndarray], mask: torch.Tensor) -> torch.Tensor:
    padded = torch.zeros(mask.shape)
    padded[mask] = torch.cat([torch.as_tensor(np.asarray(column, np.float32)) for column in columns])
    return padded


def _split(values: torch.Tensor, lengths: Sequence[int]) -> list[np.ndarray]:
    return [row[:length].numpy() for row, length in zip(values, lengths, strict=True)]
