"""What pip, make, CI and a script runner read: versions, extras, pins, targets, headers."""

import ast
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import metadata, version
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import trl_forking


ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
PINS = {
    canonicalize_name(name): pin
    for name, pin in re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE)
}


def test_installed_version_is_the_one_of_the_package():
    assert version("trl-forking") == trl_forking.__version__


def test_citation_has_the_version_and_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == trl_forking.__version__
    assert citation["references"][0]["identifiers"][0]["value"] == "arXiv:2506.01939"
    assert len(citation["references"][0]["authors"]) == 18


def test_extras_are_the_promised_ones():
    promised = {"vllm", "deepspeed", "peft", "math", "analysis", "docs", "quality", "test"}
    assert set(EXTRAS) == promised
    assert set(metadata("trl-forking").get_all("Provides-Extra")) == promised


def test_the_tested_set_is_pinned():
    # TRL itself is left out: CI replaces its pin by the oldest supported version.
    tested = {
        "torch": "2.13.0",
        "transformers": "5.23.0",
        "peft": "0.21.2",
        "accelerate": "1.15.0",
        "datasets": "5.2.0",
        "math-verify": "0.9.0",
    }
    assert tested.items() <= PINS.items()


@pytest.mark.parametrize("extra", [None, "peft", "math", "analysis", "docs", "quality", "test"])
def test_pins_satisfy_the_requirements(extra):
    wanted = PYPROJECT["project"]["dependencies"] if extra is None else EXTRAS[extra]
    for requirement in map(Requirement, wanted):
        if requirement.name != "trl-forking":
            assert PINS[canonicalize_name(requirement.name)] in requirement.specifier, requirement


def test_pins_hold_all_that_the_requirements_bring():
    """Walk through what the package and its test extra need, and what that needs, as pip does."""
    todo, done = [("trl-forking", frozenset({"test"}))], set()
    while todo:
        name, extras = todo.pop()
        if (name, extras) in done:
            continue
        done.add((name, extras))
        assert name == "trl-forking" or name in PINS, f"{name} is not in constraints.txt"
        for requirement in map(Requirement, metadata(name).get_all("Requires-Dist") or []):
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras or [""]):
                child = canonicalize_name(requirement.name)
                # CUDA's libraries come with some builds of torch only, which pins them itself.
                if not child.startswith(("nvidia-", "cuda-", "triton")):
                    todo.append((child, frozenset(requirement.extras)))
    assert len(done) > 40


# make and CI


def dry_run(*arguments):
    command = ["make", "--dry-run", "--always-make", *arguments]
    # The variables of the `make` that runs these tests would reach this one.
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "ARGS")}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, env=environment).stdout


SPREAD = "-n auto --dist loadfile --no-loadscope-reorder"
PYTEST = f"HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 .venv/bin/python -m pytest {SPREAD}"


@pytest.mark.parametrize(
    ("target", "arguments", "last"),
    [
        ("demo", "", ".venv/bin/trl-forking demo"),
        ("demo", "--token-selection low_entropy", ".venv/bin/trl-forking demo --token-selection low_entropy"),
        ("test", "", f"{PYTEST} tests"),
        ("test", "tests/a.py -k b", f"{PYTEST} tests/a.py -k b"),
        ("test-fast", "", f'{PYTEST} -m "not slow" tests'),
        ("test-fast", "tests/a.py -k b", f'{PYTEST} -m "not slow" tests/a.py -k b'),
    ],
)
def test_make_sets_up_everything_and_passes_flags(target, arguments, last):
    lines = dry_run(target, f"ARGS={arguments}").splitlines()
    assert any(line.endswith("-m venv .venv") for line in lines)
    assert any("pip" in line and "-c constraints.txt -e" in line for line in lines)
    assert lines[-1].strip() == last


