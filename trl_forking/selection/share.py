"""The share of the tokens that are forks. This module imports nothing."""


def check_share(top_entropy_quantile: float) -> None:
    """
    Check that a share of tokens is a fraction in (0, 1].

    Raises:
        `ValueError`: if it is not.

    Example:
    ```python
    >>> check_share(20)
    Traceback (most recent call last):
    ValueError: top_entropy_quantile is a share in (0, 1], such as 0.2, but it is 20.
    ```
    """
    if not 0 < top_entropy_quantile <= 1:
        raise ValueError(f"top_entropy_quantile is a share in (0, 1], such as 0.2, but it is {top_entropy_quantile}.")
