"""The log of a run as a file: one line of JSON for each logged step. It needs no tracker and no account."""

import json
import logging
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from ..settings.plain import make_plain
from ..writing.files import write_atomically


logger = logging.getLogger(__name__)

METRICS_FILE = "metrics.jsonl"


class MetricsFile(TrainerCallback):
    """
    Writes `metrics.jsonl` into the folder of a run, in the main process.

    A resumed run goes on in the file of its folder, without the lines after its checkpoint. A new run leaves the file of an
    earlier run under another name.

    Example:
    ```python
    >>> from trl_forking.run.metrics_file import MetricsFile
    >>> MetricsFile().is_broken
    False
    ```
    """

    def __init__(self) -> None:
        self.is_broken = False  # a full disk must not end the run, and one warning is enough

    def on_train_begin(self, args, state, control, **kwargs):
        path = Path(args.output_dir) / METRICS_FILE
        if not state.is_world_process_zero or not path.is_file():
            return
        if state.global_step:
            write_atomically(path, "".join(_find_lines_until(path, state.global_step)))
        elif not state.log_history:
            path.rename(_find_free_name(path))

    def on_log(self, args, state, control, logs=None, **kwargs):
        if not state.is_world_process_zero or self.is_broken:
            return
        path = Path(args.output_dir) / METRICS_FILE
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(
                    json.dumps({"step": state.global_step, **make_plain(logs or {})}, ensure_ascii=False) + "\n"
                )
        except OSError as error:
            self.is_broken = True
            logger.warning(f"{path} has no further lines, because it cannot be written ({error}). Training goes on.")


def _find_lines_until(path: Path, step: int) -> list[str]:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    return [line for line in lines if line.endswith("\n") and _read_step(line) <= step]


def _read_step(line: str) -> float:
    try:
        step: Any = json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return float("inf")
    return step if isinstance(step, int) else float("inf")


def _find_free_name(path: Path) -> Path:
    number, free = 1, path.with_name("_earlier_metrics.jsonl")  # what begins with _ is never pushed
    while free.exists():
        number += 1
        free = path.with_name(f"_earlier_metrics_{number}.jsonl")
    return free
