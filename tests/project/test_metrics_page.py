"""docs/metrics.md names every metric that is logged, and no other."""

import re
from pathlib import Path

import pytest

from helpers.tiny import build_dataset, build_trainer, roll_out
from trl_forking.analysis.callback import ForkReportCallback


PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()


def find_documented(page: str) -> set[str]:
    """Return the names in the first columns of the tables; `_p80` after `entropy_p50` is short for `entropy_p80`."""
    documented: set[str] = set()
    for cell in re.findall(r"^\| (`[^|]+`) \|", page, flags=re.MULTILINE):
        first, *others = re.findall(r"`([\w@]+)`", cell)
        stem = first.rpartition("_")[0]
        documented |= {first} | {stem + other if other.startswith("_") else other for other in others}
    return documented


@pytest.fixture(scope="module")
def logged(tmp_path_factory) -> tuple[set[str], set[str]]:
    """Return the names that training and evaluation log: in every scope, with dynamic sampling and a report."""
    training: set[str] = set()
    evaluation: set[str] = set()
    for scope in ("batch", "micro_batch", "sequence"):
        trainer = build_trainer(
            tmp_path_factory.mktemp(scope),
            selection_scope=scope,
            dynamic_sampling=scope == "batch",
            token_selection="entropy_weights" if scope == "sequence" else "high_entropy",
            gradient_accumulation_steps=2,
            per_device_eval_batch_size=16,
            trainer_kwargs={"eval_dataset": build_dataset(4)},
        )
        if scope != "micro_batch":  # a report needs the kept tokens of a whole rollout
            trainer.add_callback(ForkReportCallback(trainer, every_n_steps=1))
        trainer.train()
        trainer.evaluate()
        names = {name for entry in trainer.state.log_history for name in entry}
        training |= {name.removeprefix("forking/") for name in names if name.startswith("forking/")}
        named = {name.removeprefix("eval_forking/") for name in names if name.startswith("eval_forking/")}
        evaluation |= {re.sub(r"@\d+", "@k", name) for name in named}
    return training, evaluation


def test_the_page_names_every_metric_and_no_other(logged):
    training, evaluation = logged
    assert training | evaluation == find_documented(PAGE)
    assert {"threshold", "kept_fraction", "avg@k", "avg@k_low", "avg@k_high", "problems"} <= evaluation


def test_a_name_too_many_and_one_too_few_are_found(logged):
    assert find_documented(PAGE.replace("`threshold`", "`treshold`")) - set.union(*logged) == {"treshold"}
    assert set.union(*logged) - find_documented(PAGE.replace("| `sampling_rounds` |", "| |")) == {"sampling_rounds"}
    assert {"entropy_p80", "entropy_p99", "dropped_entropy_mean"} <= find_documented(PAGE)


def test_the_first_loss_is_minus_the_mean_advantage_of_the_kept_tokens(tmp_path):
    """As the page says: near 0, and not 0, because answers differ in the number of their kept tokens."""
    assert "minus the mean advantage of the kept tokens" in PAGE
    trainer = build_trainer(tmp_path, per_device_train_batch_size=64, gradient_accumulation_steps=1)
    batch = roll_out(trainer)
    advantages = batch["advantages"].reshape(64, -1)[:, :1].expand_as(batch["kept"])
    expected = -advantages[batch["kept"]].mean().item()
    assert trainer._compute_loss(trainer.model, batch).item() == pytest.approx(expected, abs=1e-6)
    assert 0 < abs(expected) < 0.1 < advantages.abs().max()
