"""Real trackers, offline: metrics, settings, the table of completions and the callback's page, read back."""

import json
from importlib.util import find_spec

import pytest
from tiny import build_trainer

from trl_forking.fork_report_callback import ForkReportCallback


SETTINGS = {
    "max_steps": 2,
    "gradient_accumulation_steps": 2,
    "log_completions": True,
    "log_entropy": True,
    "num_completions_to_print": 0,
    "top_entropy_quantile": 0.25,
}


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


@pytest.mark.skipif(find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_tensorboard(tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "events"))
    build_trainer(tmp_path / "run", report_to=["tensorboard"], **SETTINGS).train()
    events = EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    assert {"train/forking/threshold", "train/forking/kept_fraction"} <= set(events.Tags()["scalars"])
    settings = events.Tensors("args/text_summary")[0].tensor_proto.string_val[0].decode()
    assert '"top_entropy_quantile": 0.25' in settings and '"token_selection": "high_entropy"' in settings


@pytest.mark.skipif(
    find_spec("trackio") is None, reason="trackio is not installed; it does not fit every huggingface_hub"
)
def test_trackio(tmp_path):
    """In a process of its own: trackio reads its folder when it is imported."""
    import os
    import sqlite3
    import subprocess
    import sys
    from pathlib import Path

    code = (
        "import sys, pathlib; from tiny import build_trainer; from test_trackers import SETTINGS; "
        "from trl_forking.fork_report_callback import ForkReportCallback; "
        "t = build_trainer(pathlib.Path(sys.argv[1]), report_to=['trackio'], project='forks', trackio_space_id=None, **SETTINGS); "
        "t.add_callback(ForkReportCallback(t, every_n_steps=2)); t.train()"
    )
    tests = Path(__file__).parent
    environment = os.environ | {"TRACKIO_DIR": str(tmp_path / "trackio")}
    environment["PYTHONPATH"] = os.pathsep.join([str(tests), str(tests.parent)])
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], check=True, env=environment, timeout=300)
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
