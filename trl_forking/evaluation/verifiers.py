"""What judges the answers of an evaluation: the only place that calls the verifier of mathematical answers."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from ..rewards.extract import find_answer
from ..rewards.math_reward import verify_math
from .votes import group_answers


_LONGEST = 250_000  # characters at the end that are searched for a box, as in the reward


class Verdict(NamedTuple):
    """
    What a verifier says about an answer.

    Attributes:
        is_right (`bool`): whether the answer is right.
        read (`str` or `None`): the final answer that the verifier found; `None` if it found none.
        can_vote (`bool`): whether the verifier could read it, so that it has a vote in maj@k.
    """

    is_right: bool
    read: str | None
    can_vote: bool


class Verifier(Protocol):
    """Judges answers, and says which of them are equal."""

    name: str

    def can_judge(self, row: dict[str, Any]) -> bool:
        """Whether the right answer of a problem can be read."""

    def judge(self, row: dict[str, Any], completion: str) -> Verdict:
        """Judge an answer, without special tokens."""

    def are_equal(self, first: str, second: str) -> bool:
        """Whether two final answers are equal."""


class MathVerifier:
    r"""
    The verifier of the paper's reward: the last `\boxed{...}` of an answer, see [`verify_math`].

    Example:
    ```python
    >>> from trl_forking.evaluation.verifiers import MathVerifier
    >>> MathVerifier().judge({"solution": "0.5"}, r"It is \boxed{\frac{1}{2}}.")
    Verdict(is_right=True, read='\\frac{1}{2}', can_vote=True)
    >>> MathVerifier().judge({"solution": "0.5"}, "It is a half.")
    Verdict(is_right=False, read=None, can_vote=False)
    ```
    """

    name = "math"

    def can_judge(self, row: dict[str, Any]) -> bool:
        """Whether the reward can read the column `solution` of a row."""
        solution = row.get("solution")
        return solution is not None and verify_math("", str(solution)) is not None

    def judge(self, row: dict[str, Any], completion: str) -> Verdict:
        """Compare the last boxed answer with the column `solution` of a row."""
        is_right = verify_math(completion, str(row["solution"])) == 1.0
        read = find_answer(completion, _LONGEST)
        return Verdict(is_right, read, is_right or (read is not None and verify_math("", _box(read)) is not None))

    def are_equal(self, first: str, second: str) -> bool:
        """Whether the reward takes two boxed answers for equal."""
        return verify_math(_box(first), _box(second)) == 1.0


def _box(answer: str) -> str:
    return rf"\boxed{{{answer}}}"


def count_votes(verdicts: Sequence[Verdict], verifier: Verifier) -> list[int | None]:
    """
    Number the classes of equal answers to one problem.

    The solution has no part in it: whoever counts votes does not know which answers are right.

    Args:
        verdicts (`Sequence[Verdict]` of length `n`):
            Verdicts of the answers.
        verifier ([`Verifier`]):
            What made them.

    Returns:
        `list[int | None]` of length `n`: number of each answer's class; `None` for an answer without a vote.

    Example:
    ```python
    >>> from trl_forking.evaluation.verifiers import MathVerifier, Verdict, count_votes
    >>> verdicts = [Verdict(text == "1", text, text is not None) for text in ("1", "2", "2.0", "3", None)]
    >>> count_votes(verdicts, MathVerifier())
    [0, 1, 1, 2, None]
    ```
    """
    return group_answers([verdict.read if verdict.can_vote else None for verdict in verdicts], verifier.are_equal)
