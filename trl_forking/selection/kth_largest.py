"""The exact k-th largest value over all ranks, with memory and traffic that do not grow with the number of values.

This is a radix selection. Every pass reads the values slice by slice. It counts one 16-bit digit of the values that
can still be the k-th largest, and sums the counts over the ranks. The sums tell which digit the k-th largest value
has. A 32-bit value takes two passes, a 64-bit value takes four. A pass sends 65,536 counts (512 KiB) for any number of
values, and nothing is gathered. So there is no limit of 2^24 elements, as `torch.quantile` has.
"""

from collections.abc import Callable, Iterable

import torch


Reduce = Callable[[torch.Tensor], torch.Tensor]
"""Sums a tensor over all ranks, as `accelerator.reduce` does. With one process it is the identity."""

_DIGIT_BITS = 16
_NUM_DIGITS = 1 << _DIGIT_BITS
_SLICE = 1 << 22  # values per slice: the temporary tensors then take less than 100 MiB


def keep_local(tensor: torch.Tensor) -> torch.Tensor:
    """Return `tensor` unchanged, which is the sum over the ranks if there is one process."""
    return tensor


def compute_order_codes(values: torch.Tensor) -> torch.Tensor:
    """
    Map floats to signed integers in the same order.

    The bits of an IEEE float, read as a signed integer, rise with the value if the value is positive. If it is
    negative, its lower 31 bits must be flipped.

    Args:
        values (`torch.Tensor` of shape `(...)`):
            Floats without NaN; they are converted to float32.

    Returns:
        `torch.Tensor` of shape `(...)` and type int32: `codes[i] < codes[j]` if and only if `values[i] < values[j]`.

    Example:
    ```python
    >>> import torch
    >>> compute_order_codes(torch.tensor([-1.0, -0.0, 0.0, 1.0])).tolist()
    [-1065353217, 0, 0, 1065353216]
    ```
    """
    bits = (values.float() + 0.0).view(torch.int32)  # adding 0.0 turns -0.0 into 0.0, so that the two tie
    return torch.where(bits >= 0, bits, bits ^ 0x7FFFFFFF)


def _decode(code: int) -> float:
    code = code if code >= 0 else code ^ 0x7FFFFFFF
    return float(torch.tensor(code, dtype=torch.int32).view(torch.float32).item())


def _count_digits(codes: torch.Tensor, shift: int, prefix: int) -> torch.Tensor:
    """Count the 16-bit digits at `shift` of the codes that begin with `prefix`; the result has shape `(65536,)`."""
    digits = codes >> shift
    if shift + _DIGIT_BITS == torch.iinfo(codes.dtype).bits:
        digits = digits + _NUM_DIGITS // 2  # the leading digit carries the sign, so shift it to begin at 0
    else:
        digits = digits[digits >> _DIGIT_BITS == prefix] & (_NUM_DIGITS - 1)
    return torch.bincount(digits, minlength=_NUM_DIGITS)


def find_kth_largest(
    parts: Callable[[], Iterable[torch.Tensor]], k: int, reduce: Reduce = keep_local, bits: int = 64
) -> int:
    """
    Find the k-th largest of the integers that all ranks hold together.

    Args:
        parts (`Callable`):
            Starts a pass over this rank's integers and returns them as tensors of shape `(n,)`. It returns at least
            one tensor, which may be empty.
        k (`int`):
            Position from the top, 1 for the largest. It is the same on every rank.
        reduce (`Callable`, *optional*):
            Sums a tensor over the ranks. It is called once per pass.
        bits (`int`, *optional*, defaults to `64`):
            Size of the integers: 64 for int64, 32 for int32.

    Returns:
        `int`: the k-th largest, the same on every rank.

    Raises:
        `ValueError`: if `k` is not between 1 and the number of integers on all ranks.

    Example:
    ```python
    >>> import torch
    >>> find_kth_largest(lambda: [torch.tensor([5, 1]), torch.tensor([4, 4])], k=2)
    4
    ```
    """
    prefix, remaining = 0, k
    for shift in range(bits - _DIGIT_BITS, -1, -_DIGIT_BITS):
        counts = reduce(sum(_count_digits(part, shift, prefix) for part in parts())).cpu()
        at_least = counts.flip(0).cumsum(0).flip(0)  # at_least[d]: how many codes have the digit d or a larger one
        if not 1 <= remaining <= int(at_least[0]):
            raise ValueError(f"k must be between 1 and the number of values ({int(at_least[0])}), but it is {k}.")
        digit = int((at_least >= remaining).sum()) - 1
        remaining -= int(at_least[digit] - counts[digit])
        signed_digit = digit - _NUM_DIGITS // 2 if shift + _DIGIT_BITS == bits else digit
        prefix = (prefix << _DIGIT_BITS) + signed_digit
    return prefix


