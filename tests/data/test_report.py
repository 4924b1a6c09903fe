"""What is printed about the rows of a data set, and the error where none is left."""

import json
import re

import pytest

from trl_forking.data.choice import choose_problems
from trl_forking.data.problems import load_problems
from trl_forking.data.prompts import choose_prompts, load_prompts
from trl_forking.data.report import describe_choice, raise_if_empty
from trl_forking.data.rows import Row
from trl_forking.rewards.math_reward import NO_TIME
from trl_forking.run.user_errors import UserError


def choose(*rows, **kwargs):
    return choose_problems(
        [Row(row, "a.jsonl", number) for number, row in enumerate(rows, start=1)], "a.jsonl", **kwargs
    )


def choose_readable(*rows, **kwargs):
    """Without math-verify: an answer with a question mark can't be read."""
    return choose(*rows, explain=lambda text: "it has a question mark" if "?" in text else None, **kwargs)


def test_the_choice_is_printed_with_two_examples_and_every_reason():
    choice = choose_readable(
        {"problem": "1 + 1?", "solution": "", "answer": 2},
        {"problem": "2 + 2?", "solution": r"We add and get \boxed{4}."},
        {"problem": "3 + 3?", "answer": None},
        {"problem": "4 + 4?"},
        {"problem": "5 + 5?", "answer": ""},
        {"problem": "6 + 6?", "answer": "1?2"},
        {"problem": "7 + 7?", "solution": "We add 7 and 7, and it is 14."},
        {"problem": None, "answer": 1},
        {"problem": "8 + 8?", "answer": None},
        {"problem": "9 + 9?" + " really?" * 20, "answer": 18},
    )
    assert describe_choice(choice).splitlines() == [
        "a.jsonl: 3 of 10 problems have an answer that math-verify can read",
        "  The answer is from the column answer (2 rows), or from the final answer in the prose of the column solution (1 row).",
        '  Row 1: "1 + 1?" has the answer "2".',
        '  Row 2: "2 + 2?" has the answer "4".',
        "  7 rows are left out: rows 3 and 9 (answer is null); row 4 (no column answer or solution or reward_model); "
        'row 5 (answer is empty); row 6 (answer: it has a question mark: "1?2"); row 7 (solution is prose without a final '
        'answer: "We add 7 and 7, and it is 14."); row 8 (problem is null).',
    ]


def test_many_rows_are_counted_and_not_listed():
    rows = [{"question": f"{n}?", "answer": None} for n in range(30)]
    rows += [{"question": f"{n}?", f"c{n}": 1, "answer": {"a": 1}, "solution": ["x"] * n} for n in range(2, 14)]
    text = describe_choice(choose_readable({"question": "a", "answer": 1}, *rows))
    assert "42 rows are left out: rows 2, 3, 4, 5, 6 and 25 more (answer is null); row 32" in text
    assert "; 5 rows for other reasons." in text and text.count(";") == 8


def test_repeated_rows_are_reported_and_kept():
    rows = [{"question": "a", "answer": 1}, {"question": "b", "answer": 2}, {"question": "a", "answer": "1"}]
    rows += [{"question": "b", "answer": 3}, {"prompt": [{"role": "user", "content": "a"}], "answer": 5}]
    choice = choose_readable(*rows)
    assert len(choice.problems) == 5
    text = describe_choice(choice)
    assert "\n  Row 3 repeats an earlier row, question and answer.\n" in text
    assert text.endswith("\n  Rows with the same question and different answers: 2 and 4. Check which is right.")
    many = describe_choice(choose_readable(*[{"question": "a", "answer": n % 2} for n in range(20)]))
    assert "Rows 3, 5, 7, 9, 11 and 4 more repeat earlier rows, question and answer." in many
    assert "different answers: 1 and 2, 1 and 4, 1 and 6, 1 and 8, 1 and 10, 5 more pairs. Check" in many


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "a.jsonl has no rows: give at least one problem with its answer."),
        ([{"q": "1?", "answer": 1}], "a.jsonl, row 1: no prompt or question or problem in the columns ['q', 'answer']: give"),
        ([{"Question": "", "answer": 1}] * 2, "no row has a question in a column prompt or question or problem. 2 rows are left out: rows 1 and 2 (Question is empty)."),
        ([{"question": "a", "level": 1}], "no row has an answer: put it into a column answer or solution or reward_model. 1 row"),
        ([{"question": "a", "answer": "1?"}], "no answer in the column answer can be read: give a number or a formula, or end the solution with \\boxed{}. 1 row"),
        ([{"question": "a", "Solution": "We add 3 to 4, so it is 7."}], "no answer in the column Solution can be read"),
        ([{"question": None}, {"question": "a"}], "no row has an answer"),
    ],
)  # fmt: skip
def test_data_without_a_problem_is_one_sentence(rows, message):
    with pytest.raises(UserError, match=re.escape(message)):
        raise_if_empty(choose_readable(*rows))


