"""Where a token stands: in which tenth of its answer, and at which place in its sentence."""

from collections.abc import Sequence

import numpy as np


NUM_ANSWER_PARTS = 10
SENTENCE_POSITIONS = ("first", "within", "last", "between", "end")

_SENTENCE_MARKS = tuple(".!?。！？")
_CLOSING = "\"'”’)]*_"  # these may follow the mark that ends a sentence


def find_answer_parts(num_tokens: int) -> np.ndarray:
    r"""
    Find the tenth of the answer that each token stands in, \\( \lfloor 10 t / T \rfloor \\).

    Args:
        num_tokens (`int`):
            Length of the answer, \\( T \\).

    Returns:
        `np.ndarray` of shape `(T,)`: 0 for the first tenth. A token that reaches into two tenths belongs to the earlier one.

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

    A token ends a sentence if it has a line break in it. It also ends a sentence if its last mark is one of `. ! ?` (also
    full-width) and white space or the end of the answer follows: "3.14" is not cut, "1. First" is.

    - `"first"`: the first token of a sentence that is more than white space, even if it is the only token
    - `"last"`: the token that ends a sentence
    - `"within"`: any other token of a sentence
    - `"between"`: white space after the end of a sentence, such as an empty line
    - `"end"`: the token by which the model ends its answer

    Args:
        tokens (sequence of `str`, `T` long):
            Text that each token of one answer adds to it.
        is_truncated (`bool`, *optional*, defaults to `False`):
            Whether the length limit ended the answer. There is then no token that ends it.

    Returns:
        `list[str]` of length `T`: names from `SENTENCE_POSITIONS`.

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
    """Find the character that follows the visible text of each token; white space follows the last token."""
    characters, following = [], " "
    for token in reversed(tokens):
        characters.append(" " if token[-1:].isspace() else following)
        following = token[:1] or following  # a token that is a part of a character adds no text
    return characters[::-1]
