"""`ForkReportCallback` during training: the page, the overlap with the first model, and what trackers get."""

import json
import math
import re
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from helpers.processes import run_steps
from helpers.tiny import build_dataset, build_model, build_trainer, record_rollouts
from trl_forking.analysis.callback import ForkReportCallback
from trl_forking.analysis.trackers import log_fork_report
from trl_forking.run.completions_table import mark_kept
from workers import countdown_worker


def build(tmp_path, every_n_steps=2, **settings):
    defaults = {"gradient_accumulation_steps": 2, "max_steps": 5, "learning_rate": 0.3, "optim": "sgd"}
    trainer = build_trainer(tmp_path, **(defaults | settings))
    trainer.add_callback(ForkReportCallback(trainer, every_n_steps=every_n_steps))
    return trainer


def get_overlaps(trainer) -> dict[int, float]:
    logs = trainer.state.log_history
    return {e["step"]: e["forking/overlap_with_base"] for e in logs if "forking/overlap_with_base" in e}


def find_top(entropies: list[np.ndarray], rho: float = 0.2) -> set[tuple[int, int]]:
    places = [(row, place) for row, values in enumerate(entropies) for place in range(len(values))]
    places.sort(key=lambda place: -entropies[place[0]][place[1]])
    return set(places[: math.ceil(rho * len(places))])


def score(model, batch) -> list[np.ndarray]:
    """Entropies of every answer of a batch in float64, one at a time."""
    entropies = []
    for row in range(len(batch["completion_ids"])):
        prompt = batch["prompt_ids"][row][batch["prompt_mask"][row].bool()]
        answer = batch["completion_ids"][row][batch["completion_mask"][row].bool()]
        with torch.no_grad():
            logits = model(torch.cat([prompt, answer])[None]).logits[0, len(prompt) - 1 : -1].double()
        entropies.append(torch.distributions.Categorical(logits=logits).entropy().numpy())
    return entropies


def test_overlap_is_that_of_the_definition(tmp_path):
    trainer = build(tmp_path, per_device_train_batch_size=16, gradient_accumulation_steps=1)
    before, seen = {}, {}

    def note(step):
        batch = before.setdefault("batch", trainer._buffered_inputs[0])
        seen[step] = score(trainer.model, batch)

    compute_overlap = trainer.callback_handler.callbacks[-1]._compute_overlap
    trainer.callback_handler.callbacks[-1]._compute_overlap = lambda probe: (
        note(trainer.state.global_step),
        compute_overlap(probe),
    )[1]
    trainer.train()
    batch = before["batch"]
    base = [
        row[mask.bool()].double().numpy()
        for row, mask in zip(batch["entropies"], batch["completion_mask"], strict=True)
    ]
    overlaps = get_overlaps(trainer)
    assert list(overlaps) == [1, 2, 4, 5]
    expected = {s: len(find_top(base) & find_top(now)) / len(find_top(base)) for s, now in seen.items()}
    assert overlaps == pytest.approx(expected, abs=1.5 / len(find_top(base)))  # ties
    assert min(overlaps.values()) < 1.0


@pytest.mark.slow
def test_forks_of_a_model_that_does_not_move_stay(tmp_path):
    trainer = build(tmp_path, learning_rate=0.0, max_steps=2)
    trainer.train()
    assert get_overlaps(trainer) == {1: 1.0, 2: 1.0}


@pytest.mark.slow
def test_two_processes_log_the_overlap_of_one(tmp_path):
    settings = {"fixed": True, "report": True, "config": {"gradient_accumulation_steps": 1, "dynamic_sampling": False}}
    whole = countdown_worker.run("ddp", settings | {"folder": str(tmp_path / "one")}, num_processes=1)
    settings["folder"] = str(tmp_path / "two")
    (record,) = run_steps("countdown_worker.py", tmp_path / "records.pt", [settings], "ddp")
    assert record["num_processes"] == 2
    assert record["overlaps"] == pytest.approx(whole["overlaps"], abs=1e-6, nan_ok=True)
    assert min(filter(None, whole["overlaps"])) < 1.0
    assert sorted(path.name for path in (tmp_path / "two" / "_forks").glob("*.html")) == [
        f"step-{step}.html" for step in (1, 2, 4, 5)
    ]


