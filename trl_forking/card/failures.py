"""What happens if a card cannot be made: a warning, and the run goes on."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


logger = logging.getLogger(__name__)


@contextmanager
def warning_of_failure() -> Iterator[None]:
    """
    Warn if a card cannot be made, for example because an evaluation file is broken. The run continues.

    Example:
    ```python
    >>> with warning_of_failure():
    ...     raise ValueError("eval_results.json is cut off.")
    ```
    """
    try:
        yield
    except Exception as error:
        logger.warning(
            f"The model card was not made: {error} Training continues, and trl-forking card can make it later."
        )
