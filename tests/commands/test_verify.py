"""`trl-forking verify` says what was read, which rule decided, and ends with a code that a script can use."""

import json
import os
import subprocess
import sys

import pytest

from trl_forking.commands.main import main
from trl_forking.commands.verify import run_verify


def run(capsys, *flags):
    with pytest.raises(SystemExit) as stopped:
        run_verify(list(flags))
    return stopped.value.code, capsys.readouterr()


@pytest.mark.parametrize(
    ("gold", "answer", "code", "lines"),
    [
        ("12 000", "12000", 0, ["right", "rule:   equal values", "gold:   a number: 12000",
                                "answer: a number: 12000, read from the whole text"]),
        ("5", r"So \boxed{5 \text{ million}}.", 1, ["wrong", "rule:   the values differ", "gold:   a number: 5",
                                                    "answer: a number: 5000000, read from the last box"]),
        (r"-\frac{1}{2}", "-0.5", 0, ["right"]),
        ("-5", "-5", 0, ["rule:   the same text"]),
        ("5", r"<think>\boxed{5}", 1, ["rule:   there is no box outside of a think block"]),
        ("x=2, y=3", "3, 2", 1, ["gold:   values with names: x = 2, y = 3", "answer: a list: 3, 2, read from"]),
        (r"\boxed{4}", "4", 0, ["gold:   a number: 4"]),
    ],
)  # fmt: skip
def test_one_pair(gold, answer, code, lines, capsys):
    got, output = run(capsys, gold, answer)
    assert got == code and output.err == ""
    assert [line for line in lines if line not in output.out] == []


def test_json(capsys):
    code, output = run(capsys, "--json", "0.5", "1/2")
    assert code == 0
    assert json.loads(output.out) == {
        "place": "command line", "reward": 1.0, "rule": "equal values", "gold": "a number: 0.5", "answer": "a number: 1/2",
        "read": "the whole text",
    }  # fmt: skip


def write(folder, *rows):
    path = folder / "pairs.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return str(path)


def test_a_file(tmp_path, capsys):
    path = write(tmp_path, {"gold": "1/2", "answer": "0.5"}, "", {"solution": 5, "completion": r"\boxed{6}"})
    code, output = run(capsys, "--file", path)
    assert code == 1
    assert f"right: {path}, row 1\n" in output.out and f"wrong: {path}, row 2\n" in output.out
    assert output.out.endswith("1 of 2 answers are right\n")
    code, output = run(capsys, f"--file={path}", "--json")
    assert code == 1 and [json.loads(line)["reward"] for line in output.out.splitlines()] == [1.0, 0.0]


def test_a_file_with_the_verdicts_that_are_expected(tmp_path, capsys):
    path = write(tmp_path, {"gold": "5", "answer": "5 km", "right": 1}, {"gold": "5", "answer": "5 or 6", "right": 0})
    code, output = run(capsys, "--file", path)
    assert code == 0 and output.out.endswith("1 of 2 answers are right; 2 verdicts are as expected\n")
    path = write(tmp_path, {"gold": "5", "answer": "5 or 6", "right": 1})
    code, output = run(capsys, "--file", path)
    assert code == 1 and "wrong (you expect the opposite)" in output.out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "the gold answer or the answer is missing"),
        (["5"], "the gold answer or the answer is missing"),
        (["5", "6", "7"], "there are more than two texts"),
        (["", "5"], "command line: the gold answer cannot be read"),
        ([r"\frac{1}{", "5"], "command line: the gold answer cannot be read"),
        (["--file", "no-such.jsonl"], "no-such.jsonl does not exist"),
        (["--file", "no-such.jsonl", "5"], "--file stands in place of GOLD and ANSWER"),
        (["--jsn", "5", "6"], "json"),
    ],
)
def test_mistakes(flags, message, capsys):
    code, output = run(capsys, *flags)
    assert code == 2
    assert message in output.err and "Traceback" not in output.err and len(output.err.splitlines()) <= 3


@pytest.mark.parametrize(
    ("row", "message"),
    [("{", ":1: not a JSON object"), ("[1]", ":1: not a JSON object"), ('{"gold": 1}', "row 1 has no pair")],
)
def test_a_broken_line(tmp_path, row, message, capsys):
    code, output = run(capsys, "--file", write(tmp_path, row))
    assert code == 2 and message in output.err


def test_it_is_a_command_and_imports_nothing_heavy(capsys):
    with pytest.raises(SystemExit):
        main(["verify", "2", "2.0"])
    assert capsys.readouterr().out.startswith("right\n")
    code = (
        "import sys\nfrom trl_forking.commands.main import main\n"
        "try: main(['verify', '2', '2.0'])\n"
        "except SystemExit: print(*{'torch', 'trl', 'transformers', 'sympy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == ""


def test_nobody_reads_the_output_any_more(monkeypatch, capsys):
    """As after `| head`: the command ends quietly. It took the closed pipe for a mistake of the user."""
    reader, writer = os.pipe()
    os.close(reader)
    closed = os.fdopen(writer, "w", buffering=1)  # each line is written at once
    monkeypatch.setattr("sys.stdout", closed)
    with pytest.raises(SystemExit) as stop:
        main(["verify", "5", r"\boxed{5}"])
    assert stop.value.code == 141 and capsys.readouterr().err == ""
    closed.close()
