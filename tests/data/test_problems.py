"""Problems to train on: which rows are used, with which prompt."""

import json
import subprocess
import sys
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trl_forking.countdown import load_countdown_tokenizer, make_countdown_dataset
from trl_forking.data.problems import drop_long_prompts, load_problems
from trl_forking.data.templates import INSTRUCTION, build_prompt
from trl_forking.run.user_errors import UserError


EXAMPLES = Path(__file__).parents[2] / "examples"


def write_as(path):
    """A file with the questions "1 + 1?" and "2 + 2?", and a third row without an answer."""
    rows = [
        {"question": "1 + 1?", "answer": "2"},
        {"question": "2 + 2?", "answer": "4"},
        {"question": "?", "answer": ""},
    ]
    if path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".csv":
        path.write_text("question,answer\n" + "".join(f"{row['question']},{row['answer']}\n" for row in rows))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("\n\n".join(json.dumps(row) for row in rows))
    return str(path)


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
def test_training_reads_files_of_every_kind(suffix, tmp_path, capsys):
    problems = load_problems(write_as(tmp_path / f"problems{suffix}"), template="paper")
    assert problems["prompt"] == [build_prompt(f"{n} + {n}?", "paper") for n in (1, 2)]
    assert problems["solution"] == ["2", "4"]
    assert "2 of 3 problems have an answer that math-verify can read" in capsys.readouterr().out


def test_training_reads_a_data_set(tmp_path):
    """`datasets` loads a folder as it loads a data set of the Hub."""
    for split, answer in (("train", "1"), ("test", "2")):
        pq.write_table(pa.Table.from_pylist([{"problem": "?", "answer": answer}]), tmp_path / f"{split}.parquet")
    assert load_problems(str(tmp_path), split="test")["solution"] == ["2"]


def test_the_answer_is_looked_for_in_each_row(write_rows):
    rows = [
        {"question": "a", "solution": "", "answer": 5},
        {"question": "b", "solution": 8},
        {"question": "c", "x": 1},
    ]
    assert load_problems(write_rows(*rows))["solution"] == ["5", "8"]


@pytest.mark.parametrize("question", ["prompt", "question", "problem"])
@pytest.mark.parametrize("answer", ["solution", "answer"])
def test_rows_become_chats_with_the_instruction(question, answer, write_rows):
    (row,) = load_problems(write_rows({question: "1 + 1?", answer: 2, "other": 0}))
    assert row["solution"] == "2"
    assert row["prompt"] == [{"role": "user", "content": "1 + 1?" + INSTRUCTION}]


def test_chats_are_left_as_they_are(write_rows):
    chat = [{"role": "user", "content": "1 + 1?"}]
    assert load_problems(write_rows({"prompt": chat, "solution": "2"}))["prompt"] == [chat]


def test_problems_with_unreadable_answers_are_left_out_and_counted(write_rows, capsys):
    rows = [{"question": "a", "answer": answer} for answer in ("#### 72", "####", "\\frac{1}{2}", "")]
    problems = load_problems(write_rows(*rows))
    assert problems["solution"] == ["#### 72", "\\frac{1}{2}"]
    assert "2 of 4 problems have an answer" in capsys.readouterr().out


def test_wrong_data_is_named(write_rows, tmp_path):
    with pytest.raises(UserError, match=r"problems\.jsonl:2: not a JSON object"):
        load_problems(write_rows({"question": "a", "answer": "1"}, "nonsense"))
    with pytest.raises(UserError, match=r"problems\.jsonl:1: not a JSON object"):
        load_problems(write_rows("3"))
    with pytest.raises(UserError, match=r"row 1: no prompt .* in the columns \['q', 'answer'\]"):
        load_problems(write_rows({"q": "a", "answer": "1"}))
    with pytest.raises(UserError, match=r"no row has a question .* rows 1 and 2 \(question is null\)"):
        load_problems(write_rows({"question": None, "answer": "1"}, {"question": None, "answer": "1"}))
    with pytest.raises(UserError, match=r"no row has an answer: .* column answer or solution or reward_model"):
        load_problems(write_rows({"question": "a", "level": "1"}))
    with pytest.raises(UserError, match=r"has no rows"):
        load_problems(write_rows())
    with pytest.raises(UserError, match=r"no answer in the column answer"):
        load_problems(write_rows({"question": "a", "answer": "####"}))
    with pytest.raises(UserError, match=r"There is no file .*missing\.jsonl"):
        load_problems(str(tmp_path / "missing.jsonl"))


