"""Imports point one way, files stay small, and importing brings in nothing optional."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest


PACKAGE = Path(__file__).parents[2] / "trl_forking"
# From the bottom up: a module imports only what stands before it.
LAYERS = [
    {"quantile", "token_texts", "decoding", "hub_errors"},
    {"selection", "decoding_vllm", "kept_tokens"},
    {"metrics", "forking_grpo_config"},
    {"checks", "entropy_log", "card", "prompt_stream", "rollout_tape"},
    {"sparse_update", "dynamic_sampling", "progress"},
    {"run_folder"},
    {"hub"},
    {"forking_grpo_trainer"},
    {"countdown", "arguments", "math_worker"},
    {"countdown_warm_start", "settings", "math_reward"},
    {"demo", "launch", "math_problems", "card_command"},
    {"analysis"},
    {"fork_page", "trackers"},
    {"analyze"},
    {"compare", "fork_report_callback"},
    {"cli"},
]


def imported_modules(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("trl_forking")):
            module = (node.module or "").removeprefix("trl_forking").strip(".")
            found |= {module} if module else {alias.name for alias in node.names}
    return found


def level(module: str) -> int:
    return next(index for index, layer in enumerate(LAYERS) if module.split(".")[0] in layer)


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.stem)
def test_imports_point_one_way(path):
    if path.stem in ("__init__", "__main__"):
        return
    for module in imported_modules(path) - {"", "__version__"}:
        assert level(module) < level(path.stem), f"{path.stem} imports {module}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "analysis").rglob("*.py")), ids=lambda path: path.stem)
def test_analysis_stands_without_the_trainer(path):
    allowed = {
        "checks",
        "sparse_update",
        "metrics",
        "selection",
        "token_texts",
        "arguments",
        "math_problems",
        "math_reward",
    }
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level >= 2 and node.module:
            is_own = node.level == 2 and path.parent.name == "plots"
            assert is_own or node.module.split(".")[0] in allowed, f"{path.stem} imports {node.module}"


@pytest.mark.parametrize("name", ["selection", "quantile", "metrics"])
def test_pure_modules_import_torch_and_each_other_only(name):
    for node in ast.walk(ast.parse((PACKAGE / f"{name}.py").read_text())):
        if isinstance(node, ast.Import):
            assert {alias.name for alias in node.names} <= {"torch", "math"}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            assert node.module in ("collections.abc", "fractions")


def test_files_stay_small():
    for path in PACKAGE.rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 500, path


OPTIONAL = (
    "peft", "math_verify", "matplotlib", "wordcloud", "deepspeed", "vllm", "trackio", "wandb", "tensorboard", "gguf",
    "pyarrow.parquet",
)  # fmt: skip


def find_imported(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*(m for m in {OPTIONAL!r} if m in sys.modules))"
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.splitlines()[-1].split())


def test_import_brings_in_nothing_optional_that_trl_does_not():
    upstream = find_imported("from trl import GRPOConfig, GRPOTrainer")
    assert find_imported("import trl_forking, trl_forking.commands.main") <= upstream
    assert find_imported("import trl_forking, matplotlib") - upstream == {"matplotlib"}  # the comparison can fail


def test_import_costs_a_tenth_of_a_second_at_most():
    """Beyond what `from trl import GRPOTrainer` costs, in CPU time, which other processes do not move."""
    code = (
        "import time; from trl import GRPOConfig, GRPOTrainer; begin = time.process_time(); import trl_forking; "
        "print(time.process_time() - begin)"
    )
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent), "OMP_NUM_THREADS": "1"}
    times = [
        float(
            subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, env=environment
            ).stdout.split()[-1]
        )
        for _ in range(2)
    ]
    assert min(times) < 0.1, times