def test_page_has_the_newest_answers(tmp_path):
    trainer = build(tmp_path, max_steps=2, every_n_steps=2)
    trainer.train()
    page = (tmp_path / "_forks" / "step-2.html").read_text()
    assert "Forks at step 2" in page
    data = json.loads(re.search(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)[1])
    assert len(data["answers"]) == 16 and all(answer["trained"] for answer in data["answers"])
    records = trainer.callback_handler.callbacks[-1]._build_records()
    assert [record.answer_index for record in records] == [0, 1, 2, 3] * 4
    expected = list(trainer._logs["rewards"]["reward_fixed"])
    assert [record.reward for record in records] == pytest.approx(expected)
    # Groups with equal rewards do not compete.
    counted = [record for record in records if len({expected[4 * record.prompt_index + n] for n in range(4)}) > 1]
    places = find_top([record.entropies.astype(np.float64) for record in counted])
    assert sum(record.kept.sum() for record in records) == len(places)
    assert min(record.entropies[record.kept].min() for record in counted if record.kept.any()) == pytest.approx(
        min(counted[row].entropies[place] for row, place in places), abs=1e-4
    )
    texts = [record.completion.removesuffix(" <eos>") for record in records]
    assert texts == list(trainer._logs["completion"])


def test_page_has_plots_tables_and_the_probabilities_that_are_known(tmp_path):
    trainer = build(tmp_path, max_steps=2, gradient_accumulation_steps=1, steps_per_generation=2)
    trainer.train()
    page = (tmp_path / "_forks" / "step-2.html").read_text()
    assert page.count("data:image/svg+xml") == 3 and "Tokens with the highest mean entropy" in page
    assert "to see its entropy." in page  # the alternatives are not known
    (callback,) = (each for each in trainer.callback_handler.callbacks if isinstance(each, ForkReportCallback))
    newest, records = callback._newest, callback._build_records()
    known = newest["old_per_token_logps"][newest["completion_mask"].bool()]
    assert np.concatenate([record.logprobs for record in records]).tolist() == known.tolist() and (known < 0).any()


def test_page_without_matplotlib_has_no_plots(tmp_path, monkeypatch):
    monkeypatch.setattr("trl_forking.run.user_errors.find_spec", lambda name: None if name == "matplotlib" else name)
    build(tmp_path, max_steps=1).train()
    page = (tmp_path / "_forks" / "step-1.html").read_text()
    assert "data:image/svg+xml" not in page and "Tokens with the highest mean entropy" in page


