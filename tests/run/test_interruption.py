"""Signals, closed pipes and commands that go on."""

import os
import signal

import pytest

from trl_forking.run.interruption import describe_command, exit_on_interruption


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_program_with_a_sentence_and_its_code(number, code, capsys):
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(SystemExit) as stopped, exit_on_interruption(lambda: "Interrupted. Go on."):
        os.kill(os.getpid(), number)
    assert stopped.value.code == code and capsys.readouterr().err == "\nInterrupted. Go on.\n"
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


def test_the_inner_one_speaks_and_whatever_the_body_makes_of_the_signal_is_left_out(capsys):
    outer, inner = exit_on_interruption(lambda: "outer"), exit_on_interruption(lambda: "inner")
    with pytest.raises(SystemExit) as stopped, outer, inner:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except BaseException as error:
            raise ImportError("broken off") from error
    assert stopped.value.code == 130 and capsys.readouterr().err == "\ninner\n"


def test_other_errors_are_left_alone():
    with pytest.raises(ZeroDivisionError), exit_on_interruption():
        1 / 0  # noqa: B018


def test_a_program_that_handles_the_signal_itself_goes_on(capsys):
    received = []
    former = signal.signal(signal.SIGTERM, lambda *args: received.append(args))
    try:
        with exit_on_interruption():
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, former)
    assert len(received) == 1 and capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("flags", "command"),
    [
        (["--a", "1", "--overwrite"], "trl-forking x --a 1"),
        (["--overwrite", "true", "--a", "-1"], "trl-forking x --a -1"),
        (["--overwrite=true", "b c"], "trl-forking x 'b c'"),
        (["--a", "--over-write"], "trl-forking x --a --over-write"),
    ],
)
def test_a_command_goes_on_without_the_flag_that_deletes(flags, command):
    assert describe_command("x", flags, without=["overwrite"]) == command
