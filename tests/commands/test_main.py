"""The table of commands: what it answers without importing anything heavy, and the help of every command."""

import ast
import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trl_forking.commands.analyze import AnalyzeArguments
from trl_forking.commands.card import CardArguments
from trl_forking.commands.compare import CompareArguments
from trl_forking.commands.compare_runs import CompareRunsArguments
from trl_forking.commands.demo import DemoArguments
from trl_forking.commands.doctor import DoctorArguments
from trl_forking.commands.evaluate import EvaluateArguments
from trl_forking.commands.main import COMMANDS, main
from trl_forking.commands.math_arguments import MathArguments
from trl_forking.commands.verdict import VerdictArguments
from trl_forking.commands.verify import VerifyArguments


@dataclasses.dataclass
class NoArguments:
    """`trl-forking env` has no flags."""


@dataclasses.dataclass
class RulesArguments:
    """The flags of `trl-forking rules`, which has no class for them."""

    json: bool = False


ROOT = Path(__file__).parents[2]
OWN = {
    "demo": DemoArguments,
    "grpo": MathArguments,
    "analyze": AnalyzeArguments,
    "compare": CompareArguments,
    "evaluate": EvaluateArguments,
    "compare-runs": CompareRunsArguments,
    "card": CardArguments,
    "verdict": VerdictArguments,
    "rules": RulesArguments,
    "doctor": DoctorArguments,
    "env": NoArguments,
    "verify": VerifyArguments,
}
HEAVY = ("torch", "transformers", "trl", "datasets", "accelerate", "numpy", "rich")


def import_after(statement: str) -> tuple[set[str], subprocess.CompletedProcess]:
    """Run a statement in a process of its own, and return the heavy packages that it has imported by its end."""
    code = f"import atexit, sys; atexit.register(lambda: print('imported', *set({HEAVY!r}) & set(sys.modules)))\n"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code + statement], capture_output=True, text=True, env=environment)
    return set(done.stdout.splitlines()[-1].split()[1:]), done


@pytest.mark.slow
def test_a_wrong_value_is_answered_before_the_import_of_the_trainer():
    code = """
import sys
from trl_forking.commands.main import main
try:
    main(["grpo", "--learning_rate=-1"])
finally:
    print("imported", [name for name in sys.modules if name.endswith(".trainer.grpo_trainer") or name == "transformers.trainer"])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 2 and "learning_rate must be a finite number of at least 0" in done.stderr
    assert done.stdout.splitlines()[-1] == "imported []"


@pytest.mark.parametrize(
    ("args", "code", "answer"),
    [
        (["--help"], 0, "usage: trl-forking COMMAND"),
        (["-h"], 0, "usage: trl-forking COMMAND"),
        ([], 0, "usage: trl-forking COMMAND"),
        (["--version"], 0, "trl-forking "),
        (["anlyze", "--prompts", "x"], 2, "error: unknown command 'anlyze'; did you mean analyze?"),
        (
            ["nonsense"],
            2,
            "error: unknown command 'nonsense'; the commands are demo, grpo, analyze, compare, evaluate",
        ),
    ],
)
def test_the_command_line_answers_before_anything_heavy_is_imported(args, code, answer):
    heavy, done = import_after(f"from trl_forking.commands.main import main; main({args!r})")
    assert heavy == set()
    assert done.returncode == code, done.stderr
    assert (done.stderr if code else done.stdout).startswith(answer)
    assert len(done.stderr.splitlines()) <= 3 and "Traceback" not in done.stderr


def test_a_heavy_import_would_be_seen():
    heavy, _ = import_after("import numpy")
    assert heavy == {"numpy"}


def test_a_mistyped_command_shows_its_traceback_on_request(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["anlyze", "--debug"])
    assert stopped.value.code == 2 and "Traceback" in capsys.readouterr().err


def test_every_command_has_a_line_in_the_help_and_a_test(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "118")
    main(["--help"])
    text = capsys.readouterr().out
    assert all(f"\n  {name} " in text and command.purpose in text for name, command in COMMANDS.items())
    assert set(OWN) == set(COMMANDS)


@pytest.mark.parametrize("flag", ["--help", "-h", "--help-all", "--help_all"])
@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command(name, flag, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "118")
    with pytest.raises(SystemExit) as stopped:
        main([name, flag])
    output = capsys.readouterr()
    assert stopped.value.code == 0 and output.err == ""
    assert output.out.startswith(f"usage: trl-forking {name} ")
    assert output.out.endswith("\n") and not output.out.endswith("\n\n")
    is_short = flag in ("--help", "-h")
    flags = OWN[name].__annotations__ if name == "grpo" else [field.name for field in dataclasses.fields(OWN[name])]
    start = "\n  --{} " if is_short else "--{}"
    assert [flag for flag in flags if start.format(flag) not in output.out] == []
    assert "--help-all" in output.out
    if is_short:
        assert len(output.out.splitlines()) <= 75 and max(map(len, output.out.splitlines())) <= 119


def test_a_percent_sign_reaches_the_reader(capsys):
    """`analyze --help` crashed on the help text of --hes."""
    for flag in ("--help", "--help-all"):
        with pytest.raises(SystemExit):
            main(["analyze", flag])
        assert "highest 0.5 % entropies" in " ".join(capsys.readouterr().out.split())


def test_a_command_imports_no_other_command():
    """What two commands share stands in a module of its own."""
    folder = Path(sys.modules[main.__module__].__file__).parent
    commands = {command.module.split(".")[1] for command in COMMANDS.values()}
    for name in commands:
        path = folder / name
        for file in path.rglob("*.py") if path.is_dir() else [path.with_suffix(".py")]:
            level = 2 if path.is_dir() else 1  # of a relative import from this folder
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.ImportFrom) and node.level == level:
                    imported = {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
                    assert not imported & commands, f"{file} imports {imported}"
