"""Presets: what is pinned, and that other data than expected is refused. The data is a small file of the same shape."""

import json
import re
from dataclasses import replace

import pytest

from trl_forking.evaluation.problem_sets import (
    PROBLEM_SETS,
    build_key,
    find_problem_set,
    load_problem_set,
    select_problems,
)
from trl_forking.run.user_errors import UserError


def make_rows(problem_set, number=None):
    """Rows of the shape that the preset names, as the Hub would serve them."""
    answer = (lambda i: [f"${i}$", "x"]) if problem_set.name == "olympiad" else str
    return [
        {
            **dict.fromkeys(problem_set.columns, "other"),
            problem_set.question: f"What is {i}?",
            problem_set.answer: answer(i),
        }
        for i in range(problem_set.num_problems if number is None else number)
    ]


class FakeHub:
    def __init__(self, rows):
        self.rows, self.asked = rows, []

    def load(self, dataset, config, **kwargs):
        self.asked.append((dataset, config, kwargs))
        return self.rows


@pytest.mark.parametrize("name", PROBLEM_SETS)
def test_every_preset_loads_data_of_its_shape(name):
    problem_set = PROBLEM_SETS[name]
    hub = FakeHub(make_rows(problem_set))
    loaded = load_problem_set(problem_set, hub.load, lambda dataset: "f" * 40)
    revision = problem_set.revision or "f" * 40
    assert hub.asked == [(problem_set.dataset, problem_set.config, {"split": problem_set.split, "revision": revision})]
    assert len(loaded.rows) == problem_set.num_problems and loaded.revision == revision
    assert loaded.rows[3]["question"] == "What is 3?"
    assert loaded.rows[3]["solution"] == ("$3$, x" if name == "olympiad" else "3")
    assert len({row["key"] for row in loaded.rows}) == problem_set.num_problems


def test_what_is_pinned():
    sizes = {"aime24": 30, "aime25": 30, "amc23": 40, "math500": 500, "minerva": 272, "olympiad": 674}
    assert {name: problem_set.num_problems for name, problem_set in PROBLEM_SETS.items()} == sizes
    for problem_set in PROBLEM_SETS.values():
        assert problem_set.license and problem_set.split
        assert problem_set.revision is None or re.fullmatch("[0-9a-f]{40}", problem_set.revision)


def test_the_newest_commit_is_never_taken_in_silence():
    unpinned = load_problem_set(
        PROBLEM_SETS["amc23"], FakeHub(make_rows(PROBLEM_SETS["amc23"])).load, lambda _: "abcdef0123"
    )
    assert (
        "commit abcdef0, the newest: this version pins none" in unpinned.notes[0] and unpinned.revision == "abcdef0123"
    )
    pinned = PROBLEM_SETS["aime24"]
    assert "which this version pins" in load_problem_set(pinned, FakeHub(make_rows(pinned)).load).notes[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[:29], "aime24: HuggingFaceH4/aime_2024 has 29 problems, but this version expects 30"),
        (lambda rows: [], "has 0 problems"),
        (lambda rows: [{"Problem": 1, "Answer": 2}] * 30, "has the columns Problem, Answer, but this version expects problem, answer"),
        (lambda rows: [{**rows[0], "answer": None}, *rows[1:]], "aime24, row 1: answer must be a text or a number, but it is None"),
        (lambda rows: [*rows[:4], {**rows[4], "problem": 5}, *rows[5:]], "aime24, row 5: problem must be a text, but it is 5"),
        (lambda rows: [{**rows[0], "answer": {"a": 1}}, *rows[1:]], "answer must be a text or a number"),
        (lambda rows: [{**rows[0], "answer": []}, *rows[1:]], "answer must be a text or a number"),
        (lambda rows: [{**rows[0], "answer": True}, *rows[1:]], "answer must be a text or a number"),
    ],
)  # fmt: skip
def test_other_data_than_expected_stops(change, message):
    problem_set = PROBLEM_SETS["aime24"]
    with pytest.raises(ValueError, match=re.escape(message)):
        load_problem_set(problem_set, FakeHub(change(make_rows(problem_set))).load)


