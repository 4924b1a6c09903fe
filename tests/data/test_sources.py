"""What a name means: a file, a folder, a data set of the Hub, or a file that does not exist."""

import gzip
import json
import time

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trl_forking.data.problems import load_problems
from trl_forking.data.rows import read_rows
from trl_forking.data.sources import check_source, find_source
from trl_forking.run.user_errors import UserError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def no_hub(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError(f"the Hub was asked for {args}")

    monkeypatch.setattr(datasets, "load_dataset", refuse)


def write_files(folder, *names):
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        row = {"question": name, "answer": number}
        if name.endswith(".gz"):
            path.write_bytes(gzip.compress(json.dumps(row).encode()))
        elif name.endswith(".parquet"):
            pq.write_table(pa.Table.from_pylist([row]), path)
        elif name.endswith(".csv"):
            path.write_text(f"question,answer\n{name},{number}\n")
        else:
            path.write_text(json.dumps([row] if name.endswith(".json") else row))


def read_questions(source, **kwargs):
    return [row.values["question"] for row in read_rows(str(source), **kwargs)]


# Names of files


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("d.csv", "d.jsonl"),
        ("d.json", "d.jsonl"),
        ("D.JSONL", "d.jsonl"),
        ("d.jsnl", "d.jsonl"),
        ("d.parq", "d.jsonl"),
        ("d.jsonlines", "d.jsonl"),
        ("probs.jsonl.gz", "probs.jsonl"),
        ("prbos.jsonl", "probs.jsonl"),
        ("../tinny", "../tiny"),
        ("./tini", "tiny"),
        ("dta/train.jsonl", "data/train.jsonl"),
        ("data/tran.jsonl", "data/train.jsonl"),
        ("train.jsonl", "data/train.jsonl"),
        ("data/train.jsnl.gz", "data/train.jsonl"),
        ("data/train.xlsx", "data/train.jsonl"),
        ("d .jsonl", "d.jsonl"),
        ("quarz.jsonl", "quartz.jsonl"),  # and no folder
        ("./quarz", "quartz"),
    ],
)
def test_a_name_that_looks_like_a_file_is_never_looked_up(name, nearest, folder, no_hub, monkeypatch):
    write_files(
        folder, "work/d.jsonl", "work/probs.jsonl", "work/data/train.jsonl", "tiny/a.jsonl", "work/tiny/a.jsonl"
    )
    write_files(folder, "work/quartz.jsonl", "work/quartz/a.jsonl")
    monkeypatch.chdir(folder / "work")
    start = time.monotonic()
    with pytest.raises(UserError, match=r"^There is no file (or folder )?") as error:
        list(read_rows(name))
    assert str(error.value).endswith(f"{name}: did you mean {nearest}?")
    assert time.monotonic() - start < 1


@pytest.mark.parametrize(
    "name",
    [
        "x.jsonl",
        "../x.csv",
        "./x",
        "/no/such/folder/x",
        "~/no_such_file.parquet",
        "a/b/c",
        "a b",
        "C:\\x",
        "q.tsv",
        "a.jsonl/x",
    ],
)
def test_a_name_without_a_near_one_says_so(name, folder, no_hub):
    with pytest.raises(UserError, match=r"^There is no file .*\. Check the name; examples/make_gsm_data\.py"):
        check_source(name)


def test_a_name_without_a_near_one_names_what_is_there(folder, no_hub):
    write_files(folder, *(f"{name}.jsonl" for name in ("alpha", "beta", "gamma", "delta")))
    with pytest.raises(UserError, match=r"that folder has alpha\.jsonl, beta\.jsonl, delta\.jsonl\.$"):
        check_source("zzzzz.csv")


@pytest.mark.parametrize("name", ["", " ", "\n"])
def test_an_empty_name_is_not_this_folder(name, folder, no_hub):
    write_files(folder, "a.jsonl")
    with pytest.raises(UserError, match="The name of the data is empty"):
        check_source(name)


@pytest.mark.parametrize("name", ["https://a.b/c.jsonl", "hf://datasets/a/b", "s3://a/b.parquet"])
def test_addresses_are_refused(name, no_hub):
    with pytest.raises(UserError, match="is an address: download the file"):
        check_source(name)


@pytest.mark.parametrize(
    "name", ["gsm8k", "openai/gsm8k", "a/data-v1.0", "BytedTsinghua-SIA/DAPO-Math-17k", "a/MATH_500"]
)
def test_names_of_the_hub_pass(name, folder):
    check_source(name)


def test_a_file_comes_before_a_data_set_of_the_same_name(folder, no_hub, monkeypatch):
    write_files(folder, "openai/gsm8k/train.jsonl")
    assert read_questions("openai/gsm8k") == ["openai/gsm8k/train.jsonl"]
    monkeypatch.setenv("HOME", str(folder))
    assert read_questions("~/openai/gsm8k/train.jsonl") == ["openai/gsm8k/train.jsonl"]


# Folders


