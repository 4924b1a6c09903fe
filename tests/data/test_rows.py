"""Rows of files of every kind, compressed or not: each value as it is written, each broken line by its number."""

import gzip
import io
import json
import zipfile
from decimal import Decimal
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trl_forking.data.rows import read_rows
from trl_forking.data.values import LeftOut, to_text
from trl_forking.run.user_errors import UserError


ROWS = [{"question": "1 + 1?\u2028\u0085é", "answer": "2"}, {"question": "a, b\nc", "answer": "$5$;$10$"}]


def compress_zstd(content):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as file:
        file.write(content)
    return sink.getvalue().to_pybytes()


COMPRESS = {"": bytes, ".gz": gzip.compress, ".zst": compress_zstd}


def build_content(ending):
    if ending == ".jsonl":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
    if ending == ".json":
        return json.dumps(ROWS, ensure_ascii=False, indent=1).encode()
    if ending in (".csv", ".txt"):
        return ('question,answer\r\n"1 + 1?\u2028\u0085é",2\r\n"a, b\nc",$5$;$10$\r\n').encode()
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), file)
    return file.getvalue()


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def read(path, **kwargs):
    return [row.values for row in read_rows(path, **kwargs)]


# Kinds of files


@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv", ".parquet"])
@pytest.mark.parametrize("compression", COMPRESS)
def test_every_kind_gives_the_same_rows(ending, compression, tmp_path):
    path = write(tmp_path, f"problems{ending}{compression}", COMPRESS[compression](build_content(ending)))
    assert read(path) == ROWS
    assert [(row.file, row.number) for row in read_rows(path)] == [(path, 1), (path, 2)]
    assert read(write(tmp_path, f"P{ending}{compression}".upper(), (tmp_path / path).read_bytes())) == ROWS


@pytest.mark.parametrize("compression", COMPRESS)
def test_prompts_come_from_lines_of_a_text(compression, tmp_path):
    content = "\ufeffw3 w4\r\n\n  \nw5\u2028w6\u0085w7\n".encode()
    path = write(tmp_path, f"prompts.txt{compression}", COMPRESS[compression](content))
    assert read(path) == [{"prompt": "w3 w4"}, {"prompt": "w5\u2028w6\u0085w7"}]


def test_the_content_says_whether_a_file_is_compressed(tmp_path):
    """Browsers and servers decompress a file and leave its name, or compress it and leave its name."""
    content = build_content(".jsonl")
    assert read(write(tmp_path, "a.jsonl.gz", content)) == ROWS
    assert read(write(tmp_path, "b.jsonl.zst", content)) == ROWS
    assert read(write(tmp_path, "c.jsonl", gzip.compress(content))) == ROWS
    assert read(write(tmp_path, "d.jsonl.gz", compress_zstd(content))) == ROWS


def test_files_of_several_compressed_parts(tmp_path):
    first, second = build_content(".jsonl").splitlines(keepends=True)
    assert read(write(tmp_path, "a.jsonl.gz", gzip.compress(first) + gzip.compress(second))) == ROWS
    skippable = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"  # pzstd begins every part with such a frame
    parts = skippable + compress_zstd(first) + skippable + compress_zstd(second)
    assert read(write(tmp_path, "a.jsonl.zst", parts)) == ROWS


@pytest.mark.parametrize("compression", [".gz", ".zst"])
@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv", ".parquet", ".txt"])
def test_a_compressed_file_that_is_not_complete_is_refused(compression, ending, tmp_path):
    content = COMPRESS[compression](build_content(ending) * 50)
    path = write(tmp_path, f"a{ending}{compression}", content[: len(content) // 2])
    with pytest.raises(UserError, match=rf"a{ending}{compression}: .*(damaged or not complete|not a Parquet file)"):
        read(path)


def test_pyarrow_without_zstd_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(pa, "Codec", SimpleNamespace(is_available=lambda name: False))
    path = write(tmp_path, "a.jsonl.zst", compress_zstd(b"{}\n"))
    with pytest.raises(UserError, match="this build of pyarrow can't read zstd: pip install"):
        read(path)


def test_a_json_list_and_lines_of_json_may_have_each_others_ending(tmp_path):
    """Many `.json` files on the Hub are JSON lines, and people save a list as `.jsonl`."""
    assert read(write(tmp_path, "a.json", b"\xef\xbb\xbf" + build_content(".jsonl"))) == ROWS
    assert read(write(tmp_path, "a.jsonl", b"\xef\xbb\xbf\n" + build_content(".json"))) == ROWS


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.txt", "a.jsonl.gz", "a.csv.zst"])
def test_empty_files_have_no_rows(name, tmp_path):
    for content in (b"", b"\xef\xbb\xbf", b"\n \n"):
        assert read(write(tmp_path, name, content)) == []


def test_other_files_are_refused(tmp_path):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("a.jsonl", "{}")
    for name in ("a.xlsx", "a.zip", "a", "a.gz", "a.jsonl.bz2"):
        with pytest.raises(UserError, match=r"must end in \.jsonl, .* convert the file"):
            read(write(tmp_path, name, content.getvalue()))


# Values as they are written


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("2", "2"),
        ("0", "0"),
        ("-0.50", "-0.50"),
        ("1.10", "1.10"),
        ("2.0", "2.0"),
        ("1e-7", "1e-7"),
        ("1E400", "1E400"),
        ("0.1000000000000000055511151231257827", "0.1000000000000000055511151231257827"),
        ("9223372036854775808", "9223372036854775808"),
        ("18446744073709551617", "18446744073709551617"),
        ("-170141183460469231731687303715884105729", "-170141183460469231731687303715884105729"),
        ("9" * 5000, "9" * 5000),
        ("true", "True"),
        ('" $5$ "', "$5$"),
        ('["7"]', "7"),
        ("[[8]]", "8"),
    ],
)
@pytest.mark.parametrize("ending", [".jsonl", ".json"])
def test_numbers_of_json_keep_all_their_digits(written, text, ending, tmp_path):
    content = f'{{"answer": {written}}}'
    path = write(tmp_path, f"a{ending}", content if ending == ".jsonl" else f"[{content}]")
    (row,) = read(path)
    assert to_text(row["answer"]) == text


