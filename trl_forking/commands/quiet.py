"""A terminal that shows what a command prints, and nothing of the libraries below it."""

import logging
import os
import warnings


def quiet_libraries() -> None:
    """
    Turn off the warnings and progress bars of the libraries below us. The user of a command cannot act on them.

    Example:
    ```python
    >>> import logging
    >>> from trl_forking.commands.quiet import quiet_libraries
    >>> quiet_libraries()
    >>> logging.getLogger("transformers").level == logging.ERROR
    True
    ```
    """
    import torch
    import transformers

    quiet_datasets()
    transformers.utils.logging.disable_progress_bar()
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if not torch.accelerator.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # or an installed DeepSpeed warns that it chose the CPU
    for name in ("transformers", "accelerate", "datasets"):
        logging.getLogger(name).setLevel(logging.ERROR)


def quiet_datasets() -> None:
    """
    Turn off the warnings, and the progress bars of `datasets`, before a data set is read.

    Example:
    ```python
    >>> from trl_forking.commands.quiet import quiet_datasets
    >>> quiet_datasets()
    >>> import datasets
    >>> datasets.are_progress_bars_disabled()
    True
    ```
    """
    import datasets

    warnings.filterwarnings("ignore")
    datasets.disable_progress_bars()
