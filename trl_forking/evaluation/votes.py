"""Votes: answers to one problem in classes of equal answers. The verifier decides what is equal, not the text."""

from collections.abc import Callable, Sequence


def group_answers(answers: Sequence[str | None], are_equal: Callable[[str, str], bool]) -> list[int | None]:
    r"""
    Number the classes of equal answers to one problem.

    An answer joins the first class whose first answer it is equal to. So the result is defined even if the verifier's
    equality is not transitive, as with rounded numbers: it depends on the order of the answers only.

    Args:
        answers (`Sequence[str | None]` of length `n`):
            What the verifier read in each answer; `None` where it could read nothing. Such an answer does not vote.
        are_equal (`Callable[[str, str], bool]`):
            The verifier's equality. It is not called for two equal texts.

    Returns:
        `list[int | None]` of length `n`: number of each answer's class, from 0, for [`compute_majority_at_k`].

    Example:
    ```python
    >>> from trl_forking.evaluation.votes import group_answers
    >>> group_answers(["0.5", "1/2", None, "2"], lambda first, second: {first, second} == {"0.5", "1/2"})
    [0, 0, None, 1]
    ```
    """
    classes: list[str] = []
    known: dict[str, int] = {}
    for answer in answers:
        if answer is None or answer in known:
            continue
        number = next((number for number, first in enumerate(classes) if are_equal(first, answer)), len(classes))
        if number == len(classes):
            classes.append(answer)
        known[answer] = number
    return [None if answer is None else known[answer] for answer in answers]