def write(path, *rows):
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def test_answers_that_the_verifier_cannot_read_are_named_by_row(tmp_path, capsys):
    rows = [
        {"question": str(n), "answer": answer} for n, answer in enumerate(("72", "####", "\\frac{1}{2}", "\\boxed{}"))
    ]
    assert load_problems(write(tmp_path / "a.jsonl", *rows))["solution"] == ["72", "\\frac{1}{2}"]
    printed = capsys.readouterr().out
    assert re.search(r"2 rows are left out: row.? 2.*#### *", printed) and "4" in printed.split("left out")[1]


def test_the_verifier_is_asked_once_for_each_answer():
    asked = []
    rows = [{"question": str(n), "answer": n % 2} for n in range(100)]
    choose(*rows, explain=asked.append)
    assert asked == ["0", "1"]


def test_the_verifier_is_asked_again_where_it_had_no_time():
    replies = iter([NO_TIME, None, "it is no number"])
    choice = choose(*[{"problem": f"{n}?", "answer": n // 3} for n in range(6)], explain=lambda text: next(replies))
    assert [problem.question for problem in choice.problems] == ["1?", "2?"]
    assert list(choice.left_out) == [f"answer: {NO_TIME}", "answer: it is no number"]


def test_an_analysis_leaves_out_what_training_leaves_out(tmp_path, capsys):
    rows = [
        {"question": "a"},
        {"question": "b", "answer": "1"},
        {"question": "c", "solution": "We add 1 and it is 2."},
    ]
    path = write(tmp_path / "a.jsonl", *rows, {"question": "d", "answer": 4}, {"question": "e", "answer": 5})
    used, has_answers = choose_prompts(path, num_prompts=2)
    assert [row["prompt"] for row in used] == ["b", "d"] and has_answers
    assert [row.place for row in used] == [f"{path}, row 2", f"{path}, row 4"]
    assert "2 of 4 problems have an answer" in capsys.readouterr().out
    everything, has_answers = choose_prompts(path, needs_answer=False)
    assert [row.get("solution") for row in everything] == [None, "1", None, "4", "5"] and not has_answers
    assert "5 of 5 problems are used, with or without an answer" in capsys.readouterr().out
    assert load_prompts(path) == everything


def test_prompts_without_any_answers_are_analyzed(tmp_path, capsys):
    path = write(tmp_path / "a.jsonl", *({"question": f"{n}?", "solution": "We do not know it."} for n in range(3)))
    used, has_answers = choose_prompts(path, num_prompts=2)
    assert [row["prompt"] for row in used] == ["0?", "1?"] and not has_answers
    assert "2 of 2 problems are used, with or without an answer" in capsys.readouterr().out
    assert not any("solution" in row for row in used)  # nothing may be compared with this prose
    with pytest.raises(UserError, match="no answer in the column solution can be read"):
        choose_prompts(path, needs_answer=True)


def test_the_first_answer_may_come_late(tmp_path):
    rows = [{"question": f"{n}?"} for n in range(90)]
    used, has_answers = choose_prompts(
        write(tmp_path / "a.jsonl", *rows, {"question": "x", "answer": 1}), num_prompts=8
    )
    assert [row["prompt"] for row in used] == ["x"] and has_answers
