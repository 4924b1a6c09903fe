"""Compares matrices and vectors. A vector may be written as a tuple."""

from .kinds import Kind, Listing, Matrix, Value
from .numbers import is_same_number
from .tree import Node


def compare_matrices(gold: Kind, answer: Kind) -> tuple[bool, str]:
    r"""
    Compare two matrices, of which one may be written with square brackets, or as a tuple if it is a vector.

    Args:
        gold (`Kind`):
            Gold answer.
        answer (`Kind`):
            Answer. One of the two is a [`~trl_forking.rewards.comparison.kinds.Matrix`].

    Returns:
        `tuple[bool, str]`: whether they are the same, and by which rule.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.compare_matrices import compare_matrices
    >>> from trl_forking.rewards.comparison.read import read
    >>> compare_matrices(read("(1,2)"), read(r"\begin{pmatrix}1\\2\end{pmatrix}"))
    (True, 'the same entries')
    >>> compare_matrices(read("[[1,2],[3,4]]"), read(r"\begin{pmatrix}1&3\\2&4\end{pmatrix}"))
    (False, 'an entry of the matrices differs')
    ```
    """
    first, second = _make_matrix(gold, answer), _make_matrix(answer, gold)
    if first is None or second is None:
        return False, "a list is no matrix"
    shapes = [(kind.form, len(kind.rows), len(kind.rows[0])) for kind in (first, second)]
    if shapes[0] != shapes[1]:
        return False, "the matrices have different shapes"
    entries = zip(sum(first.rows, ()), sum(second.rows, ()), strict=True)
    is_same = all(is_same_number(one, other) is not None for one, other in entries)
    return is_same, "the same entries" if is_same else "an entry of the matrices differs"


def _make_matrix(kind: Kind, other: Kind) -> Matrix | None:
    """Take a tuple for a vector of the form that the other one has, and rows in square brackets for a matrix."""
    if isinstance(kind, Matrix):
        return kind
    if not isinstance(kind, Listing) or not isinstance(other, Matrix) or kind.form not in ("tuple", "row"):
        return None
    entries = _get_entries(kind)
    if entries is not None:
        # [1,2] may be an interval.
        is_column = len(other.rows[0]) == 1
        rows: tuple[tuple[Node, ...], ...] = tuple((entry,) for entry in entries) if is_column else (entries,)
        return Matrix(rows) if kind.form == "tuple" or len(entries) > 2 else None
    rows = tuple(row for item in kind.items if (row := _get_entries(item)) is not None)
    is_matrix = kind.form == "row" and len(rows) == len(kind.items) and len({len(row) for row in rows}) == 1
    return Matrix(rows) if is_matrix else None


def _get_entries(kind: Kind) -> tuple[Node, ...] | None:
    if not isinstance(kind, Listing) or kind.form not in ("tuple", "row"):
        return None
    entries = tuple(item.node for item in kind.items if isinstance(item, Value))
    return entries if len(entries) == len(kind.items) else None
