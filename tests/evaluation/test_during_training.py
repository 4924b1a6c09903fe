"""avg@k of an evaluation in training: by hand, in one and two processes, in the log, on the card, and for a best model."""

import json
import math

import pytest
import torch
from transformers import TrainerCallback

from helpers.processes import run_steps
from helpers.tiny import NUM_GENERATIONS, NUM_PROMPTS, build_answer, build_dataset, build_trainer, reward_fixed
from trl_forking.card.logged_evaluations import build_logged_results, collect_evaluations
from trl_forking.card.model_card import rebuild_card
from trl_forking.card.run_files import read_record, write_record
from trl_forking.evaluation import compute_share_interval, estimate_mean
from trl_forking.evaluation.during_training import compute_evaluation_metrics


NAN = math.nan
NUM_PROBLEMS = 5  # of 20 answers; in batches of 16 the last is not full


def average(number):
    answers = [build_answer(number, sample) for sample in range(NUM_GENERATIONS)]
    return sum(reward_fixed(answers, [number] * NUM_GENERATIONS)) / NUM_GENERATIONS


EXPECTED = estimate_mean([average(number) for number in range(NUM_PROBLEMS)])


def evaluate_in(trainer):
    trainer.train()
    return [row for row in trainer.state.log_history if any("avg@" in name for name in row)]


def build(folder, **settings):
    defaults = {
        "eval_strategy": "steps",
        "eval_steps": 1,
        "per_device_eval_batch_size": 16,
        "trainer_kwargs": {"eval_dataset": build_dataset(NUM_PROBLEMS)},
    }
    return build_trainer(folder, **(defaults | settings))


def check(metrics):
    """The mean does not depend on the order of the problems; the draws of the bootstrap do."""
    assert metrics["eval_forking/avg@4"] == pytest.approx(EXPECTED.mean) and metrics["eval_forking/problems"] == 5
    assert metrics["eval_forking/avg@4_low"] == pytest.approx(EXPECTED.low, abs=0.05)
    assert metrics["eval_forking/avg@4_high"] == pytest.approx(EXPECTED.high, abs=0.05)


def test_figures_by_hand():
    rewards = torch.tensor([1.0, 0.0, 1.0, 1.0, NAN, 0.0, NAN, NAN, 1.0, 1.0])
    metrics = compute_evaluation_metrics(rewards, 2)
    expected = estimate_mean([0.5, 1.0, 0.0, 1.0])
    assert metrics == {"avg@2": 0.625, "avg@2_low": expected.low, "avg@2_high": expected.high, "problems": 4.0}
    assert compute_evaluation_metrics(rewards, 2, num_problems=2)["avg@2"] == 0.75
    assert compute_evaluation_metrics(rewards, 2, num_problems=1)["avg@2_low"] is None
    # Early in a run on hard problems all answers are wrong. That is not certain to stay so.
    wrong, right = (compute_evaluation_metrics(torch.full((40,), value), 2) for value in (0.0, 1.0))
    assert (wrong["avg@2_low"], wrong["avg@2_high"]) == compute_share_interval(0, 20) and wrong["avg@2_high"] > 0.1
    assert (right["avg@2_low"], right["avg@2_high"]) == compute_share_interval(20, 20)
    assert compute_evaluation_metrics(torch.tensor([-1.0, 1.0] * 4), 1)["avg@1_high"] > 0.3
    nothing = compute_evaluation_metrics(torch.tensor([NAN, NAN]), 2)
    assert nothing == {"avg@2": None, "avg@2_low": None, "avg@2_high": None, "problems": 0.0}


def test_training_logs_avg_at_k_of_the_whole_set(tmp_path):
    trainer = build(tmp_path, eval_on_start=True)
    logged = evaluate_in(trainer)
    assert [row["step"] for row in logged] == [0, 1]
    for row in logged:
        check(row)


@pytest.mark.parametrize(("k", "batch"), [(1, 5), (2, 4), (8, 16)])
def test_other_numbers_of_answers(tmp_path, k, batch):
    (row,) = evaluate_in(build(tmp_path, num_generations_eval=k, per_device_eval_batch_size=batch, rollout_func=None))
    assert 0 <= row[f"eval_forking/avg@{k}_low"] <= row[f"eval_forking/avg@{k}"] <= row[f"eval_forking/avg@{k}_high"]
    assert row["eval_forking/problems"] == 5 and "eval_forking/avg@4" not in row


def test_the_first_reward_function_is_the_verifier(tmp_path):
    def punish(completion_ids, **kwargs):
        return [-10.0] * len(completion_ids)

    (row,) = evaluate_in(build(tmp_path, reward_funcs=[reward_fixed, punish]))
    check(row)


def test_several_evaluation_sets_have_names_of_their_own(tmp_path):
    sets = {"a": build_dataset(NUM_PROBLEMS), "b": build_dataset(3)}
    trainer = build(tmp_path, trainer_kwargs={"eval_dataset": sets})
    first, second = evaluate_in(trainer)
    assert first["eval_a_forking/avg@4"] == pytest.approx(EXPECTED.mean)
    assert second["eval_b_forking/avg@4"] == pytest.approx(sum(map(average, range(3))) / 3)
    assert second["eval_b_forking/problems"] == 3
    names = [row["name"] for row in collect_evaluations(trainer.state.log_history)]
    assert names == ["a", "b"]


