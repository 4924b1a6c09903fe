import logging
import os
import warnings
from collections import Counter

import pytest

from helpers.skipped import describe_skipped


os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may reach the Hub
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("DS_ACCELERATOR", "cpu")  # or DeepSpeed, where it is installed, prints a warning


@pytest.fixture(autouse=True)
def _quiet():
    warnings.filterwarnings("ignore", message=".*pin_memory.*")
    logging.getLogger("trl_forking").setLevel(logging.INFO)


def pytest_collection_modifyitems(items):
    """Put the files with the most slow tests first: a long file that begins last would keep one core busy alone."""
    num_slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -num_slow[item.path])


def pytest_terminal_summary(terminalreporter):
    lines = describe_skipped([report.longrepr[2] for report in terminalreporter.stats.get("skipped", [])])
    if lines:
        terminalreporter.section("skipped")
        for line in lines:
            terminalreporter.write_line(line)