def test_numbers_of_json_are_numbers_for_a_verifier(tmp_path):
    (row,) = read(write(tmp_path, "a.jsonl", '{"x": 1.10, "y": 3, "z": [0.50]}'))
    assert row == {"x": 1.1, "y": 3, "z": [0.5]} and json.loads(json.dumps(row)) == row


@pytest.mark.parametrize(
    ("column", "texts"),
    [
        (pa.array([0.1, 2.0, 1 / 3], pa.float32()), ["0.1", "2", "0.33333334"]),
        (pa.array([0.1, 2.0, 1e300], pa.float64()), ["0.1", "2", "1e+300"]),
        (pa.array([Decimal("1.50"), Decimal("1000000000000000000000.25"), Decimal("0")]), ["1.50", "1000000000000000000000.25", "0.00"]),
        (pa.array([2**63 - 1, 0, -1]), ["9223372036854775807", "0", "-1"]),
        (pa.array([b"5", b"x+1", "\u221a2".encode()]), ["5", "x+1", "\u221a2"]),
        (pa.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"]),
    ],
    ids=["float32", "float64", "decimal", "int64", "binary", "dictionary"],
)  # fmt: skip
def test_numbers_of_parquet_keep_their_digits(column, texts, tmp_path):
    pq.write_table(pa.table({"answer": column}), tmp_path / "a.parquet")
    assert [to_text(row["answer"]) for row in read(str(tmp_path / "a.parquet"))] == texts


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "null"),
        (float("nan"), "the word nan"),
        ("", "empty"),
        (" \n\u2028", "empty"),
        ("None", "the word None"),
        ("nan", "the word nan"),
        ("NULL", "the word NULL"),
        ("N/A", "the text N/A"),
        ("not found", "the text not found"),
        ("proof", "the word proof"),
        ("Unknown", "the word Unknown"),
        ("TBD", "the word TBD"),
        ("NA", "the word NA"),
        ([], "empty"),
        ([None], "null"),
        (["2", "3"], "a list of 2 values"),
        ({"value": 2}, "an object and no text"),
        (Decimal("NaN"), "the word NaN"),
    ],
)
def test_a_value_that_is_missing_is_no_text(value, reason):
    with pytest.raises(LeftOut, match=f"^{reason}$"):
        to_text(value)


@pytest.mark.parametrize("text", ["Na", "none of these", "0", "-", "null set", "\\text{None}"])
def test_texts_that_only_look_like_a_missing_value(text):
    assert to_text(text) == text


# Broken lines


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"a": 1}', "{", '{"a": 2}'], r":2: not a JSON object: write one per line\. The file has 2 other rows\.$"),
        (['{"a": 1}', "", '{"a": 1}}'], r":3: not a JSON object: write one per line\. The file has 1 other row\.$"),
        (["", "[1]", "x"], r":3: not JSON \(Extra data\)"),
        (['{"a": 1}', "[1]", "null", '"x"'], r":2: .* Broken too: line 3, line 4\. The file has 1 other row\.$"),
        (["x"] * 9, r":1: not a JSON object: .* Broken too: line 2, line 3, line 4, line 5, 4 more\.$"),
        (['{"a": 1}', '{"a": "\udcff"}'], r":2: not UTF-8: save the file as UTF-8\. The file has 1 other row\.$"),
        (['{"a": NaN', '{"a": NaN}'], ":1: not a JSON object"),
        (['{"a":' * 100_000], ":1: not a JSON object"),
    ],
)
@pytest.mark.parametrize("compression", COMPRESS)
def test_broken_lines_are_named_by_their_number(lines, message, compression, tmp_path):
    content = "\n".join(lines).encode("utf-8", "surrogateescape")
    path = write(tmp_path, f"a.jsonl{compression}", COMPRESS[compression](content))
    with pytest.raises(UserError, match=message):
        read(path)


