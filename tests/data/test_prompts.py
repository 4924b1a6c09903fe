"""Prompts to analyze, from files of every kind and data sets."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trl_forking.analysis import load_prompts, verify_solution


PROBLEMS = [
    {"question": "1 + 1?\u2028é", "answer": 2, "level": "a"},
    {"question": "2, 2", "answer": None, "level": ""},
]


def write_problems(path):
    if path.suffix == ".jsonl":
        path.write_text("\n\n".join(json.dumps(row, ensure_ascii=False) for row in PROBLEMS) + "\n", encoding="utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps(PROBLEMS))
    elif path.suffix == ".csv":
        path.write_text('question,answer,level\n"1 + 1?\u2028é",2,a\n"2, 2",,\n', encoding="utf-8")
    else:
        pq.write_table(pa.Table.from_pylist(PROBLEMS), path)


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
def test_prompts_come_from_files_of_every_kind(tmp_path, suffix):
    write_problems(tmp_path / f"problems{suffix}")
    rows = load_prompts(str(tmp_path / f"problems{suffix}"))
    assert [row["prompt"] for row in rows] == ["1 + 1?\u2028é", "2, 2"]
    assert rows[0]["solution"] == "2" and "solution" not in rows[1] and rows[0]["level"] == "a"
    assert load_prompts(str(tmp_path / f"problems{suffix}"), num_prompts=1) == rows[:1]
    chat = load_prompts(str(tmp_path / f"problems{suffix}"), "chat")[1]["prompt"]
    assert chat[0]["content"].startswith("2, 2\nReason step by step")


def test_prompts_from_lines_chats_and_the_papers_data(tmp_path):
    (tmp_path / "a.txt").write_text("w3 w4\n\nw5\u2028w6\n", encoding="utf-8")
    assert load_prompts(str(tmp_path / "a.txt")) == [{"prompt": "w3 w4"}, {"prompt": "w5\u2028w6"}]
    chat = [{"role": "user", "content": "1 + 1?"}]
    pq.write_table(
        pa.Table.from_pylist([{"prompt": chat, "reward_model": {"ground_truth": "2"}}]), tmp_path / "b.parquet"
    )
    (row,) = load_prompts(str(tmp_path / "b.parquet"))
    assert row["prompt"] == chat and verify_solution(row, r"\boxed{2}") == 1.0 and verify_solution(row, "2") == 0.0
    assert verify_solution({"prompt": "1 + 1?"}, r"\boxed{2}") is None


def test_prompts_come_from_a_data_set(tmp_path):
    """`datasets` loads a folder as it loads a data set of the Hub."""
    for split, question in (("train", "1 + 1?"), ("test", "2 + 2?")):
        pq.write_table(
            pa.Table.from_pylist([{"question": question, "answer": "4"}] * 3), tmp_path / f"{split}.parquet"
        )
    expected = {"question": "2 + 2?", "answer": "4", "prompt": "2 + 2?", "solution": "4"}
    assert load_prompts(str(tmp_path), split="test", num_prompts=2) == [expected] * 2
    assert load_prompts(str(tmp_path))[0]["prompt"] == "1 + 1?"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"prompt": "w3"}\n[]', "a.jsonl:2: not a JSON object"),
        ("a.json", '{"prompt": "w3"}', "a.json: not a JSON list of objects"),
        ("a.json", '["w3"]', "a.json: not a JSON list of objects"),
        ("a.txt", "\n", "a.txt has no prompts"),
        ("a.csv", "text,answer\nw3,1\n", "a.csv, row 1: no prompt or question or problem in the columns"),
        ("a.xlsx", "", "a.xlsx: the name of a data file must end in .jsonl, .json, .csv, .parquet, .txt"),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        load_prompts(str(tmp_path / name))
    with pytest.raises(ValueError, match=r"There is no file .*b\.csv"):
        load_prompts(str(tmp_path / "b.csv"))
