"""The question of a row: texts and chats, in columns of several names, and when a row has none."""

import csv
import json

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trl_forking.data.columns import get_question
from trl_forking.data.problems import load_problems
from trl_forking.data.rows import read_rows
from trl_forking.data.values import NoQuestion


CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1 + 1?"}]
FROM_VALUE = [
    {"from": "system", "value": "Be brief."},
    {"from": "human", "value": "1 + 1?"},
    {"from": "gpt", "value": "2"},
]


@pytest.mark.parametrize(
    ("row", "question"),
    [
        ({"prompt": "a", "question": "b", "problem": "c"}, "a"),
        ({"prompt": None, "question": "b"}, "b"),
        ({"prompt": "", "question": " ", "problem": "c"}, "c"),
        ({"prompt": [], "problem": "c"}, "c"),
        ({"Problem": "a"}, "a"),
        ({"QUESTION": "a"}, "a"),
        ({" Prompt ": "a"}, "a"),
        ({"Prompt": "a", "prompt": "b"}, "b"),
        ({"question": " 1 +\u2028 1?\n"}, " 1 +\u2028 1?\n"),
        ({"question": "x", "conversations": FROM_VALUE}, "x"),
        ({"prompt": CHAT}, CHAT),
        ({"prompt": FROM_VALUE}, CHAT),
        ({"conversations": FROM_VALUE}, CHAT),
        ({"Conversations": FROM_VALUE}, CHAT),
        ({"messages": [*CHAT, {"role": "assistant", "content": "2"}]}, CHAT),
        ({"prompt": [*CHAT, {"role": "assistant", "content": "So"}]}, [*CHAT, {"role": "assistant", "content": "So"}]),
        ({"conversations": [*FROM_VALUE, {"from": "human", "value": "Sure?"}]}, [*CHAT, {"role": "assistant", "content": "2"}, {"role": "user", "content": "Sure?"}]),
        ({"conversations": [{"from": "user", "value": "1 + 1?"}, {"from": "assistant", "value": "2"}]}, CHAT[1:]),
        ({"conversations": [{"from": "human", "value": "1 + 1?", "weight": 0}, {"from": "chatgpt", "value": "2", "weight": 1}]}, CHAT[1:]),
        ({"prompt": [{"role": "user", "content": [{"type": "text", "text": "1 + "}, {"type": "text", "text": "1?"}]}]}, CHAT[1:]),
        ({"prompt": [{"role": "user", "content": "1 + 1?", "name": None}]}, CHAT[1:]),
        ({"prompt": json.dumps(CHAT)}, CHAT),
        ({"prompt": str(CHAT)}, CHAT),
        ({"conversations": str(FROM_VALUE)}, CHAT),
        ({"prompt": {"role": ["system", "user"], "content": ["Be brief.", "1 + 1?"]}}, CHAT),
        ({"conversations": {"from": ["system", "human", "gpt"], "value": ["Be brief.", "1 + 1?", "2"]}}, CHAT),
        ({"prompt": "[{x}] is a set?"}, "[{x}] is a set?"),
    ],
)  # fmt: skip
def test_the_first_column_with_a_question_counts(row, question):
    assert get_question(row) == question


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"q": "a"}, "no column with a question"),
        ({"question": None}, "question is null"),
        ({"question": " \n"}, "question is empty"),
        ({"question": "nan"}, "question is the word nan"),
        ({"question": float("nan")}, "question is the word nan"),
        ({"question": None, "problem": ""}, "question is null and problem is empty"),
        ({"question": 5}, "question is no text"),
        ({"question": ["a", "b"]}, "question is a list of 2 values"),
        ({"prompt": []}, "prompt is empty"),
        ({"prompt": [{"role": "user", "content": None}]}, "prompt is a chat with a message of the role user that is null"),
        ({"prompt": [{"role": "user", "content": ""}]}, "prompt is a chat with a message of the role user that is empty"),
        ({"prompt": [{"content": "a"}]}, "prompt is a chat with a message that has no role"),
        ({"prompt": [{"role": "system", "content": "a"}]}, "prompt is a chat without a question"),
        ({"conversations": FROM_VALUE[2:]}, "conversations is a chat without a question"),
        ({"conversations": [{"from": "critic", "value": "a"}]}, "conversations is a chat with the unknown role critic"),
        ({"conversations": "a text"}, "conversations is no chat"),
        ({"prompt": [{"role": "user", "content": [{"type": "image", "image": "a"}]}]}, "prompt is a chat with a message of the role user that is more than text"),
    ],
)  # fmt: skip
def test_a_row_without_a_question_says_why(row, reason):
    with pytest.raises(NoQuestion) as error:
        get_question(row)
    assert str(error.value) == reason


def test_chats_are_read_from_files_of_every_kind(tmp_path):
    row = {"prompt": CHAT, "answer": "2"}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    (tmp_path / "a.json").write_text(json.dumps([row]))
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "a.parquet")
    for name, text in (("json.csv", json.dumps(CHAT)), ("python.csv", str(CHAT))):
        with (tmp_path / name).open("w", newline="") as file:
            csv.writer(file).writerows([["prompt", "answer"], [text, "2"]])
    datasets.Dataset.from_list([row]).save_to_disk(str(tmp_path / "saved"))
    for name in ("a.jsonl", "a.json", "a.parquet", "json.csv", "python.csv", "saved"):
        assert load_problems(str(tmp_path / name))["prompt"] == [CHAT], name


def test_chats_and_texts_in_one_file_make_one_table(tmp_path):
    rows = [
        {"question": "1 + 1?", "answer": 2},
        {"conversations": FROM_VALUE, "answer": "2"},
        {"prompt": [{"role": "user", "content": [{"type": "text", "text": "2 + 2?"}]}], "answer": 4.0},
        {"question": "half a character \ud83d", "answer": "1"},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    chats = load_problems(str(tmp_path / "a.jsonl"))["prompt"]
    assert [chat[-1]["content"].split("\n")[0] for chat in chats] == [
        "1 + 1?",
        "1 + 1?",
        "2 + 2?",
        "half a character ?",
    ]
    assert len(list(read_rows(str(tmp_path / "a.jsonl")))) == 4
