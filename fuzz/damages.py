"""Random damage to every file of a run folder and of an analysis folder: the right result, or one sentence."""

import json
import random
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch

from helpers.collections_of_answers import run as collect_answers
from trl_forking.analysis import read_records, summarize
from trl_forking.card.model_card import rebuild_card
from trl_forking.card.run_files import read_config, write_config
from trl_forking.run.resume import resolve_checkpoint

from .runs import describe, make


DAMAGES_A_TRIAL = 6
SETTINGS = {
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 2,
    "steps_per_generation": 4,
    "max_steps": 3,
}
SETTINGS |= {"optim": "adamw_torch", "learning_rate": 1e-2}


def cut(source: random.Random, content: bytes) -> bytes:
    return content[: source.randrange(len(content))] if content else b""


def overwrite(source: random.Random, content: bytes) -> bytes:
    start, size = source.randrange(len(content) + 1), source.choice([1, 8, 100])
    return content[:start] + source.randbytes(min(size, len(content) - start)) + content[start + size :]


def insert(source: random.Random, content: bytes) -> bytes:
    start = source.randrange(len(content) + 1)
    return content[:start] + source.randbytes(source.choice([1, 30])) + content[start:]


def change_value(source: random.Random, content: bytes) -> bytes:
    """Give a value of a JSON file another type; other files are overwritten."""
    try:
        value = json.loads(content)
    except ValueError:
        return overwrite(source, content)
    parent, places = value, []
    while isinstance(parent, (dict, list)) and parent:
        name = source.choice(list(parent) if isinstance(parent, dict) else range(len(parent)))
        places.append((parent, name))
        parent = parent[name]
    if not places:
        return b"null"
    parent, name = source.choice(places)
    parent[name] = source.choice([None, "text", -1, 0, 1.5, 10**30, True, [], {}, [[]], {"a": 1}])
    return json.dumps(value).encode()


KINDS: tuple[Callable[[random.Random, bytes], bytes | None], ...] = (
    *(cut, overwrite, insert, change_value, change_value),
    lambda source, content: b"",
    lambda source, content: None,
    lambda source, content: source.choice(
        [b"null", b"[]", b"{}", b"\xff\xfe", b"{" * 5000, b"text: [", b"PK\x03\x04"]
    ),
)


@cache
def build_folders(base: str) -> tuple[Path, Path, Path]:
    """Make a run folder and an analysis folder once, and a folder with the run that was not damaged."""
    folder = Path(base)
    trainer = make(folder / "run", "qwen3", SETTINGS)
    torch.manual_seed(0)
    trainer.train()
    trainer.save_model()
    write_config(folder / "run", "max_steps: 3\nmodel_name_or_path: some/model\ndataset_name: some/data\n")
    rebuild_card(folder / "run")
    torch.save(describe(trainer), folder / "result.pt")
    collect_answers(folder / "analysis")
    return folder / "run", folder / "analysis", folder / "result.pt"


def try_damage(seed: int, folder: Path) -> dict[str, int]:
    """Damage a few files, one after the other, and use the folder after each."""
    source = random.Random(seed)
    run, analysis, result = build_folders(str(_get_base()))
    counts = {"damages": 0, "damages that were told": 0}
    for number in range(DAMAGES_A_TRIAL):
        original = source.choice([run, run, analysis])
        copied = shutil.copytree(original, folder / str(number))
        path = source.choice(sorted(path for path in copied.rglob("*") if path.is_file()))
        content = source.choice(KINDS)(source, path.read_bytes())
        label = f"seed {seed}, damage {number} to {path.relative_to(copied)}"
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        use = use_run if original == run else use_analysis
        counts["damages that were told"] += is_told(use, copied, path.relative_to(copied), result, label)
        counts["damages"] += 1
        shutil.rmtree(copied)
    return counts


def is_told(use: Callable, folder: Path, path: Path, result: Path, label: str) -> bool:
    """Return whether the damage was refused; any error but one sentence is a failure of the trial."""
    try:
        use(folder, path, result)
    except ValueError as error:
        sentence = str(error)
        assert sentence and "\n" not in sentence and len(sentence) < 600, f"{label}: no sentence: {sentence[:300]}"
        assert str(folder) in sentence or path.name in sentence, f"{label}: the file is not named: {sentence[:300]}"
        return True
    except Exception as error:
        raise AssertionError(f"{label}: {type(error).__name__}: {error}") from error
    return False


def use_run(folder: Path, path: Path, result: Path) -> None:
    if not path.parts[0].startswith("checkpoint-"):
        rebuild_card(folder)
        read_config(folder)
        return
    checkpoint = resolve_checkpoint(str(folder / path.parts[0]), str(folder))
    resumed = make(folder, "qwen3", SETTINGS)
    torch.manual_seed(1)
    resumed.train(resume_from_checkpoint=checkpoint)
    before: dict[str, Any] = torch.load(result, weights_only=False)
    if path.parts[0] != "checkpoint-3":  # of a finished run nothing is trained
        assert torch.equal(describe(resumed)["weights"], before["weights"]), "the damage went unnoticed"


def use_analysis(folder: Path, path: Path, result: Path) -> None:
    summarize(read_records(folder), 0.2, min_count=1)


@cache
def _get_base() -> Path:
    import atexit
    import tempfile

    folder = tempfile.TemporaryDirectory(prefix="fuzz-whole-")
    atexit.register(folder.cleanup)
    return Path(folder.name)
