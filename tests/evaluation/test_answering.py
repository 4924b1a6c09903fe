"""Answers as they come, the same figures after a kill, an engine that dies, and inputs that do not fit."""

import math

import pytest

from helpers.evaluations import ExactVerifier, ScriptedEngine, make_answer, make_rows
from trl_forking.analysis.shards import find_missing_shards, read_settings
from trl_forking.evaluation.answering import EngineStopped, answer_problems
from trl_forking.evaluation.records import group_by_problem, read_answers, write_answers
from trl_forking.evaluation.summary import summarize_answers


def answer_partly(prompt):
    """The first answer is right for even problems, the second one cannot be read."""
    number = int(prompt.split()[2].split("?")[0])
    return [f"It is {number if number % 2 == 0 else -1}", "It is ?"]


def run(folder, engine=None, rows=None, **kwargs):
    engine = engine or ScriptedEngine(answer_partly)
    kwargs = {"verifier": ExactVerifier(), "shard_size": 2, "disable_tqdm": True} | kwargs
    return answer_problems(engine, make_rows(5) if rows is None else rows, folder, **kwargs)


def test_answers_and_verdicts(tmp_path):
    answers = read_answers(run(tmp_path / "run"))
    assert [(answer.problem_index, answer.answer_index) for answer in answers] == [
        (i, j) for i in range(5) for j in (0, 1)
    ]
    assert [answer.verdict for answer in answers[:4]] == ["right", "unreadable", "wrong", "unreadable"]
    first = answers[0]
    assert (first.read, first.vote, first.num_tokens, first.solution) == ("0", 0, len("It is 0") + 1, "0")
    assert first.prompt == "What is 0?" and first.completion == "It is 0"
    assert read_settings(tmp_path / "run")["verifier"] == "exact"


def test_the_longest_prompts_come_first_and_a_shard_holds_whole_problems(tmp_path):
    engine = ScriptedEngine(answer_partly)
    run(tmp_path / "run", engine)
    lengths = [len(prompt) for prompts, _ in engine.calls for prompt in prompts]
    assert lengths == sorted(lengths, reverse=True) and [len(prompts) for prompts, _ in engine.calls] == [2, 2, 1]
    assert len({seed for _, seed in engine.calls}) == 3


def test_answers_at_the_limit_are_truncated_unless_they_end_there(tmp_path):
    engine = ScriptedEngine(lambda prompt: ["123456789", "12345678"], max_completion_length=9)
    cut, ended = read_answers(run(tmp_path / "run", engine, make_rows(1)))
    assert (cut.num_tokens, cut.is_truncated, ended.num_tokens, ended.is_truncated) == (9, True, 9, False)


def test_an_engine_that_dies_keeps_the_finished_work_and_goes_on_with_the_same_answers(tmp_path):
    dying = ScriptedEngine(answer_partly, fails_at=2, error=RuntimeError("CUDA out of memory. Tried to allocate"))
    with pytest.raises(EngineStopped) as stop:
        run(tmp_path / "run", dying)
    message = str(stop.value)
    assert "2 of 5 problems are answered and kept" in message and "CUDA out of memory" in message
    assert "the same command goes on from there" in message and "Lower --batch_size" in message
    assert find_missing_shards(tmp_path / "run") == [1, 2]
    again = ScriptedEngine(answer_partly)
    answers = read_answers(run(tmp_path / "run", again))
    assert answers == read_answers(run(tmp_path / "whole"))
    assert [seed for _, seed in again.calls] == [seed for _, seed in dying.calls[1:]] + [again.calls[-1][1]]


