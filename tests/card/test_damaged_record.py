"""A damaged record is told in one sentence: no traceback, and no card with wrong facts."""

import copy
import json
import random

import pytest

import trl_forking.card.model_card as model_card
from helpers.cards import SAMPLED
from helpers.tiny import build_dataset, build_trainer
from trl_forking.card.model_card import rebuild_card
from trl_forking.card.record_schema import find_damage
from trl_forking.card.run_files import read_record
from trl_forking.card.setting_differences import find_setting_differences
from trl_forking.commands.card import run_card


DELETED = object()
VALUES = [DELETED, None, "word", -1, 0, 1.5, 10**400, True, [], [None], {"a": 1}, float("nan"), "\ud800"]


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    folder = tmp_path_factory.mktemp("record")
    settings = {"eval_strategy": "steps", "eval_steps": 2, "per_device_eval_batch_size": 4, "dynamic_sampling": True}
    trainer = build_trainer(
        str(folder), **(SAMPLED | settings | {"trainer_kwargs": {"eval_dataset": build_dataset(4)}, "max_steps": 2})
    )
    trainer.train()
    trainer.create_model_card(dataset_name=["some/data"], tags=["sums"], example_prompt="w3")
    run = read_record(folder)
    for name, few in (("history", ("step", "reward", "loss")), ("versions", ("torch",)), ("forking", None)):
        run[name] = {key: run[name][key] for key in few or run[name]}
    run["kept_tokens"]["tokens"] = run["kept_tokens"]["tokens"][:2]
    return run


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(model_card, "draw_training", lambda history, resumed_at: None)  # it takes most of the time
    return tmp_path


def list_places(value: object, place: tuple = ()) -> list[tuple]:
    items = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    return [place, *(found for name, item in items for found in list_places(item, (*place, name)))]


def damage(record: dict, place: tuple, value: object) -> object:
    changed = copy.deepcopy(record)
    if not place:
        return value
    parent = changed
    for name in place[:-1]:
        parent = parent[name]
    if value is DELETED:
        del parent[place[-1]]
    else:
        parent[place[-1]] = value
    return changed


def build_or_refuse(folder, text: bytes) -> bool:
    """Whether the card was made; a refusal is one sentence that names the file and what to do."""
    (folder / "forking_run.json").write_bytes(text)
    try:
        rebuild_card(folder)
    except ValueError as error:
        sentence = str(error)
        assert sentence.startswith(f"{folder}/forking_run.json ") and "\n" not in sentence, sentence
        assert "restore it from a copy, or resume the run" in sentence or "make the card with the version" in sentence
        return False
    return True


@pytest.mark.slow
def test_no_damage_of_a_value_ends_in_a_traceback(record, folder):
    places = [place for place in list_places(record) if place]
    num_made = num_refused = 0
    for place in places:
        for value in VALUES:
            is_made = build_or_refuse(folder, json.dumps(damage(record, place, value)).encode())
            num_made, num_refused = num_made + is_made, num_refused + (not is_made)
    assert num_refused > 800 and num_made > 50, (num_refused, num_made)  # a text may be any text


def test_a_missing_or_wrong_part_is_named(record):
    parts = [name for name in record if name not in ("format", "evaluations")]
    for name in parts:
        assert find_damage(damage(record, (name,), DELETED), is_whole=True) == name
        assert find_damage(damage(record, (name,), DELETED)) is None
        assert find_damage(damage(record, (name,), 7)) == name
    assert find_damage(record, is_whole=True) is None
    assert find_damage(damage(record, ("history", "reward"), [0.5])) == "history.reward"
    assert find_damage(damage(record, ("kept_tokens", "tokens", 1, "text"), None)) == "kept_tokens.tokens[1].text"


def test_damaged_bytes_are_refused(record, folder):
    """Cut off, emptied, overwritten, of another kind, in another encoding, or nested beyond reason."""
    whole, source = json.dumps(record).encode(), random.Random(0)
    texts = [b"", b"null", b"[]", b"7", b'"text"', b"\xff\xfe\x00", b"{" * 100_000, b"[" * 100_000, b'{"format": 1}']
    texts += [whole[: source.randrange(len(whole))] for _ in range(20)]
    for _ in range(20):
        start = source.randrange(len(whole) - 40)
        texts.append(whole[:start] + bytes(source.randrange(256) for _ in range(40)) + whole[start + 40 :])
    assert sum(build_or_refuse(folder, text) for text in texts) <= 2  # bytes within a text may be others
    assert build_or_refuse(folder, whole)


def test_the_command_says_one_sentence(record, folder, capsys):
    (folder / "forking_run.json").write_text(json.dumps(damage(record, ("batch", "num_generations"), 0)))
    with pytest.raises(SystemExit) as exit_code:
        run_card([str(folder)])
    output = capsys.readouterr().err
    assert exit_code.value.code == 2 and "Traceback" not in output
    assert "forking_run.json is damaged (batch.num_generations is missing or wrong): restore it from a copy" in output


def test_a_resumed_run_replaces_a_damaged_record(tmp_path):
    trainer = build_trainer(str(tmp_path), max_steps=1)
    (tmp_path / "forking_run.json").write_text('{"format": 1, "names": 7}')
    trainer.create_model_card("tiny")
    assert read_record(tmp_path, is_whole=True)["names"] == {"model_name": "tiny"}


def test_records_with_a_few_parts_can_be_compared(record):
    few = {"format": 1, "settings": {"seed": 1}}
    assert find_damage(few) is None
    assert find_setting_differences({"a": [record], "b": [few]})