def test_an_evaluation_set_without_a_length(tmp_path):
    stream = build_dataset(NUM_PROBLEMS).to_iterable_dataset()
    check(build(tmp_path, trainer_kwargs={"eval_dataset": stream}).evaluate())


def test_dynamic_sampling_and_scopes_do_not_change_an_evaluation(tmp_path):
    for settings in ({"dynamic_sampling": True}, {"selection_scope": "micro_batch"}, {"top_entropy_quantile": 1.0}):
        check(build(tmp_path / next(iter(settings)), **settings).evaluate())


@pytest.mark.slow
def test_two_processes_count_every_problem_once(tmp_path):
    """Two processes with batches of eight fill the second step of 20 answers with the first problems again."""
    settings = [
        {"num_problems": NUM_PROBLEMS, "per_device_eval_batch_size": 8, "gradient_accumulation_steps": 4},
        {"num_problems": 7, "per_device_eval_batch_size": 2, "gradient_accumulation_steps": 4},
        {"num_problems": 1, "per_device_eval_batch_size": 8, "gradient_accumulation_steps": 4, "trains": True},
    ]
    first, second, trained = run_steps("evaluation_worker.py", tmp_path / "out.pt", settings)
    check(first)
    # The tokens of both processes are counted: those of the 64 fixed answers.
    answers = [build_answer(number, sample) for number in range(NUM_PROMPTS) for sample in range(NUM_GENERATIONS)]
    assert trained["forking/generated_tokens"] == sum(map(len, answers))
    # A group lies on both ranks, and the fixed answers of a problem are those of its place in the batch.
    assert second["eval_forking/problems"] == 7
    assert second["eval_forking/avg@4"] == pytest.approx(sum(map(average, range(7))) / 7)


def test_the_best_model_can_be_chosen_by_it_and_callbacks_see_it(tmp_path):
    seen = []

    class Listener(TrainerCallback):
        def on_evaluate(self, args, state, control, metrics, **kwargs):
            seen.append(metrics["eval_forking/avg@4"])

    settings = {"save_strategy": "steps", "save_steps": 1, "metric_for_best_model": "eval_forking/avg@4"}
    trainer = build(tmp_path, load_best_model_at_end=True, greater_is_better=True, **settings)
    trainer.add_callback(Listener())
    trainer.train()
    assert seen == [trainer.state.best_metric] == [pytest.approx(EXPECTED.mean)]
    assert read_record(tmp_path)["progress"]["best_step"] == 1


def test_the_card_shows_it_with_the_model_before_training(tmp_path):
    trainer = build(tmp_path, eval_on_start=True)
    trainer.train()
    card = rebuild_card(tmp_path).read_text()
    assert "Evaluation set of the run" in card and "avg@4" in card and "No evaluation was recorded" not in card
    (result,) = build_logged_results(read_record(tmp_path))
    assert result.metric_args["baseline"] == result.metric_value == pytest.approx(EXPECTED.mean)
    assert result.metric_args["step"] == 1 and len(result.metric_args["interval"]) == 2
    # Results of files stand beside it.
    (tmp_path / "eval_results.json").write_text(json.dumps({"dataset": "a/b", "metric": "accuracy", "value": 0.4}))
    card = rebuild_card(tmp_path).read_text()
    assert "accuracy" in card and "avg@4" in card


def test_a_record_of_an_older_version_has_no_evaluations(tmp_path):
    trainer = build(tmp_path, eval_strategy="no")
    trainer.train()
    record = read_record(tmp_path)
    assert record.pop("evaluations") == []
    write_record(tmp_path, record)
    assert "No evaluation was recorded" in rebuild_card(tmp_path).read_text()


def test_the_card_takes_the_last_or_the_best_evaluation():
    rows = [
        {"step": step, "name": None, "metric": "avg@4", "value": step / 10, "interval": [0, 1], "num_samples": 3}
        for step in (2, 4, 6)
    ]
    for progress, value in (({}, 0.6), ({"best_step": 4}, 0.4)):
        (result,) = build_logged_results({"evaluations": rows, "progress": progress, "batch": {}})
        assert result.metric_value == value and "baseline" not in result.metric_args


def test_what_is_no_figure_is_not_collected():
    rows = [
        {"eval_forking/avg@4": 0.5},  # without a step
        {"step": 1, "eval_forking/avg@4": None, "eval_forking/avg@4_low": 0.1, "forking/avg@4": 0.2},
        {"step": 1, "eval_forking/avg@4": True, "eval_forking/threshold": 0.5},
    ]
    assert collect_evaluations(rows) == []
    (row,) = collect_evaluations([{"step": 3, "eval_forking/avg@2": 0.5, "eval_forking/avg@2_low": None}])
    assert row["interval"] is None and row["num_samples"] is None
