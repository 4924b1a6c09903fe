"""Imports point one way, files and functions stay small, and importing brings in nothing that is not needed."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.import_graph import find_cycle, find_forbidden, read_imports, read_modules


ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "trl_forking"
MODULES = read_modules(PACKAGE)
IMPORTS = read_imports(PACKAGE)
# The parts of the package from the bottom up, and which parts each may import: only parts that stand above it here.
MAY_IMPORT = {
    part: set(others.split())
    for part, others in {
        "selection": "",
        "writing": "",
        "verdict": "writing",
        "rewards": "",
        "settings": "selection",
        "forking_grpo_config": "selection settings",
        "run": "selection writing settings forking_grpo_config",
        "data": "writing rewards run",
        "decoding": "selection run",
        "update": "selection forking_grpo_config run",
        "rollout": "selection forking_grpo_config run update",
        "card": "selection writing settings verdict forking_grpo_config run",
        "hub": "run card",
        "analysis": "selection writing run data decoding update rollout card",
        "evaluation": "writing rewards settings run data decoding card analysis",
        "countdown": "selection evaluation decoding",
        "forking_grpo_trainer": "selection forking_grpo_config run update rollout card hub evaluation",
        "__init__": "forking_grpo_config forking_grpo_trainer",
    }.items()
}
MAY_IMPORT["commands"] = set(MAY_IMPORT)


# Imports of modules


def test_the_table_has_one_order_and_every_part():
    parts = list(MAY_IMPORT)
    assert all(others <= set(parts[:number]) for number, others in enumerate(MAY_IMPORT.values()))
    files, folders = PACKAGE.glob("*.py"), {path.parent for path in PACKAGE.glob("*/*.py")}
    assert set(parts) == {path.stem for path in files} | {path.name for path in folders}
    above = {part for part, others in MAY_IMPORT.items() if "forking_grpo_trainer" in others}
    assert above == {"__init__", "commands"}


def test_imports_point_one_way():
    assert not find_forbidden(IMPORTS, MAY_IMPORT)


def test_no_module_imports_itself_by_way_of_others():
    assert not find_cycle(IMPORTS)


@pytest.mark.parametrize(
    ("file", "line", "forbidden"),
    [
        ("card/sections.py", "from ..trainer import Trainer", ["made_up.card.sections imports made_up.trainer"]),
        ("card/deep/table.py", "from ... import trainer", ["made_up.card.deep.table imports made_up.trainer"]),
        ("card/deep/table.py", "from ..sections import draw", []),
        ("card/__init__.py", "from . import sections", []),
        ("trainer.py", "from .card import deep", []),
        ("run/log.py", "def late():\n    import made_up.trainer", ["made_up.run.log imports made_up.trainer"]),
        (
            "run/log.py",
            "from made_up.card.deep.table import draw",
            ["made_up.run.log imports made_up.card.deep.table"],
        ),
        ("run/log.py", "from .. import __version__", []),
        ("run/log.py", "from .. import Trainer", ["made_up.run.log imports made_up"]),
        ("new/part.py", "from ..run import log", ["made_up.new.part imports made_up.run.log"]),
    ],
)
def test_an_import_against_the_order_is_found(tmp_path, file, line, forbidden):
    may_import = {"run": set(), "card": {"run"}, "trainer": {"run", "card"}, "__init__": {"trainer"}}
    package = write_package(tmp_path, {file: line})
    assert find_forbidden(read_imports(package), may_import) == forbidden


@pytest.mark.parametrize(
    ("sources", "cycle"),
    [
        ({"run/log.py": "from ..card import deep", "card/deep/__init__.py": "from ...run import log"}, {"run.log", "card.deep"}),
        ({"run/log.py": "from . import names", "run/names.py": "def late():\n    from .log import x"}, {"run.log", "run.names"}),
        ({"run/__init__.py": "from ..card import sections", "card/sections.py": "import made_up.run.log"}, {"run", "card.sections"}),
        ({"run/__init__.py": "from .log import x", "run/log.py": "from .names import x", "run/names.py": ""}, set()),
    ],
    ids=["folders", "function", "init", "none"],
)  # fmt: skip
def test_a_cycle_is_found(tmp_path, sources, cycle):
    found = find_cycle(read_imports(write_package(tmp_path, sources)))
    assert set(found) == {f"made_up.{module}" for module in cycle}


def write_package(folder: Path, sources: dict[str, str]) -> Path:
    files = ("__init__", "trainer", "card/__init__", "card/sections", "card/deep/__init__", "card/deep/table")
    files += ("run/__init__", "run/log", "new/part")
    for file in files:
        path = folder / "made_up" / f"{file}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for file, source in sources.items():
        (folder / "made_up" / file).write_text(source)
    return folder / "made_up"


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("trl_forking.selection")])
def test_selection_imports_torch_and_its_own_modules_only(module):
    for other in IMPORTS[module]:
        name = other.split(".")[0]
        assert name in {"torch", *sys.stdlib_module_names} or other.startswith("trl_forking.selection"), other


def test_no_test_file_imports_another():
    tests = ROOT / "tests"
    files = {path for path in tests.rglob("*.py") if path.parent.name not in ("helpers", "workers")}
    assert all(path.name.startswith("test_") or path.name == "conftest.py" for path in files), "helpers have a folder"
    for path in tests.rglob("*.py"):
        names = find_names(ast.parse(path.read_text()))
        assert not [name for name in names if name.startswith("test_") or name == "conftest"], path


@pytest.mark.parametrize(
    "folder", sorted({path.parent for path in (ROOT / "tests").rglob("test_*.py")}), ids=lambda folder: folder.name
)
def test_every_folder_has_tests_that_are_not_slow(folder):
    assert any(find_fast_tests(path.read_text()) for path in folder.glob("test_*.py"))


def find_fast_tests(source: str) -> list[str]:
    nodes = ast.parse(source).body
    marks = [node for node in nodes if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark"]
    if any("mark.slow" in ast.unparse(node) for node in marks):
        return []
    tests = [node for node in nodes if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    return [node.name for node in tests if "pytest.mark.slow" not in map(ast.unparse, node.decorator_list)]


def test_slow_tests_are_told_from_the_others():
    source = "@pytest.mark.slow\ndef test_a(): ...\n@pytest.mark.skip\ndef test_b(): ...\ndef c(): ..."
    assert find_fast_tests(source) == ["test_b"]
    assert find_fast_tests(f"pytestmark = [pytest.mark.slow]\n{source}") == []


def find_names(tree: ast.Module) -> set[str]:
    """Return the single words of all that a file imports: `a`, `b` and `c` of `from a.b import c`."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {word for alias in node.names for word in alias.name.split(".")}
        elif isinstance(node, ast.ImportFrom):
            # A name taken out of torch's or Transformers' modules is a name like any other.
            names |= {*(node.module or "").split("."), *(alias.name for alias in node.names)}
    return names