@pytest.mark.slow
def test_make_gsm_data_writes_what_the_example_reads(tmp_path):
    pytest.importorskip("reasoning_gym", reason="reasoning-gym is not installed (it needs a C compiler)")
    path = tmp_path / "gsm.jsonl"
    script = [sys.executable, EXAMPLES / "make_gsm_data.py", path, "--size", "20", "--seed", "1"]
    subprocess.run(script, check=True, capture_output=True)
    first = path.read_text()
    assert len(load_problems(str(path))) == 20
    subprocess.run(script, check=True, capture_output=True)
    assert path.read_text() == first


def test_the_papers_prompt_is_the_papers(write_rows):
    """Word for word as in the paper, with a question that has braces."""
    prompt = (
        "User:\nIs {1} a set?\nPlease reason step by step, and put your final answer within \\boxed{}.\n\nAssistant:\n"
    )
    rows = [{"prompt": "Is {1} a set?", "solution": "1"}]
    assert load_problems(write_rows(*rows), template="paper")["prompt"] == [prompt]


def test_the_papers_prompt_takes_one_question():
    assert build_prompt([{"role": "user", "content": "1 + 1?"}], "paper") == build_prompt("1 + 1?", "paper")
    with pytest.raises(UserError, match="takes one question, not a chat of 2 messages: use chat"):
        build_prompt([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1 + 1?"}], "paper")


def test_dapo_math_is_read_as_it_is_published(write_rows):
    """The columns of DAPO-Math-17k, and those of its processed form, whose question stands without instruction."""
    instructed = [{"role": "user", "content": "Solve it. The last line is Answer: $Answer.\n\n1 + 1?\n\nRemember."}]
    published = {"data_source": "math_dapo", "prompt": instructed, "ability": "MATH"}
    published |= {
        "reward_model": {"ground_truth": "34", "style": "rule-lighteval/MATH_v2"},
        "extra_info": {"index": "a"},
    }
    assert load_problems(write_rows(published))[:] == {"prompt": [instructed], "solution": ["34"]}
    processed = published | {"prompt": "1 + 1?", "solution": "2", "source_prompt": instructed}
    (row,) = load_problems(write_rows(processed), template="paper")
    assert row == {"prompt": build_prompt("1 + 1?", "paper"), "solution": "2"}


def test_long_prompts_are_left_out_and_counted(capsys):
    tokenizer, dataset = load_countdown_tokenizer(), make_countdown_dataset("train", num_problems=3, seed=0)
    longer = dataset.map(lambda row, index: {"prompt": row["prompt"] + " 1" * index}, with_indices=True)
    assert drop_long_prompts(longer, tokenizer, 8)["prompt"] == longer["prompt"][:2]
    assert "2 of 3 prompts have at most 8 tokens" in capsys.readouterr().out
    assert drop_long_prompts(longer, tokenizer, None) is longer
    with pytest.raises(UserError, match="max_prompt_length is 6, but every prompt has more tokens"):
        drop_long_prompts(longer, tokenizer, 6)


def test_chats_are_measured_with_their_template():
    tokenizer, chat = load_countdown_tokenizer(), [{"role": "user", "content": "1 + 1"}]
    tokenizer.chat_template = "{% for m in messages %}nums {{ m['content'] }} : {% endfor %}"
    assert len(drop_long_prompts(datasets.Dataset.from_dict({"prompt": [chat]}), tokenizer, 5)) == 1
    with pytest.raises(UserError, match="every prompt has more tokens"):
        drop_long_prompts(datasets.Dataset.from_dict({"prompt": [chat]}), tokenizer, 4)


@pytest.mark.parametrize(
    ("content", "template", "is_told"),
    [
        ("1 + 1? The last line is Answer: $Answer.", "chat", True),
        ("1 + 1?" + INSTRUCTION, "chat", False),
        ("1 + 1?", "paper", False),
    ],
)
def test_chats_that_do_not_ask_for_a_box_are_counted(content, template, is_told, write_rows, capsys):
    """The reward finds no answer that is not in a box, and a chat stays as it is."""
    load_problems(write_rows({"prompt": [{"role": "user", "content": content}], "answer": 2}), template=template)
    told = "1 prompt is a chat that does not ask for \\boxed{}, where the reward looks for the answer"
    assert (told in capsys.readouterr().out) == is_told
