import logging
import os
import warnings

import pytest


os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may reach the Hub
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("DS_ACCELERATOR", "cpu")  # or DeepSpeed, where it is installed, prints a warning


@pytest.fixture(autouse=True)
def _quiet():
    warnings.filterwarnings("ignore", message=".*pin_memory.*")
    logging.getLogger("trl_forking").setLevel(logging.INFO)
