"""The share of kept tokens in the course of a run."""

END_OF_SCHEDULE = 0.8
"""Part of the run after which the share is the last one."""


def compute_share(first: float, last: float | None, step: int, max_steps: int) -> float:
    r"""
    Compute the share of the tokens that is kept at a step, \\( \rho_s \\).

    $$ \rho_s = \rho_0 + (\rho_1 - \rho_0) \min\left(\frac{s}{0.8\, S}, 1\right) $$

    Source: the linear schedule over forking tokens of
    [Temporal Scheduling for RLVR](https://huggingface.co/papers/2605.25381) and its released code, which ends after 80 % of the
    \\( S \\) steps. It begins with 1 % of the tokens; here it begins with any share.

    Args:
        first (`float`):
            Share of the first step, \\( \rho_0 \\).
        last (`float` or `None`):
            Share of the last step, \\( \rho_1 \\). With `None` the share never changes.
        step (`int`):
            Optimizer steps so far, \\( s \\).
        max_steps (`int`):
            Optimizer steps of the run, \\( S \\); 0 if it is not known, which is the beginning.

    Returns:
        `float`: share in (0, 1].

    Example:
    ```python
    >>> [round(compute_share(0.2, 1.0, step, max_steps=10), 2) for step in (0, 4, 8, 10)]
    [0.2, 0.6, 1.0, 1.0]
    >>> compute_share(0.2, None, 4, max_steps=10)
    0.2
    ```
    """
    if last is None or max_steps <= 0:
        return first
    part = min(step / (END_OF_SCHEDULE * max_steps), 1.0)
    # A weighted mean of the two: never outside of them by a rounding error, and exactly the last one at the end.
    return last if part == 1.0 else (1 - part) * first + part * last