def _find_kth_code(values: torch.Tensor, k: int, reduce: Reduce) -> int:
    return find_kth_largest(lambda: map(compute_order_codes, values.split(_SLICE)), k, reduce, bits=32)


def select_largest(
    values: torch.Tensor,
    k: int,
    tie_keys: Callable[[torch.Tensor], torch.Tensor],
    reduce: Reduce = keep_local,
) -> torch.Tensor:
    """
    Select exactly the k largest values that all ranks hold together.

    If values tie at the threshold, those with the largest keys are selected. A key is unique and belongs to the value,
    not to the rank that holds it. So the selection does not depend on how the values are split over the ranks.

    Args:
        values (`torch.Tensor` of shape `(N,)`):
            This rank's values, without NaN.
        k (`int`):
            How many values to select over all ranks. It is the same on every rank. 0 selects none.
        tie_keys (`Callable`):
            Returns the int64 keys of the values at the given indices of shape `(n,)`. Keys are unique over all ranks.
            It is called only if a tie must be broken.
        reduce (`Callable`, *optional*):
            Sums a tensor over the ranks.

    Returns:
        `torch.Tensor` of shape `(N,)` and type bool: which of this rank's values are selected.

    Raises:
        `ValueError`: if `k` is larger than the number of values on all ranks, or negative.

    Example:
    ```python
    >>> import torch
    >>> select_largest(torch.tensor([0.5, 0.0, 0.0, 0.9]), k=3, tie_keys=lambda index: -index)
    tensor([ True,  True, False,  True])
    ```
    """
    if k == 0:
        return torch.zeros_like(values, dtype=torch.bool)
    values = values.float()  # the codes are those of float32 values
    threshold = _find_kth_code(values, k, reduce)
    at_threshold = torch.tensor(_decode(threshold), device=values.device)
    selected, tied = values > at_threshold, values == at_threshold
    num_above, num_tied = reduce(torch.stack([selected.count_nonzero(), tied.count_nonzero()])).tolist()
    if num_above + num_tied == k:
        return selected | tied

    def read_tied() -> Iterable[torch.Tensor]:
        parts = tied.split(_SLICE)
        return (part.nonzero().squeeze(1) + number * _SLICE for number, part in enumerate(parts))

    smallest_key = find_kth_largest(lambda: (tie_keys(index) for index in read_tied()), k - num_above, reduce)
    for index in read_tied():
        selected[index] = tie_keys(index) >= smallest_key
    return selected


def compute_order_statistics(values: torch.Tensor, positions: list[int], reduce: Reduce = keep_local) -> list[float]:
    """
    Compute exact order statistics of the values that all ranks hold together.

    Args:
        values (`torch.Tensor` of shape `(N,)`):
            This rank's values, without NaN.
        positions (`list[int]`):
            Positions from the top, 1 for the largest.
        reduce (`Callable`, *optional*):
            Sums a tensor over the ranks.

    Returns:
        `list[float]`: the value at each position.

    Raises:
        `ValueError`: if a position is not between 1 and the number of values on all ranks.

    Example:
    ```python
    >>> import torch
    >>> compute_order_statistics(torch.tensor([0.5, 2.0, 1.0]), positions=[1, 3])
    [2.0, 0.5]
    ```
    """
    return [_decode(_find_kth_code(values, k, reduce)) for k in positions]
