"""A shard that is damaged counts as missing and is made again; a folder has one writer."""

import random
import threading
from pathlib import Path

import pyarrow
import pyarrow.parquet as pq
import pytest

from helpers.collections_of_answers import run
from trl_forking.analysis import find_missing_shards, read_records
from trl_forking.analysis.shards import get_shard_path, is_readable, read_num_shards
from trl_forking.decoding.sampling import TransformersSampler
from trl_forking.writing.lock import FolderInUse


def read_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run(tmp_path_factory.mktemp("shards") / "run")


@pytest.fixture
def folder(finished, tmp_path):
    for name, content in read_files(finished).items():
        path = tmp_path / ("answers" if name.endswith("parquet") else "") / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    return tmp_path


def flip(content, number):
    source = random.Random(number)
    position = source.randrange(len(content))
    return position, content[:position] + bytes([content[position] ^ source.randrange(1, 256)]) + content[
        position + 1 :
    ]


DAMAGES = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "without_its_end": lambda content: content[:-1],
    "text": lambda content: b"not a shard",
    "zeros": lambda content: bytes(len(content)),
    "zeros_in_the_middle": lambda content: content[:200] + bytes(200) + content[400:],
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_shard_is_made_again(finished, folder, name):
    path = get_shard_path(folder, 2)
    path.write_bytes(DAMAGES[name](path.read_bytes()))
    assert find_missing_shards(folder) == [2]
    with pytest.raises(ValueError, match="has 3 of 4 shards: collect with the same settings to write the others"):
        read_records(folder)
    run(folder)
    assert read_files(folder) == read_files(finished)


def test_a_flipped_byte_is_seen(folder):
    path = get_shard_path(folder, 1)
    content, table = path.read_bytes(), pq.read_table(path)
    mark = content.rindex(b"trl-forking crc32 ")
    for number in range(1000):
        position, damaged = flip(content, number)
        path.write_bytes(damaged)
        if not mark <= position < mark + 18:  # without the mark there is no checksum
            assert not is_readable(path), position
    path.write_bytes(content.replace(b"trl-forking", b"trl_forking"))
    assert is_readable(path) and pq.read_table(path).equals(table)


def test_a_file_without_a_checksum_has_to_be_readable(folder):
    path = get_shard_path(folder, 0)
    pq.write_table(pyarrow.table({"a": list(range(1000))}), path)
    assert is_readable(path)
    path.write_bytes(path.read_bytes()[:-1])
    assert not is_readable(path)


def test_a_folder_or_nothing_in_place_of_a_shard_is_missing(folder):
    for shard in (0, 1):
        get_shard_path(folder, shard).unlink()
    get_shard_path(folder, 1).mkdir()
    assert find_missing_shards(folder) == [0, 1]


def test_a_table_of_another_kind_is_refused(folder):
    pq.write_table(pyarrow.table({"a": [1]}), get_shard_path(folder, 0))
    with pytest.raises(ValueError, match=r"00000.parquet has other columns than a collection"):
        read_records(folder)


@pytest.mark.parametrize("number", ["4", None, -1, 2.5, True, 10**12, [4]])
def test_a_number_of_shards_that_is_none_is_refused(folder, number):
    settings = (folder / "run.json").read_text()
    text = {None: "null", True: "true"}.get(
        number if not isinstance(number, list) else 0, str(number).replace("'", '"')
    )
    text = '"4"' if number == "4" else text
    (folder / "run.json").write_text(settings.replace('"num_shards": 4', f'"num_shards": {text}'))
    with pytest.raises(ValueError, match=r"run.json has num_shards .*: collect the answers again\.$"):
        read_num_shards(folder)


def test_the_second_of_two_writers_is_told(folder, monkeypatch):
    get_shard_path(folder, 3).unlink()
    before, sample = read_files(folder), TransformersSampler.sample
    started, go_on, errors = threading.Event(), threading.Event(), []

    def wait(*args):
        started.set()
        assert go_on.wait(60)
        return sample(*args)

    monkeypatch.setattr(TransformersSampler, "sample", wait)
    first = threading.Thread(target=run, args=(folder,))
    first.start()
    assert started.wait(60)
    for settings in ({}, {"overwrite": True}, {"seed": 6}):
        with pytest.raises(FolderInUse, match=f"^Another process is writing to {folder}: wait") as error:
            run(folder, **settings)
        errors.append(str(error.value))
    assert len(set(errors)) == 1 and read_files(folder) == before
    go_on.set()
    first.join()
    assert find_missing_shards(folder) == []
