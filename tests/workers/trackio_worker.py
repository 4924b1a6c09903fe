"""Trains two steps that report to trackio, with the callback's pages.

Run: python tests/workers/trackio_worker.py FOLDER SETTINGS_AS_JSON
"""

import json
import sys
from pathlib import Path

from helpers.tiny import build_trainer
from trl_forking.analysis.callback import ForkReportCallback


settings = json.loads(sys.argv[2]) | {"report_to": ["trackio"], "project": "forks", "trackio_space_id": None}
trainer = build_trainer(Path(sys.argv[1]), **settings)
trainer.add_callback(ForkReportCallback(trainer, every_n_steps=2))
trainer.train()