def test_an_interruption_by_the_user_is_no_failure_of_the_engine(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", ScriptedEngine(answer_partly, fails_at=3, error=KeyboardInterrupt()))
    assert find_missing_shards(tmp_path / "run") == [2]


def test_a_finished_evaluation_is_left_as_it_is(tmp_path):
    run(tmp_path / "run")
    engine = ScriptedEngine(answer_partly)
    run(tmp_path / "run", engine)
    assert not engine.calls


@pytest.mark.parametrize(
    ("change", "named"),
    [({"seed": 1}, "seed 42, not 1"), ({"description": {"model": "b"}}, "model None, not 'b'"), ({"rows": make_rows(4)}, "num_problems 5, not 4")],
)  # fmt: skip
def test_other_settings_are_refused_and_can_overwrite(tmp_path, change, named):
    run(tmp_path / "run")
    with pytest.raises(ValueError, match=named):
        run(tmp_path / "run", **change)
    run(tmp_path / "run", **change, overwrite=True)


def test_other_problems_with_the_same_number_are_refused(tmp_path):
    run(tmp_path / "run")
    rows = make_rows(5)
    rows[3]["key"] = "another solution"
    with pytest.raises(ValueError, match="prompts"):
        run(tmp_path / "run", rows=rows)


def test_a_context_that_is_too_long_stops_before_the_first_answer(tmp_path):
    engine = ScriptedEngine(answer_partly)
    with pytest.raises(
        ValueError, match=r"Problem 5 has 14 tokens.*answer of 50.*63 tokens.*max_completion_length to 49"
    ):
        run(tmp_path / "run", engine, context_length=63)
    with pytest.raises(ValueError, match="Problem 1 .*leave the problem out"):
        run(tmp_path / "run", engine, context_length=14, rows=[{"key": "a", "prompt": "x" * 14, "solution": "1"}])
    assert not engine.calls and not (tmp_path / "run").exists()


def test_problems_that_cannot_be_answered(tmp_path):
    with pytest.raises(ValueError, match="no problems to answer"):
        run(tmp_path / "run", rows=[])
    with pytest.raises(ValueError, match="Problem 1 has no tokens"):
        run(tmp_path / "run", rows=[{"key": "a", "prompt": "", "solution": "1"}])


def test_missing_answers_of_the_engine_are_counted_and_too_many_are_an_error(tmp_path):
    engine = ScriptedEngine(lambda prompt: [] if "0" in prompt else ["It is 1"])
    answers = read_answers(run(tmp_path / "run", engine, make_rows(2)))
    summary = summarize_answers(group_by_problem(answers))
    assert (len(answers), summary.estimates["avg@1"].mean) == (1, 1.0)
    with pytest.raises(EngineStopped, match=r"returned \[3, 3\] answers to 2 problems, 2 to each"):
        run(tmp_path / "other", ScriptedEngine(lambda prompt: ["1", "2", "3"]), make_rows(2))


def test_hostile_texts_are_kept(tmp_path):
    from trl_forking.analysis.records import write_settings

    write_settings(tmp_path, {"num_shards": 1})
    write_answers(tmp_path, 0, [make_answer(completion="\ud800\x00 </script>", read="\ud800", solution=None)])
    (answer,) = read_answers(tmp_path)
    assert answer.completion == "?\x00 </script>" and answer.read == "?" and answer.solution is None


def test_a_folder_of_another_command_is_refused(tmp_path):
    from trl_forking.analysis.records import write_records

    write_records(tmp_path / "analysis", [])
    with pytest.raises(ValueError, match="other columns than an evaluation"):
        read_answers(tmp_path / "analysis")
    run(tmp_path / "run", rows=make_rows(3))
    (tmp_path / "run" / "answers" / "00001.parquet").unlink()
    with pytest.raises(ValueError, match="has 1 of 2 parts: evaluate with the same settings"):
        read_answers(tmp_path / "run")


def test_figures_of_the_scripted_answers(tmp_path):
    figures = summarize_answers(group_by_problem(read_answers(run(tmp_path / "run")))).estimates
    assert figures["avg@2"].mean == pytest.approx(0.3) and figures["pass@2"].mean == pytest.approx(0.6)
    assert figures["maj@2"].mean == pytest.approx(0.6)  # the unreadable answer does not vote
    assert not math.isnan(figures["length"].low)
