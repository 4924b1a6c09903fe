"""`trl-forking demo`: train the built-in task with the real trainer, and show the result."""

import importlib
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from .arguments import DemoArguments
    from .command import run_demo
    from .preparation import DemoRun, prepare_demo
    from .results import compute_fork_agreement
    from .run import train_and_evaluate


__all__ = ["DemoArguments", "DemoRun", "compute_fork_agreement", "prepare_demo", "run_demo", "train_and_evaluate"]


# Imported when a name is asked for: a mistake in the flags is answered before torch is imported.
_PLACES = {
    **dict.fromkeys(("DemoArguments",), "arguments"),
    **dict.fromkeys(("run_demo",), "command"),
    **dict.fromkeys(("DemoRun", "prepare_demo"), "preparation"),
    **dict.fromkeys(("compute_fork_agreement",), "results"),
    **dict.fromkeys(("train_and_evaluate",), "run"),
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_PLACES[name]}", __name__), name)