def test_rows_before_a_broken_line_are_read_first(tmp_path):
    """So that a command that takes the first rows only does not read further."""
    rows = read_rows(write(tmp_path, "a.jsonl", '{"a": 1}\n{"a": 2}\n{'))
    assert [next(rows).values["a"] for _ in range(2)] == [1, 2]
    with pytest.raises(UserError, match=":3: "):
        next(rows)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"a": 1},\n{"a": }]', r"a\.json:2: not JSON \("),
        ('[{"a": 1},\n\n{"a": 2},]', r"a\.json:3: not JSON \("),
        ('[{"a": 1}, 5]', r"not a JSON list of objects: .* Row 2 is no object"),
        ('{"data": [{"a": 1}]}', "not a JSON list of objects"),
        ('{"a": 1}\n{"a":', r"a\.json:2: not a JSON object"),
        ("[" * 100_000, "not a JSON list of objects"),
    ],
)
def test_broken_json_is_named(content, message, tmp_path):
    with pytest.raises(UserError, match=message):
        read(write(tmp_path, "a.json", content))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("q,a\n1,2\nWhat is 1,000 + 1?,1001\n", r"a\.csv:3: 3 fields, but the header has 2"),
        ('q,a\n"two\nlines",2\n1,2,3\n', r"a\.csv:4: 3 fields"),
        ('q,a\n1,2\n"not closed,2\n3,4\n', r"a\.csv:3: not a row of CSV"),
        ('q,a\n"closed" twice",2\n', r"a\.csv:2: not a row of CSV"),
        (b"q,a\n1,2\n\xe9,3\n", r"a\.csv:3: not UTF-8: save the file as UTF-8"),
        ("q,a\n1,2\n".encode("utf-16"), r"a\.csv:1: not UTF-8"),
        ("q,answer,answer\n1,2,3\n", r"a\.csv: two columns have the name answer"),
    ],
)
def test_broken_csv_is_named_by_its_line(content, message, tmp_path):
    """A comma outside quotes would make half of the question the right answer."""
    with pytest.raises(UserError, match=message):
        read(write(tmp_path, "a.csv", content))


def test_rows_of_csv_that_are_short_or_long(tmp_path):
    content = "\ufeffq,a,level\n1,2\n\n3,4,5,,\n" + f"{'x' * 200_000},6,7\n"
    assert read(write(tmp_path, "a.csv", content)) == [
        {"q": "1", "a": "2", "level": None},
        {"q": "3", "a": "4", "level": "5"},
        {"q": "x" * 200_000, "a": "6", "level": "7"},
    ]


def test_columns_without_a_name_may_repeat(tmp_path):
    assert read(write(tmp_path, "a.csv", "q,a,,\n1,2,,\n"))[0]["a"] == "2"


def test_what_is_no_parquet_is_one_sentence(tmp_path):
    for content in (b"", b"PAR1", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"):
        with pytest.raises(UserError, match=r"a\.parquet: not a Parquet file"):
            read(write(tmp_path, "a.parquet", content))


def test_a_line_of_text_that_is_not_utf_8_is_named(tmp_path):
    with pytest.raises(UserError, match=r"a\.txt:2: not UTF-8"):
        read(write(tmp_path, "a.txt", b"w3\n\xff\n"))


@pytest.mark.parametrize("depth", [70, 500, 5000, 200_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_a_row_that_is_nested_too_deeply_is_named(tmp_path, depth, opening, closing):
    deep = opening * depth + "1" + closing * depth
    lines = write(tmp_path, "a.jsonl", f'{{"question": "1 + 1?", "answer": 2}}\n{{"question": "?", "more": {deep}}}\n')
    with pytest.raises(UserError, match=r"a\.jsonl:2: .*nested .* 64 levels deep.*\. The file has 1 other"):
        read(lines)
    whole = write(tmp_path, "a.json", f'[{{"question": "1 + 1?", "answer": 2}}, {{"question": "?", "more": {deep}}}]')
    with pytest.raises(UserError, match=r"a\.json: .* is nested more than 64 levels deep: write it flatter\.$"):
        read(whole)


def test_a_row_that_is_nested_as_in_real_data_is_read(tmp_path):
    deep = "[" * 40 + "1" + "]" * 40
    path = write(tmp_path, "a.jsonl", f'{{"question": "1 + 1?", "more": {deep}, "wide": {list(range(1000))}}}\n')
    assert read(path)[0]["question"] == "1 + 1?"