@pytest.mark.parametrize("module", MODULES)
def test_no_module_runs_a_file_of_the_examples(module):
    """What `examples/` shows is made from the package, never the other way round."""
    assert not find_ways_to_run_a_file(MODULES[module].read_text())


WAYS = {"runpy", "run_path", "spec_from_file_location", "exec_module", "SourceFileLoader", "exec", "execfile"}


def find_ways_to_run_a_file(source: str) -> set[str]:
    tree = ast.parse(source)
    names = find_names(tree) | {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
    }
    return (names & WAYS) | (find_names(tree) & {"examples"}) | {text for text in texts if "train_math.py" in text}


@pytest.mark.parametrize(
    "source",
    [
        "import runpy",
        "from examples import train_math",
        "from importlib.util import spec_from_file_location",
        "loader.exec_module(module)",
        "exec(code)",
        "command = [python, 'examples/train_math.py']",
        "path = EXAMPLES / 'train_math.py'",
    ],
)
def test_a_way_to_run_a_file_is_found(source):
    assert find_ways_to_run_a_file(source)
    assert not find_ways_to_run_a_file('"""The same as examples/train_math.py."""')


# Sizes


@pytest.mark.parametrize("module", MODULES)
def test_files_and_functions_stay_small(module):
    source = MODULES[module].read_text()
    assert len(source.splitlines()) <= 400
    assert not [name for name, lines in count_lines(source).items() if lines > 60]


def count_lines(source: str) -> dict[str, int]:
    """Return the number of lines of each function's body, from its first statement after the docstring to its last."""
    lines = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[ast.get_docstring(node) is not None :]
            lines[f"{node.name} (line {node.lineno})"] = body[-1].end_lineno - body[0].lineno + 1 if body else 0
    return lines


def test_lines_are_counted_without_the_docstring():
    source = '''
class A:
    def long(
        self,
    ):
        """One.

        Two.
        """
        a = (
            1
        )

        return a

    def empty(self):
        """Nothing."""
'''
    assert count_lines(source) == {"long (line 3)": 5, "empty (line 16)": 0}


# What an import brings in, and what it costs

OPTIONAL = (
    "peft", "math_verify", "matplotlib", "deepspeed", "vllm", "trackio", "wandb", "tensorboard", "gguf",
    "pyarrow.parquet",
)  # fmt: skip
HEAVY = ("torch", "trl", "transformers", "accelerate", "datasets")


def find_imported(statement: str, names: tuple[str, ...]) -> set[str]:
    return set(run_python(f"import sys; {statement}; print(*(m for m in {names!r} if m in sys.modules))").split())


def run_python(code: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()[-1]


def test_the_command_line_starts_without_torch():
    assert not find_imported("import trl_forking.commands.main", HEAVY + OPTIONAL)
    assert find_imported("import trl_forking.commands.main, torch", HEAVY) == {"torch"}  # the comparison can fail


@pytest.mark.slow
def test_import_brings_in_nothing_optional_that_trl_does_not():
    statements = (
        "from trl import GRPOConfig, GRPOTrainer",
        "from trl_forking import ForkingGRPOConfig, ForkingGRPOTrainer",
        "import matplotlib",
    )
    loaded = f"loaded.append([name for name in {OPTIONAL!r} if name in sys.modules])"
    code = "; ".join(["import json, sys; loaded = []", *(f"{each}; {loaded}" for each in statements)])
    upstream, ours, with_matplotlib = map(set, json.loads(run_python(f"{code}; print(json.dumps(loaded))")))
    assert ours == upstream
    assert with_matplotlib - upstream == {"matplotlib"}  # the comparison can fail


@pytest.mark.slow
def test_import_costs_a_tenth_of_a_second_at_most():
    """Beyond what `from trl import GRPOTrainer` costs, in CPU time, which other processes do not move."""
    code = (
        "import time; from trl import GRPOConfig, GRPOTrainer; begin = time.process_time(); "
        "from trl_forking import ForkingGRPOTrainer; end = time.process_time(); "
        "import sys; assert 'trl_forking.forking_grpo_trainer' in sys.modules; print(end - begin)"
    )
    times: list[float] = []
    while not times or (min(times) >= 0.1 and len(times) < 6):  # a busy core takes longer for the same work
        times.append(float(run_python(code)))
    assert min(times) < 0.1, times
