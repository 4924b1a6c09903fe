"""Where a token stands: in which part of its answer, and at which place of its sentence."""

from collections.abc import Sequence

import numpy as np


NUM_ANSWER_PARTS = 10
SENTENCE_POSITIONS = ("first", "within", "last", "between", "end")

_SENTENCE_MARKS = tuple(".!?。！？")
_CLOSING = "\"'”’)]*_"  # may stand behind the mark that ends a sentence


def find_answer_parts(num_tokens: int) -> np.ndarray:
    r"""
    Find the tenth of the answer that each token stands in, \\( \lfloor 10 t / T \rfloor \\).

    Args:
        num_tokens (`int`):
            Length of the answer, \\( T \\).

    Returns:
        `np.ndarray` of shape `(T,)`: 0 for the first tenth; a token that stands in two belongs to the earlier one.

    Example:
    ```python
    >>> find_answer_parts(4).tolist()
    [0, 2, 5, 7]
    ```
    """
    return np.arange(num_tokens) * NUM_ANSWER_PARTS // max(num_tokens, 1)


def find_sentence_positions(tokens: Sequence[str], is_truncated: bool = False) -> list[str]:
    r"""
    Find where in its sentence each token of an answer stands.

    A sentence ends with a token that holds a line break, or whose last mark is one of `. ! ?` (also full-width) with
    white space or the end of the answer behind it: "3.14" is not cut, "1. First" is. `"first"` is the first token of a
    sentence that is more than white space (also where it is the only one), `"last"` the one that ends it, `"within"` any
    other. `"between"` is white space behind an end, such as the empty line after a full stop. `"end"` is the token that
    ends an answer, which the model chose to do.

    Args:
        tokens (sequence of `str`, `T` long):
            Text that each token of one answer adds.
        is_truncated (`bool`, *optional*, defaults to `False`):
            Whether the length limit ended the answer, so that no token did.

    Returns:
        `list[str]` of length `T`: names out of `SENTENCE_POSITIONS`.

    Example:
    ```python
    >>> find_sentence_positions(["We", " get", " 3", ".", "1", ".", " So", "<|endoftext|>"])
    ['first', 'within', 'within', 'within', 'within', 'last', 'first', 'end']
    ```
    """
    if tokens and not is_truncated:
        return [*find_sentence_positions(tokens[:-1], is_truncated=True), "end"]
    positions, starts = [], True
    for token, following in zip(tokens, _find_following_characters(tokens), strict=True):
        ends = "\n" in token or (token.rstrip().rstrip(_CLOSING).endswith(_SENTENCE_MARKS) and following.isspace())
        if starts:
            positions.append("between" if token.isspace() else "first")
            starts = ends or token.isspace()
        else:
            positions.append("last" if ends else "within")
            starts = ends
    return positions


def _find_following_characters(tokens: Sequence[str]) -> list[str]:
    """The character behind the visible text of each token; white space behind the last one."""
    characters, following = [], " "
    for token in reversed(tokens):
        characters.append(" " if token[-1:].isspace() else following)
        following = token[:1] or following  # a part of a character adds no text
    return characters[::-1]