def test_make_runs_the_tests_with_every_supported_trl():
    lines = dry_run("test-versions").splitlines()
    oldest = [line for line in lines if ".venv-trl-1.15.0" in line]
    assert any(line.startswith("sed 's/^trl==.*/trl==1.15.0/' constraints.txt") for line in oldest)
    assert any(line.endswith("install triton") for line in oldest)
    newest = [line for line in lines if ".venv-trl-1.16.0" in line]
    for trl, own in (("1.15.0", oldest), ("1.16.0", newest)):
        results = f".venv-trl-{trl}/results.xml"
        assert own[-2].endswith(f"-m pytest {SPREAD} tests --junit-xml={results}")
        assert own[-1].endswith(f".github/tested_versions.py docs/versions.md {results}")
    assert "TRITON_INTERPRET=1" in oldest[-2] and "TRITON" not in newest[-2]


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize(
    ("user", "programs", "installs"),
    [
        (0, ["apt-get"], True),
        (0, ["apt-get", "chromium"], True),
        (0, ["apt-get", "chromium", "chromedriver"], False),
        (0, [], False),
        (1000, ["apt-get"], False),
    ],
)
def test_make_installs_a_browser_as_root_where_there_is_none(tmp_path, user, programs, installs, fails):
    """With stand-ins for the programs of the machine."""
    (line,) = [line for line in dry_run("test").splitlines() if "chromium-driver" in line]
    log = tmp_path / "log"
    apt_get = f'echo "$@" >> {log}; exit {int(fails)}'
    for program, script in {"id": f"echo {user}", **dict.fromkeys(programs, apt_get)}.items():
        (tmp_path / program).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / program).chmod(0o755)
    done = subprocess.run(["/bin/sh", "-c", line], env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = ["Installing Chromium, which the tests of the page need"]
    said += ["Chromium could not be installed: the tests of the page in a browser will be skipped"] * fails
    called = ["update", "install -y --no-install-recommends chromium chromium-driver"][: 1 if fails else 2]
    assert done.stdout.splitlines() == (said if installs else [])
    assert (log.read_text().splitlines() if log.exists() else []) == (called if installs else [])


def test_make_has_quality_and_help():
    assert ".venv/bin/mypy" in dry_run("quality")
    assert "make demo" in dry_run()


def test_ci_runs_make_test():
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == "make test"


def test_nightly_run_tells_of_a_change_upstream():
    job = yaml.safe_load((ROOT / ".github" / "workflows" / "nightly.yml").read_text())
    assert job["jobs"]["supported"]["strategy"]["matrix"]["trl"] == ["1.15.0", "1.16.0"]
    assert job["permissions"] == {"contents": "write", "issues": "write"}
    steps = {step.get("name"): step for step in job["jobs"]["trl-main"]["steps"]}
    assert steps["Open an issue, or add to the open one"]["if"] == "failure()"
    assert steps["Write the row of tested versions"]["if"] == "always()"


def test_table_of_tested_versions_is_written_by_the_job(tmp_path):
    table, results = tmp_path / "versions.md", tmp_path / "results.xml"
    table.write_text((ROOT / "docs" / "versions.md").read_text())
    command = [sys.executable, str(ROOT / ".github" / "tested_versions.py"), str(table), str(results)]
    for failed in (3, 0):  # the newer run of a version takes the place of the older one
        results.write_text(
            f'<testsuites><testsuite tests="10" failures="{failed}" errors="0" skipped="2"/></testsuites>'
        )
        subprocess.run(command, check=True)
    rows = [
        line for line in table.read_text().splitlines() if line.startswith(f"| {importlib.metadata.version('trl')} |")
    ]
    mine = [row for row in rows if f"| {platform.python_version()} |" in row]
    assert len(mine) == 1 and "| 8 | 0 | 2 |" in mine[0]
    assert table.read_text().splitlines()[-1].startswith("`make test")  # what stands below stays


def test_workflows_cover_the_supported_versions():
    tests = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text())
    matrix = tests["jobs"]["tests"]["strategy"]["matrix"]
    classifiers = [line.rsplit(" ", 1)[1] for line in PYPROJECT["project"]["classifiers"] if "Python :: 3." in line]
    assert matrix["python"] == classifiers
    requirement = next(Requirement(line) for line in PYPROJECT["project"]["dependencies"] if line.startswith("trl"))
    assert all(trl in requirement.specifier for trl in matrix["trl"])
    assert f">={matrix['trl'][0].removesuffix('.0')}" in str(requirement.specifier)


# Examples


def read_script_metadata(path):
    """Read the header of PEP 723 with the expression that it gives."""
    pattern = r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$"
    (match,) = re.finditer(pattern, path.read_text())
    assert match.group("type") == "script"
    lines = match.group("content").splitlines(keepends=True)
    return tomllib.loads("".join(line[2:] if line.startswith("# ") else line[1:] for line in lines))


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_examples_have_a_header_and_stay_short(path):
    header = read_script_metadata(path)
    assert header["requires-python"] == PYPROJECT["project"]["requires-python"]
    for requirement in map(Requirement, header["dependencies"]):
        assert requirement.extras <= set(EXTRAS)
    assert len(path.read_text().splitlines()) < 170
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel from a copy with made-up data files, and return the copy and the wheel."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    for name in ("trl_forking", "examples"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for made_up in ("countdown/assets/folder/weights.bin", "card/templates/folder/card.md"):
        path = folder / "trl_forking" / made_up
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    flags = ["--no-build-isolation", "--no-deps", "--no-index", "-w", "wheel"]
    command = [sys.executable, "-m", "pip", "wheel", *flags, "."]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("wheel/*.whl")
    return folder, path


def test_wheel_holds_every_file_of_the_package(wheel):
    folder, path = wheel
    expected = {str(path.relative_to(folder)) for path in folder.glob("trl_forking/**/*") if path.is_file()}
    missing = expected - set(ZipFile(path).namelist())
    assert not missing, "pyproject.toml lists the packages and their data: a new one has to be added there"


def test_wheel_holds_every_example(wheel):
    folder, path = wheel
    examples = {f"trl_forking/{path.relative_to(folder)}" for path in folder.glob("examples/**/*") if path.is_file()}
    # The experiments write their records and the page of results into the repository, so they are run from a clone of it. The
    # notebook and the Space are read in the repository or on the Hub.
    folders = ("experiments", "notebooks", "space")
    apart = {name for name in examples if name.split("/")[2] in folders}
    assert {"trl_forking/examples/train_math.py", "trl_forking/examples/recipes/cpu_smoke.yaml"} <= examples
    assert examples - apart <= set(ZipFile(path).namelist())
    assert {name.split("/")[2] for name in apart} == set(folders) and not apart & set(ZipFile(path).namelist())


@pytest.mark.slow
def test_installed_wheel_finds_the_recipes(wheel, tmp_path):
    ZipFile(wheel[1]).extractall(tmp_path / "site")
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    code = (
        "from trl_forking.commands import grpo, recipes; print(recipes.find_examples()); "
        "grpo.run_grpo(['--config', 'cpu_smoke', '--dry_run'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    # A tracker that is imported may say something in between.
    place, _, settings = done.stdout.partition("\n")
    assert place == str(tmp_path / "site" / "trl_forking" / "examples")
    assert "\n# 16 prompts x 8 answers a rollout" in f"\n{settings}"
