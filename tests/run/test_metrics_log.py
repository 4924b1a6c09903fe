"""Means between two log entries."""

import math

from helpers.tiny import build_dataset, build_trainer
from trl_forking.run.metrics_log import MetricMeans


def test_nan_has_no_part_in_a_mean_and_counts_are_no_means():
    means = MetricMeans()
    for value in (1.0, math.nan, 3.0):
        means.add("a", value)
    means.add("b", math.nan)
    means.replace("c", 5)
    means.replace("c", 7)
    assert means.pop() == {"a": 2.0, "b": None, "c": 7}
    assert means.pop() == {}


def test_training_and_evaluation_have_names_of_their_own(tmp_path):
    trainer = build_trainer(tmp_path, max_steps=2, logging_steps=2, trainer_kwargs={"eval_dataset": build_dataset()})
    trainer.train()
    entry = trainer.state.log_history[0]
    assert entry["step"] == 2 and 0.2 <= entry["forking/kept_fraction"] < 0.25
    metrics = trainer.evaluate()
    assert "eval_forking/threshold" in metrics and not any(name.startswith("forking/") for name in metrics)
