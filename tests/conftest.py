import gc
import json
import logging
import os
import shutil
import signal
import tempfile
import threading
import warnings
from collections import Counter

import pytest

from helpers.skipped import describe_skipped


os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may reach the Hub
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("DS_ACCELERATOR", "cpu")  # or DeepSpeed, where it is installed, prints a warning


def pytest_configure(config):
    """Let DeepSpeed compile into a folder of this test run, which the processes of all workers inherit.

    PyTorch leaves a lock behind in the user's own folder when a process is killed while it compiles, and every later
    process waits for that lock without end.
    """
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(
            signal.SIGINT, signal.default_int_handler
        )  # a shell starts what runs in the background without it
    if not hasattr(config, "workerinput"):
        os.environ["TORCH_EXTENSIONS_DIR"] = config.extensions_folder = tempfile.mkdtemp(prefix="torch-extensions-")


def pytest_unconfigure(config):
    if hasattr(config, "extensions_folder"):
        shutil.rmtree(config.extensions_folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def _quiet():
    warnings.filterwarnings("ignore", message=".*pin_memory.*")
    logging.getLogger("trl_forking").setLevel(logging.INFO)


@pytest.fixture(autouse=True)
def _cards_without_plots(request, monkeypatch):
    """A card is written with every checkpoint. Where runs are tested and not cards, its plot would take half of the time."""
    folder, name = request.path.parts[-2:]
    if folder in ("fuzz", "rollout", "run", "trainer", "update") and name != "test_run_folder.py":
        monkeypatch.setattr("trl_forking.card.model_card.draw_training", lambda *arguments: None)


@pytest.fixture(scope="module", autouse=True)
def _quick_collection():
    """Every training run ends with a garbage collection; what is loaded by now need not be looked through each time.

    Tests that train tiny models take a third of the time with it.
    """
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def countdown_model():
    """The built-in model, loaded once: a test that changes a model loads its own."""
    from trl_forking.countdown import load_countdown_model

    return load_countdown_model()


@pytest.fixture(scope="session")
def countdown_tokenizer():
    from trl_forking.countdown import load_countdown_tokenizer

    return load_countdown_tokenizer()


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory):
    """A tiny model with random weights, and its tokenizer with a chat template, as a user has a model on the disk."""
    from helpers.tiny import build_model, build_tokenizer

    folder = tmp_path_factory.mktemp("models") / "tiny"
    build_model().save_pretrained(folder)
    tokenizer = build_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def write_rows(tmp_path):
    """Write rows, or lines as they are, to a file of JSON lines, and return its path."""

    def write(*rows):
        path = tmp_path / "problems.jsonl"
        path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
        return str(path)

    return write


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
