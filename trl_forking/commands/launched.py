"""
Runs a launcher of several processes, and ends as a single process would: no traceback after a mistake or a signal.

    python -m trl_forking.commands.launched torch.distributed.run --nproc_per_node 2 ...

`trl-forking grpo` starts the launchers this way. On their own, torchrun and accelerate end with a traceback of
themselves below the message of the process that failed.
"""

import importlib
import logging
import sys

from ..run.interruption import exit_on_interruption


def run_launcher(arguments: list[str]) -> None:
    """
    Run a launcher in this process.

    Args:
        arguments (`list[str]`):
            The module of the launcher and its arguments.

    Raises:
        `SystemExit`: with the exit code of the process that failed first, or with code 130 or 143 after a signal.

    Example:
    ```python
    >>> from trl_forking.commands.launched import run_launcher
    >>> run_launcher(["torch.distributed.run", "--version"])
    Traceback (most recent call last):
        ...
    SystemExit: 2
    ```
    """
    module, *rest = arguments
    # Its lines about every process that it stops would come between the message and the prompt of the shell.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.ERROR)
    with exit_on_interruption():
        from torch.distributed.elastic.multiprocessing.api import SignalException
        from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

        sys.argv = [module, *rest]
        try:
            importlib.import_module(module).main()
        except ChildFailedError as error:
            first = error.get_first_failure()[1]
            if first.exitcode != 2:  # after a mistake the process has printed its sentence
                print(f"error: process {first.local_rank} failed: {first.message}", file=sys.stderr)
            code = first.exitcode
        except SignalException as error:  # the first process of the run has said how to go on
            code = 128 + int(error.sigval)
        else:
            return
    sys.exit(code if code > 0 else 128 - code)


if __name__ == "__main__":
    run_launcher(sys.argv[1:])