@pytest.mark.slow
def test_a_probe_that_cannot_be_written_costs_no_run(tmp_path, monkeypatch):
    warnings = []
    monkeypatch.setattr("trl_forking.analysis.callback.logger.warning", lambda text, **kwargs: warnings.append(text))

    def fail(path, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trl_forking.analysis.callback.write_atomically", fail)
    trainer = build(tmp_path, max_steps=2)
    trainer.train()
    assert set(get_overlaps(trainer)) == {1, 2} and not list((tmp_path / "_forks").glob("probe_*.pt"))
    assert "probe_0.pt was not written" in warnings[0] and "No space left" in warnings[0]


@pytest.mark.slow
def test_resumed_run_keeps_its_probe(tmp_path):
    saving = {"save_strategy": "steps", "save_steps": 1, "optim": "adamw_torch", "learning_rate": 1e-2}
    whole = build(tmp_path, **saving)
    whole.train()
    resumed = build(tmp_path, **saving)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert get_overlaps(resumed) == get_overlaps(whole)


@pytest.mark.slow
def test_resumed_run_without_a_probe_says_so(tmp_path, monkeypatch):
    saving = {"save_strategy": "steps", "save_steps": 1, "optim": "adamw_torch"}
    build(tmp_path, **saving).train()
    for path in (tmp_path / "_forks").glob("probe_*"):
        path.unlink()
    warnings = []
    monkeypatch.setattr("trl_forking.analysis.callback.logger.warning", warnings.append)
    resumed = build(tmp_path, **saving)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert "does not have the first answers of every process" in warnings[0]
    assert max(get_overlaps(resumed)) <= 3


def test_all_tokens_are_trained(tmp_path):
    trainer = build(tmp_path, top_entropy_quantile=1.0, max_steps=2)
    trainer.train()
    assert set(get_overlaps(trainer)) == {1, 2}
    assert (tmp_path / "_forks" / "step-2.html").is_file()


def test_what_cannot_be_shown_is_refused(tmp_path):
    with pytest.raises(ValueError, match="marks the kept tokens of each rollout, but with selection_scope"):
        build(tmp_path, selection_scope="micro_batch")
    with pytest.raises(ValueError, match="every_n_steps must be at least 1, but it is 0"):
        build(tmp_path, every_n_steps=0)


@pytest.mark.slow
def test_tensorboard_gets_words_answers_and_histogram(tmp_path, monkeypatch):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "events"))
    build(tmp_path, max_steps=2, report_to=["tensorboard"]).train()
    events = event_accumulator.EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    tags = events.Tags()
    assert {"forking/words/text_summary", "forking/answers/text_summary"} <= set(tags["tensors"])
    assert "forking/entropies" in tags["histograms"]
    assert {"train/forking/threshold", "train/forking/overlap_with_base"} <= set(tags["scalars"])
    text = events.Tensors("forking/answers/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "&#91;" in text and "reward" in text


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_trackers_get_their_own_types(name, tmp_path, monkeypatch):
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    tracker = __import__(name)
    logged = []
    monkeypatch.setattr(tracker, "log", logged.append)
    if name == "wandb":
        monkeypatch.setattr(tracker, "run", object())
    trainer = build(tmp_path, max_steps=1)
    trainer.train()
    callback = trainer.callback_handler.callbacks[-1]
    trainer.args.report_to = [name]
    records = callback._build_records()
    rows = [{"token": " so", "count": 3, "mean_entropy": 1.5}]
    log_fork_report(trainer, 7, records, {"top_tokens": rows}, tmp_path / "_forks" / "step-1.html")
    (media,) = logged
    types = {key.removeprefix("forking/"): type(value).__name__ for key, value in media.items()}
    assert types.pop("train/global_step") == "int" and media["train/global_step"] == 7
    assert types["words"] == types["answers"] == "Table" and types["entropies"] == "Histogram"
    assert "Html" in types["page"]


def test_kept_tokens_are_marked(tmp_path):
    trainer = build(tmp_path, max_steps=1)
    trainer.train()
    for record in trainer.callback_handler.callbacks[-1]._build_records():
        marked = mark_kept(record.tokens, record.kept.tolist())
        assert marked.count("[") - record.completion.count("[") == record.kept.sum()


def test_dropout_chooses_no_tokens(tmp_path):
    """TRL scores an off-policy rollout with dropout on; the kept tokens are those of the policy that wrote the answers."""
    settings = {"steps_per_generation": 4, "gradient_accumulation_steps": 2, "learning_rate": 0.0, "max_steps": 2}
    trainer = build(tmp_path, model=build_model(attention_dropout=0.3), every_n_steps=1, **settings)
    rollouts = record_rollouts(trainer)
    trainer.train()
    assert get_overlaps(trainer) == {1: 1.0, 2: 1.0}
    batch = rollouts[0].batch
    assert len(rollouts) == 1
    for row, expected in enumerate(score(trainer.model.eval(), batch)):
        entropies = batch["entropies"][row][batch["completion_mask"][row].bool()]
        np.testing.assert_allclose(entropies, expected, atol=1e-5)


def test_rewards_of_the_same_name(tmp_path):
    def make(scale):
        def reward(number, **kwargs):
            return [scale * (index % 4) for index, _ in enumerate(number)]

        return reward

    trainer = build(tmp_path, reward_funcs=[make(1.0), make(2.0)], max_steps=1)
    trainer.train()
    rewards = [record.reward for record in trainer.callback_handler.callbacks[-1]._build_records()]
    assert rewards[:4] == [0.0, 3.0, 6.0, 9.0]


@pytest.mark.slow
def test_evaluation_and_resume_leave_the_page_of_a_rollout_alone(tmp_path):
    settings = {"steps_per_generation": 4, "max_steps": 4, "save_strategy": "steps", "save_steps": 1}
    settings |= {"eval_strategy": "steps", "eval_steps": 1, "optim": "adamw_torch", "learning_rate": 1e-2}
    settings["trainer_kwargs"] = {"eval_dataset": build_dataset()}
    whole = build(tmp_path, every_n_steps=1, **settings)
    seen = []
    whole.callback_handler.callbacks[-1]._write = lambda step, records: seen.append([r.completion for r in records])
    whole.train()
    assert seen[0] == seen[1] and seen[2] == seen[3] and seen[1] != seen[2]
    resumed = build(tmp_path, every_n_steps=1, **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
    assert [path.name for path in sorted((tmp_path / "_forks").glob("*.html"))] == ["step-3.html", "step-4.html"]


def test_a_page_that_fails_costs_no_run(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("No space left on device")

    warnings = []
    monkeypatch.setattr("trl_forking.analysis.callback.write_page", fail)
    monkeypatch.setattr("trl_forking.analysis.callback.logger.warning", warnings.append)
    trainer = build(tmp_path, max_steps=2)
    trainer.train()
    assert trainer.state.global_step == 2
    assert warnings[0] == "The page of step 1 was not made: No space left on device"
