"""The verdict on a run: two to four sentences from its own log."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from ..writing.files import write_atomically
from .history import RunHistory
from .rules import RULES, Finding, judge_reward


VERDICT_FILE = "verdict.json"
_MOST_FINDINGS = 3


class Verdict(NamedTuple):
    """
    What a run shows.

    Attributes:
        findings (`list[Finding]`): what the rules found: the reward first, then what is wrong, the most harmful first.
        num_steps (`int`): logged steps with a reward.

    Example:
    ```python
    >>> Verdict([], 0).sentences
    ['The run logged no reward, so nothing can be said about it. Train longer, or lower logging_steps.']
    ```
    """

    findings: list[Finding]
    num_steps: int

    @property
    def is_long_enough(self) -> bool:
        """Whether the run has enough steps to say whether it learned."""
        return bool(self.findings) and self.findings[0].verdict != "too short"

    @property
    def sentences(self) -> list[str]:
        """At most four findings as text, and one sentence where nothing is wrong."""
        if not self.findings:
            return ["The run logged no reward, so nothing can be said about it. Train longer, or lower logging_steps."]
        reward, *others = self.findings
        if not others and reward.verdict == "rose":
            return [reward.text, "Nothing in its log stands out."]
        return [reward.text, *(finding.text for finding in others[:_MOST_FINDINGS])]


def judge_run(history: RunHistory) -> Verdict:
    """
    Judge a run by its log.

    Args:
        history ([`RunHistory`]):
            The log.

    Returns:
        [`Verdict`]

    Example:
    ```python
    >>> from trl_forking.verdict.history import RunHistory
    >>> judge_run(RunHistory({"reward": [0.0] * 12, "frac_reward_zero_std": [1.0] * 12})).findings[1].verdict
    'all fail'
    ```
    """
    reward = judge_reward(history)
    if reward is None:
        return Verdict([], 0)
    found = [finding for rule in RULES if (finding := rule(history)) is not None]
    if reward.verdict == "did not move" and found:  # the finding below says why
        reward = reward._replace(remedy="")
    return Verdict([reward, *found], history.num_steps)


def describe_verdict(verdict: Verdict) -> dict[str, Any]:
    """
    Describe a verdict as plain data.

    Returns:
        `dict`: `steps`, `sentences`, and `findings` with `rule`, `verdict`, `sentence`, `remedy` and `evidence`.

    Example:
    ```python
    >>> describe_verdict(Verdict([], 0))["steps"]
    0
    ```
    """
    return {
        "steps": verdict.num_steps,
        "sentences": verdict.sentences,
        "findings": [finding._asdict() for finding in verdict.findings],
    }


def write_verdict(folder: Path, verdict: Verdict) -> Path:
    """
    Write a verdict into the folder of its run.

    Args:
        folder (`Path`):
            Folder of the run.
        verdict ([`Verdict`]):
            The verdict.

    Returns:
        `Path`: the file `verdict.json`.
    """
    path = folder / VERDICT_FILE
    write_atomically(path, json.dumps(describe_verdict(verdict), indent=2) + "\n")
    return path