@pytest.mark.parametrize("name", PROBLEM_SETS)
def test_every_preset_stops_at_another_number_or_other_columns(name):
    problem_set = PROBLEM_SETS[name]
    rows, find = make_rows(problem_set), lambda dataset: "f" * 40
    for other in (rows[1:], [*rows, rows[0]]):
        with pytest.raises(
            UserError, match=f"{name}: {problem_set.dataset} has {len(other)} problems, but this version expects"
        ):
            load_problem_set(problem_set, FakeHub(other).load, find)
    for column in (problem_set.question, problem_set.answer, *problem_set.columns):
        other = [{key.replace(column, column.capitalize()): value for key, value in row.items()} for row in rows]
        with pytest.raises(
            UserError, match=f"has the columns .*, but this version expects .*{column}.*Give the problems as a file"
        ):
            load_problem_set(problem_set, FakeHub(other).load, find)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROBLEM_SETS)
def test_every_preset_stops_at_another_split_or_configuration(name, tmp_path):
    """The real loader reads a folder that has a split of another name, and no configurations."""
    (tmp_path / "data").mkdir()
    lines = "".join(json.dumps(row) + "\n" for row in make_rows(PROBLEM_SETS[name]))
    (tmp_path / "data" / "validation.jsonl").write_text(lines)
    with pytest.raises(UserError) as caught:
        load_problem_set(
            replace(PROBLEM_SETS[name], dataset=str(tmp_path / "data")), find_newest=lambda dataset: "f" * 40
        )
    said = str(caught.value)
    assert "is not what this version expects, with" in said and f"split {PROBLEM_SETS[name].split}" in said
    assert said.endswith("Give the problems as a file to --data.") and "network" not in said


def test_a_number_is_an_answer():
    problem_set = replace(PROBLEM_SETS["aime24"], num_problems=2)
    rows = make_rows(problem_set)
    rows[0]["answer"], rows[1]["answer"] = 27.0, 0.5
    assert [row["solution"] for row in load_problem_set(problem_set, FakeHub(rows).load).rows] == ["27", "0.5"]


@pytest.mark.parametrize("name", ["aime24", "amc23"])
def test_no_network_is_one_sentence(name):
    def fail(*args, **kwargs):
        raise ConnectionError("Couldn't reach\nthe Hub")

    with pytest.raises(ValueError, match=f"{name}: .* could not be loaded .*Couldn't reach the Hub.*give a file"):
        load_problem_set(PROBLEM_SETS[name], fail, fail)


def test_the_real_loader_reads_files_of_the_same_shape(tmp_path):
    """The default loader is `datasets.load_dataset`; here the data set is a folder with a file like that of the Hub."""
    problem_set = replace(PROBLEM_SETS["aime25"], dataset=str(tmp_path / "aime25"))
    (tmp_path / "aime25").mkdir()
    lines = "".join(json.dumps(row) + "\n" for row in make_rows(problem_set))
    (tmp_path / "aime25" / "test.jsonl").write_text(lines)
    assert len(load_problem_set(problem_set).rows) == 30


def test_names():
    assert find_problem_set("aime24") is PROBLEM_SETS["aime24"]
    assert find_problem_set("problems.jsonl") is None and find_problem_set("openai/gsm8k") is None
    with pytest.raises(ValueError, match="no problem set math50; did you mean math500"):
        find_problem_set("math50")
    with pytest.raises(ValueError, match="the sets are aime24, .* and countdown"):
        find_problem_set("xyz")


def test_a_key_depends_on_the_problem_alone():
    assert build_key("1 + 1?", "2") == build_key("\n1 + 1?", "2") != build_key("1 + 1?", "3")


def make_problem(question, solution):
    return {"key": build_key(question, solution), "question": question, "solution": solution}


def test_problems_that_are_left_out_are_named():
    rows = [make_problem("a", "1"), make_problem("b", None), make_problem("a", "1"), make_problem("c", "?"), make_problem("a", "2"), make_problem("d", "")]  # fmt: skip
    kept, notes = select_problems(rows, lambda row: row["solution"] != "?", "mixed")
    assert [(row["question"], row["solution"]) for row in kept] == [("a", "1"), ("a", "2")]
    assert notes == [
        "1 problem occurs more than once and is answered once: row 3.",
        "2 problems have no answer and are left out: rows 2, 6.",
        "1 problem has an answer that the verifier cannot read and is left out: row 4.",
    ]
    with pytest.raises(ValueError, match="mixed: no problem has an answer that the verifier can read"):
        select_problems(rows[1:2], lambda row: True, "mixed")
    many = [make_problem(str(i), None) for i in range(12)]
    assert "rows 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ...." in select_problems([rows[0], *many], bool, "many")[1][0]