@pytest.mark.parametrize(
    ("names", "split", "expected"),
    [
        (["b.jsonl", "a.csv", "c.json"], "train", ["a.csv", "b.jsonl", "c.json"]),
        (["train.jsonl", "test.jsonl"], "train", ["train.jsonl"]),
        (["train.jsonl", "test.jsonl"], "test", ["test.jsonl"]),
        (["train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "dev.parquet"], "train", ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]),
        (["train.jsonl", "dev.parquet"], "validation", ["dev.parquet"]),
        (["train.jsonl", "val.csv"], "validation", ["val.csv"]),
        (["data/train/a.jsonl", "data/test/a.jsonl", "README.md"], "test", ["data/test/a.jsonl"]),
        (["math_train.jsonl", "math_test.jsonl"], "test", ["math_test.jsonl"]),
        (["a.jsonl.gz", "b.parquet", "notes.md", ".hidden.jsonl", "_old/c.jsonl", "LICENSE.txt"], "train", ["a.jsonl.gz", "b.parquet"]),
        (["training.jsonl", "constraint.jsonl"], "train", ["training.jsonl"]),
        (["dataset_info.json", "a.jsonl"], "train", ["a.jsonl"]),
    ],
)  # fmt: skip
def test_files_of_a_folder(names, split, expected, folder, no_hub):
    write_files(folder / "math", *names)
    assert read_questions("math", split=split) == expected
    assert [row.number for row in read_rows("math", split=split)] == [1] * len(expected)


def test_values_of_several_files_may_have_several_types(folder, no_hub):
    """`datasets` would make one table of them, and fail, or change the numbers."""
    (folder / "math").mkdir()
    (folder / "math" / "a.jsonl").write_text('{"question": "a", "answer": 2}\n{"question": "b", "answer": "x+1"}\n')
    (folder / "math" / "b.csv").write_text("Question,Answer\nc,0.50\n")
    (folder / "math" / "c.json").write_text('[{"problem": "d", "solution": 100000000000000000000001}]')
    assert load_problems("math")["solution"] == ["2", "x+1", "0.50", "100000000000000000000001"]


def test_what_is_left_out_of_a_folder_is_named_with_its_file(folder, no_hub, capsys):
    write_files(folder / "math", "a.jsonl")
    (folder / "math" / "b.jsonl").write_text('{"question": "x"}\n{"question": "y", "answer": ""}\n')
    load_problems("math")
    printed = capsys.readouterr().out
    assert "math: 1 of 3 problems" in printed and 'Row 1 of math/a.jsonl: "a.jsonl" has the answer "0".' in printed
    assert (
        "row 1 of math/b.jsonl (no column answer" in printed and "row 2 of math/b.jsonl (answer is empty)" in printed
    )


@pytest.mark.parametrize(
    ("names", "split", "message"),
    [
        (["notes.md"], "train", r"The folder math has no data file: one ends in \.jsonl"),
        (["a.jsonl"], "test", "has no split test: no name of its files has a split, so all are train"),
        (["train.jsonl", "dev.jsonl"], "test", "has no split test: its splits are train, validation"),
    ],
)
def test_a_folder_without_such_files_is_refused(names, split, message, folder, no_hub):
    write_files(folder / "math", *names)
    with pytest.raises(UserError, match=message):
        find_source("math", split=split)


def test_a_folder_with_too_many_files_is_refused(folder, no_hub, monkeypatch):
    monkeypatch.setattr("trl_forking.data.sources._MAX_FILES", 3)
    write_files(folder / "math", *(f"{name}.jsonl" for name in "abcd"))
    with pytest.raises(UserError, match="math has more than 3 files: give the folder of the data alone"):
        find_source("math")


def test_saved_data_sets(folder, no_hub):
    rows = {"question": ["1 + 1?", "2 + 2?"], "answer": [2, 4]}
    one = datasets.Dataset.from_dict(rows)
    one.save_to_disk("one")
    assert [row.values for row in read_rows("one")] == list(one) and read_questions("one", split="test") == rows[
        "question"
    ]
    datasets.DatasetDict({"train": one, "test": one.select([1])}).save_to_disk("both")
    assert read_questions("both") == rows["question"] and read_questions("both", split="test") == ["2 + 2?"]
    assert read_questions("both/test") == ["2 + 2?"]
    with pytest.raises(UserError, match="both has no split dev: its splits are train, test"):
        find_source("both", split="dev")
    (folder / "one" / "state.json").write_text("{")
    with pytest.raises(UserError, match=r"one: the saved data set can't be loaded \("):
        find_source("one")


def test_saved_numbers_of_32_bits_are_short(folder):
    features = datasets.Features({"question": datasets.Value("string"), "answer": datasets.Value("float32")})
    dataset = datasets.Dataset.from_dict({"question": ["a", "b", "c"], "answer": [0.1, 2.0, None]}, features=features)
    dataset.save_to_disk("saved")
    assert load_problems("saved")["solution"] == ["0.1", "2"]


def test_a_folder_with_its_own_rules_is_read_by_them(folder):
    """The card of a data set may say which files are which split."""
    write_files(folder / "math", "one/a.jsonl", "two/a.jsonl")
    text = "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: two/*.jsonl\n---\n"
    (folder / "math" / "README.md").write_text(text)
    assert read_questions("math") == ["two/a.jsonl"]
    assert read_questions("math", split="train[:1]") == ["two/a.jsonl"]


# The Hub


def test_a_data_set_of_the_hub(folder, monkeypatch):
    seen = []

    def load(*args, **kwargs):
        seen.append((args, kwargs))
        return datasets.Dataset.from_dict({"Problem": ["1 + 1?", None], "Answer": ["2", "3"]})

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert load_problems("user/math", "main", "test")["solution"] == ["2"]
    assert seen == [(("user/math", "main"), {"split": "test"})]


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("Couldn't reach the Hub"),
        ValueError('Unknown split "dev". Should be one of [train]'),
        datasets.exceptions.DatasetGenerationError("An error occurred while generating the dataset"),
        RuntimeError("Dataset scripts are no longer supported"),
    ],
)
def test_every_error_of_the_hub_is_one_sentence(error, folder, monkeypatch):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(UserError, match=r"^The data set user/math can't be loaded \(\w+: ") as told:
        find_source("user/math")
    assert str(error) in str(told.value) and "may be" not in str(told.value)
    write_files(folder, "maths.jsonl")
    with pytest.raises(UserError, match=r"If you mean a file here, it may be maths\.jsonl\.$"):
        find_source("math")
