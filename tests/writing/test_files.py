"""A file is written completely or not at all."""

import errno
import os
import resource
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from trl_forking.writing.files import _open_unfinished, write_atomically


STATE = {"step": torch.arange(100_000)}
CONTENTS = {
    "text": "größe\r\n\n" * 100_000,
    "bytes": b"\x00\xff" * 400_000,
    "torch": lambda file: torch.save(STATE, file),
    "parquet": lambda file: pq.write_table(pa.table({"a": list(range(200_000))}), file, compression="none"),
}


@contextmanager
def longest_file(num_bytes: int):
    """No file may grow beyond that, by the system's own limit: a write beyond it fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def list_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_every_kind_of_content_arrives(tmp_path):
    folder = tmp_path / "new" / "folder"
    for name, content in CONTENTS.items():
        write_atomically(folder / name, content)
    assert list_files(folder) == sorted(CONTENTS)
    assert (folder / "text").read_bytes() == CONTENTS["text"].encode()  # line ends as they were
    assert (folder / "bytes").read_bytes() == CONTENTS["bytes"]
    assert torch.load(folder / "torch")["step"].equal(STATE["step"])
    assert pq.read_table(folder / "parquet")["a"].to_pylist() == list(range(200_000))


@pytest.mark.parametrize("name", list(CONTENTS))
@pytest.mark.parametrize("old", [None, b"old"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, name, old):
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)
    with longest_file(100_000), pytest.raises(OSError) as raised:
        write_atomically(path, CONTENTS[name])
    assert raised.value.errno == errno.EFBIG
    assert list_files(tmp_path) == ([] if old is None else ["file"])
    assert old is None or path.read_bytes() == old


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, OSError])
@pytest.mark.parametrize("place", ["content", "replace"])
def test_an_error_in_between_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, error, place):
    def fail(*_):
        raise error

    path = tmp_path / "file"
    write_atomically(path, "old")
    if place == "replace":
        monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(error):
        write_atomically(path, fail if place == "content" else "new")
    assert list_files(tmp_path) == ["file"] and path.read_text() == "old"


def test_a_killed_process_leaves_the_old_file_whole(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, "old")
    code = (
        "import os, signal, sys\n"
        "from trl_forking.writing.files import write_atomically\n"
        "def write(file):\n"
        "    file.write(b'half')\n"
        "    file.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_atomically(sys.argv[1], write)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    result = subprocess.run([sys.executable, "-c", code, str(path)], env=environment)
    assert result.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    assert all(name == "file" or name.startswith("_") for name in list_files(tmp_path))  # `_`: never pushed
    write_atomically(path, "new")
    assert list_files(tmp_path) == ["file"] and path.read_text() == "new"


def test_writers_of_one_path_do_not_meet(tmp_path):
    """Each writes half of its content, then the others theirs, and then each the rest."""
    path, barrier = tmp_path / "file", threading.Barrier(4)

    def write(number):
        def content(file):
            file.write(bytes([number]) * 1000)
            barrier.wait()
            file.write(bytes([number]) * 1000)
            barrier.wait()

        write_atomically(path, content)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert list_files(tmp_path) == ["file"]
    assert len(path.read_bytes()) == 2000 and len(set(path.read_bytes())) == 1


def test_processes_that_write_to_one_path_do_not_meet(tmp_path):
    code = (
        "import sys\n"
        "from trl_forking.writing.files import write_atomically\n"
        "for _ in range(300):\n"
        "    write_atomically(sys.argv[1], sys.argv[2] * 20_000)\n"
    )
    path = tmp_path / "file"
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path), letter]) for letter in "ab"]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            seen.add(path.read_text())
    assert [writer.returncode for writer in writers] == [0, 0]
    assert seen <= {"a" * 20_000, "b" * 20_000} and list_files(tmp_path) == ["file"]


def test_only_leftovers_of_dead_writers_are_removed(tmp_path):
    path = tmp_path / "file"
    with _open_unfinished(path) as unfinished:
        unfinished.write_text("of a thread that still writes")
        place = unfinished.name.split(".")[1].split("-")[0]
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        others = {
            f"_file.{place}-{os.getppid()}-0.partial": "of a process that still writes",
            "_file.00000000-1-0.partial": "of another machine",
            "_other.partial": "of another file",
        }
        for name, text in {f"_file.{place}-{dead.pid}-0.partial": "dead", **others}.items():
            (tmp_path / name).write_text(text)
        write_atomically(path, "new")
        assert list_files(tmp_path) == sorted(["file", unfinished.name, *others])
    write_atomically(path, "newer")
    assert unfinished.name not in list_files(tmp_path)
