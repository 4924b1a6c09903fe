"""The limit `max_tokens_per_micro_batch`: what is said if a micro-batch is larger."""

import math
from collections.abc import Sequence

from ..forking_grpo_config import ForkingGRPOConfig
from .dealing import count_groups


def count_micro_batches(lengths: Sequence[int], num_rows: int, limit: int, is_dealt: bool, num_ranks: int = 1) -> int:
    """
    Count how many micro-batches of each rank would do, with none above a limit.

    Args:
        lengths (`Sequence[int]`):
            Length of each row of an optimizer step.
        num_rows (`int`):
            Rows in one micro-batch of TRL's.
        limit (`int`):
            Most tokens of a micro-batch, padding included.
        is_dealt (`bool`):
            Whether rows are dealt by length. If not, any row can share a micro-batch with the longest.
        num_ranks (`int`, *optional*, defaults to `1`):
            Ranks that the rows are dealt to.

    Returns:
        `int`: a number by which TRL can split the rows: the rows of a micro-batch are divided by a whole number. If one
        row alone is longer than the limit, 0.

    Example:
    ```python
    >>> count_micro_batches([9, 2, 10, 3, 3, 2, 0, 0], num_rows=4, limit=12, is_dealt=True)  # 3 would do, but 8 / 3 rows not
    4
    ```
    """
    longest = max(lengths, default=0)
    if longest > limit:
        return 0
    if is_dealt:
        needed = math.ceil(count_groups(lengths, limit) / num_ranks)
        divisors = [number for number in range(1, num_rows + 1) if num_rows % number == 0]
        given = len(lengths) // num_rows // num_ranks
        return next(n for n in (given * part for part in divisors) if n >= needed)
    most_rows = limit // max(longest, 1)
    return len(lengths) // next(n for n in range(num_rows, 0, -1) if num_rows % n == 0 and n <= most_rows)


def explain_limit(args: ForkingGRPOConfig, largest: int, longest: int, num_given: int, num_needed: int) -> str:
    """
    Explain that the answers of an optimizer step do not fit into its micro-batches.

    Args:
        args ([`ForkingGRPOConfig`]):
            Settings of the run.
        largest (`int`):
            Tokens of the largest micro-batch, padding included.
        longest (`int`):
            Tokens of the longest row.
        num_given (`int`):
            Micro-batches that an optimizer step makes of one rollout.
        num_needed (`int`):
            Number that would do, see [`count_micro_batches`].

    Returns:
        `str`: one message.

    Example:
    ```python
    >>> args = ForkingGRPOConfig("runs/x", use_cpu=True, gradient_accumulation_steps=2, max_tokens_per_micro_batch=12,
    ...     max_completion_length=8)
    >>> explain_limit(args, largest=20, longest=10, num_given=2, num_needed=4)
    'max_tokens_per_micro_batch=12, but the largest micro-batch has 20 tokens. 4 micro-batches would do in place of 2: ...
    ```
    """
    limit = args.max_tokens_per_micro_batch
    begin = f"max_tokens_per_micro_batch={limit}, but "
    if not num_needed:
        return f"{begin}one prompt with its answer has {longest} tokens: set max_tokens_per_micro_batch to {longest} or more."
    factor = num_needed // num_given
    names = ("gradient_accumulation_steps", "steps_per_generation")
    changed = " and ".join(f"{name} to {getattr(args, name) * factor}" for name in names)
    return (
        f"{begin}the largest micro-batch has {largest} tokens. {num_needed} micro-batches would do in place of {num_given}: "
        f"for the same answers, set per_device_train_batch_size to {args.per_device_train_batch_size // factor}, {changed}. "
        f"Or set max_tokens_per_micro_batch to {largest} or more."
    )
