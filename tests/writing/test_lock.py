"""A folder has one writer at a time."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from trl_forking.writing.lock import FolderInUse, lock_folder


HOLD = """
import signal, sys, time
from trl_forking.writing.lock import lock_folder
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background ignores it, and its children too
with lock_folder(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_another_process_is_named_until_it_ends_in_any_way(tmp_path, end):
    folder = tmp_path / "new" / "run"
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        with (
            pytest.raises(FolderInUse, match=f"^Another process is writing to {folder}: wait until it ends, or"),
            lock_folder(folder),
        ):
            pass
        process.send_signal(end)
        process.wait()
        with lock_folder(folder):
            assert os.listdir(folder) == []  # nothing is left of either
    finally:
        process.kill()
        process.wait()


def test_a_lock_is_given_back_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), lock_folder(tmp_path):
        raise ZeroDivisionError
    with lock_folder(tmp_path), lock_folder(tmp_path / "other"):
        pass


def test_threads_lock_each_other_out(tmp_path):
    entered, errors, barrier = [], [], threading.Barrier(4)

    def write():
        barrier.wait()
        try:
            with lock_folder(tmp_path):
                entered.append(1)
                done.wait(10)
        except FolderInUse as error:
            errors.append(error)
        if len(errors) == 3:
            done.set()

    done = threading.Event()
    threads = [threading.Thread(target=write) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(entered) == 1 and len(errors) == 3


def test_a_child_that_outlives_its_parent_does_not_keep_the_lock(tmp_path):
    with lock_folder(tmp_path):
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
    try:
        with lock_folder(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.parametrize("error", [OSError(95, "not supported"), None])
def test_where_there_are_no_locks_nothing_is_locked(tmp_path, monkeypatch, error):
    def fail(*args):
        raise error

    if error is None:
        monkeypatch.setattr("trl_forking.writing.lock.fcntl", None)
    else:
        monkeypatch.setattr("fcntl.flock", fail)
    with lock_folder(tmp_path), lock_folder(tmp_path):
        pass
