"""`trl-forking demo`: train the built-in task with the real trainer, and show the result."""

from .command import run_demo, train_and_evaluate
from .preparation import DemoArguments, DemoRun, prepare_demo
from .results import compute_fork_agreement


__all__ = ["DemoArguments", "DemoRun", "compute_fork_agreement", "prepare_demo", "run_demo", "train_and_evaluate"]
