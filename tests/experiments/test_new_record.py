"""A new record has the keys of the records that are there, in their order."""

from arms import ARMS
from new_record import build_record, build_record_before
from records import BEFORE, RESULTS, locate, read
from training import LOGGED


FIGURES = ("num_problems", "num_answers", "accuracy", "mean_length", "truncated", "scores")


def test_a_new_record_has_the_keys_of_the_others():
    log = dict.fromkeys([*LOGGED, "precision", "recall"], [])
    record = build_record("top_20", 3, 130, {}, dict.fromkeys([*FIGURES, "forks"]), log)
    others = [read(path) for path in RESULTS.glob("*/seed_*.json")]
    assert others and all(list(other) == list(record) for other in others)
    assert list(read(locate(RESULTS, "top_20", 0))["log"]) == list(log)
    assert (record["arm"], record["seed"], record["num_steps"]) == ("top_20", 3, 130)
    assert record["settings"] == ARMS["top_20"].settings


def test_so_has_the_record_of_the_model_before_training():
    record = build_record_before(dict.fromkeys(FIGURES))
    assert list(read(RESULTS / BEFORE)) == list(record) and record["arm"] == "before"
