"""The record of a run that has just ended."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from arms import ARMS


def describe_machine() -> dict[str, Any]:
    """Describe the code and the machine that a record comes from."""
    folder = Path(__file__).parent
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True).stdout.strip()
    packages = ("torch", "transformers", "trl", "accelerate")
    return {
        "commit": commit or None,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "processor": torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f"{platform.machine()}, 1 thread of {os.cpu_count()}",
    }


def build_record(
    arm: str,
    seed: int,
    num_steps: int,
    seconds: dict[str, float],
    figures: dict[str, Any],
    log: dict[str, list[float | None]],
) -> dict[str, Any]:
    """
    Build the record of a run.

    Args:
        arm (`str`):
            Name of the arm.
        seed (`int`):
            Seed.
        num_steps (`int`):
            Number of steps.
        seconds (`dict[str, float]`):
            Seconds of each part of the run.
        figures (`dict`):
            What was measured of the trained model.
        log (`dict[str, list]`):
            A list for each logged value, with a number for each step.

    Returns:
        `dict`: the record.
    """
    return {
        "arm": arm,
        "seed": seed,
        "num_steps": num_steps,
        "settings": ARMS[arm].settings,
        **describe_machine(),
        "seconds": seconds,
        **figures,
        "log": log,
    }


def build_record_before(figures: dict[str, Any]) -> dict[str, Any]:
    """Build the record of the model before training."""
    return {"arm": "before", **describe_machine(), **figures}
