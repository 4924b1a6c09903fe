"""Real trackers, offline. The tests read back metrics, settings, the table of completions and the callback's page."""

import html
import json
import re
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
from transformers.integrations import TensorBoardCallback

from helpers.processes import run_worker
from helpers.tiny import build_trainer
from trl_forking.analysis.callback import ForkReportCallback
from trl_forking.run.completions_table import CompletionsWriter, format_completions


SETTINGS = {
    "max_steps": 2,
    "gradient_accumulation_steps": 2,
    "log_completions": True,
    "log_entropy": True,
    "num_completions_to_print": 0,
    "top_entropy_quantile": 0.25,
}
needs_tensorboard = pytest.mark.skipif(find_spec("tensorboard") is None, reason="tensorboard is not installed")


@pytest.mark.slow
@pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed")
def test_wandb(tmp_path, monkeypatch):
    import wandb

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    trainer = build_trainer(tmp_path / "run", report_to=["wandb"], **SETTINGS)
    trainer.add_callback(ForkReportCallback(trainer, every_n_steps=2))
    trainer.train()
    run = wandb.run
    try:
        assert run.config["top_entropy_quantile"] == 0.25 and run.config["token_selection"] == "high_entropy"
        assert run.summary["train/forking/kept_fraction"] == pytest.approx(0.25, abs=0.05)
        assert "train/forking/overlap_with_base" in dict(run.summary)
        (table,) = list((tmp_path / "wandb").glob("offline-run-*/files/media/table/completions_*.table.json"))[-1:]
        (page,) = list((tmp_path / "wandb").glob("offline-run-*/files/media/html/forking/page_*.html"))[-1:]
    finally:
        run.finish()
    table = json.loads(table.read_text())
    assert {"tokens", "entropies", "kept", "marked"} <= set(table["columns"])
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert any("[" in row["marked"] for row in rows)
    assert "Forks at step" in page.read_text()


@pytest.mark.slow
@needs_tensorboard
def test_tensorboard(tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "events"))
    trainer = build_trainer(tmp_path / "run", report_to=["tensorboard"], **SETTINGS)
    trainer.train()
    events = EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    assert {"train/forking/threshold", "train/forking/kept_fraction"} <= set(events.Tags()["scalars"])
    settings = read_text(events.Tensors("args/text_summary")[0])
    assert '"top_entropy_quantile": 0.25' in settings and '"token_selection": "high_entropy"' in settings
    tables = events.Tensors("completions/text_summary")
    assert [table.step for table in tables] == [1, 2]  # and none for the times that end a run
    head, line, *rows = read_text(tables[-1]).splitlines()
    names = ["prompt", "reward_fixed", "marked", "tokens", "entropies", "kept", "advantage"]
    assert [cell.strip() for cell in head.split("|")[1:-1]] == names and len(rows) == 8
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]
    logs = trainer._logs
    expected = list(zip(logs["prompt"], logs["rewards"]["reward_fixed"], logs["extra"]["marked"], strict=True))[::2]
    assert [(row[0], row[1], html.unescape(row[2])) for row in cells] == [(p, f"{r:.3f}", m) for p, r, m in expected]
    assert sum(row[2].count("&#91;") for row in cells) == sum(int(row[5].split()[0]) for row in cells) > 0
    assert len({row[0] for row in cells}) == 4  # all prompts of the rollout


def read_text(event) -> str:
    return event.tensor_proto.string_val[0].decode()


@pytest.mark.slow
@needs_tensorboard
def test_tensorboard_that_fails_costs_no_run(tmp_path, monkeypatch):
    warnings = []
    monkeypatch.setattr("trl_forking.run.completions_table.logger.warning", warnings.append)
    trainer = build_trainer(tmp_path, **SETTINGS)
    trainer.add_callback(TensorBoardCallback(FullDisk()))
    trainer.train()
    assert trainer.state.global_step == 2
    assert warnings[0] == "TensorBoard got no completions of step 1: No space left on device"


class FullDisk:
    """A writer with no room for a table."""

    def __getattr__(self, name):
        return lambda *args: None

    def add_text(self, tag, *args):
        if tag == "completions":
            raise OSError("No space left on device")


@pytest.mark.slow
@needs_tensorboard
def test_one_process_writes_the_table(tmp_path):
    written = []
    trainer = build_trainer(tmp_path, **SETTINGS)
    trainer.train()
    trainer.add_callback(TensorBoardCallback(SimpleNamespace(add_text=lambda *args: written.append(args))))
    for is_first in (False, True):
        CompletionsWriter(trainer).on_log(None, SimpleNamespace(global_step=3, is_world_process_zero=is_first), None)
    ((tag, table, step),) = written
    assert (tag, step) == ("completions", 3) and "marked" in table


@needs_tensorboard
def test_tensorboard_shows_what_the_model_wrote():
    from tensorboard.plugin_util import markdown_to_safe_html

    text = "<think> a*b* __x__ `c` | [k](http://a.b) ![i](j) &amp; \\(x\\)\n\n# 1\n1. one\n    two\n~~~\n<script>1</script> [<eos>]"
    conversation = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "2 + 2?"}]}]
    logs = {"prompt": [conversation], "completion": [text], "rewards": {}, "advantages": [None], "extra": {}}
    page = markdown_to_safe_html(format_completions(logs))
    cells = [html.unescape(cell.replace("<br>", "\n")) for cell in re.findall("<td>(.*?)</td>", page)]
    assert cells == ["user: <image> 2 + 2?", text, ""]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("trackio") is None, reason="trackio is not installed")
def test_trackio(tmp_path):
    """In a process of its own: trackio reads its folder when it is imported."""
    import sqlite3

    environment = {"TRACKIO_DIR": str(tmp_path / "trackio")}
    result = run_worker("trackio_worker.py", str(tmp_path / "run"), json.dumps(SETTINGS), environment=environment)
    assert result.returncode == 0, result.stderr
    database = sqlite3.connect(next((tmp_path / "trackio").glob("*.db")))
    logged = " ".join(str(row) for row in database.execute("select metrics from metrics"))
    for name in (
        "train/forking/threshold",
        "forking/words",
        "forking/page",
        "forking/entropies",
        "completions",
        "marked",
    ):
        assert name in logged
    assert "'top_entropy_quantile': 0.25" in str(
        json.loads(database.execute("select config from configs").fetchone()[0])
    )
