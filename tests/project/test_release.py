"""What a release is made of: one version, wheel and sdist without tests, workflows that can be trusted, pages for contributors."""

import ast
import email
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml

import trl_forking


ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"
WORKFLOWS = {path.name: yaml.safe_load(path.read_text()) for path in (GITHUB / "workflows").glob("*.yml")}
PUBLISH = WORKFLOWS["publish.yml"]["jobs"]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


# The version


def test_version_is_written_in_one_place():
    assert "version" not in PYPROJECT["project"] and "version" in PYPROJECT["project"]["dynamic"]
    assert PYPROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "trl_forking.__version__"}
    assigned = [
        path for path in ROOT.glob("trl_forking/**/*.py") if re.search(r"^__version__ =", path.read_text(), re.M)
    ]
    assert assigned == [ROOT / "trl_forking" / "__init__.py"]


@pytest.mark.parametrize(
    ("tag", "is_taken"),
    [(f"v{trl_forking.__version__}", True), (trl_forking.__version__, False), ("v9.9.9", False), ("v", False)],
)
def test_only_a_tag_of_the_version_is_published(tag, is_taken):
    done = subprocess.run([sys.executable, str(GITHUB / "check_tag.py"), tag], capture_output=True, text=True)
    assert (done.returncode == 0) == is_taken
    assert is_taken or f"is not v{trl_forking.__version__}" in done.stderr


def test_changelog_has_the_version():
    assert f"## {trl_forking.__version__} (" in (ROOT / "CHANGELOG.md").read_text()


# Wheel and sdist


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """Build both in one process, from a copy of the folders that a build could take files from."""
    folder = tmp_path_factory.mktemp("release") / "clone"
    folder.mkdir()
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    for name in ("trl_forking", "examples", "tests", "fuzz", "benchmarks"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    code = "from setuptools import build_meta as b; import sys; b.build_sdist('dist'); b.build_wheel('dist')"
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, capture_output=True)
    (wheel,), (sdist,) = (list((folder / "dist").glob(f"*.{ending}")) for ending in ("whl", "tar.gz"))
    return wheel, sdist


@pytest.mark.slow
def test_distributions_hold_the_package_and_no_test_data(distributions):
    wheel, sdist = distributions
    files = {"wheel": set(ZipFile(wheel).namelist())}
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    files["sdist"] = names
    for kind, names in files.items():
        assert "trl_forking/py.typed" in names, kind
        tops = {name.split("/")[0] for name in names if "/" in name}
        assert tops <= {
            "trl_forking",
            "examples",
            "trl_forking.egg-info",
            f"{wheel.name.split('-py3')[0]}.dist-info",
        }, kind
        assert not [name for name in names if re.search(r"(^|/)(tests?|fuzz|benchmarks)/|test_\w+\.py$", name)], kind
    package = {name for name in files["wheel"] if re.match(r"trl_forking/(?!examples/)", name)}
    assert package == {name for name in files["sdist"] if name.startswith("trl_forking/")}
    assert "LICENSE" in files["sdist"] and any(name.endswith("licenses/LICENSE") for name in files["wheel"])
    # The weights of the built-in model are 2.7 MB of it.
    assert wheel.stat().st_size < 4_000_000 and sdist.stat().st_size < 4_000_000


@pytest.mark.slow
def test_distributions_have_the_version_and_what_the_index_shows(distributions):
    wheel, _ = distributions
    archive = ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    headers = email.message_from_bytes(archive.read(name))
    assert headers["Version"] == trl_forking.__version__
    assert headers["License-Expression"] == "Apache-2.0" and headers["Description-Content-Type"] == "text/markdown"
    assert {"Homepage", "Issues", "Changelog"} <= {line.split(",")[0] for line in headers.get_all("Project-URL")}


# What the index shows

DESCRIBE = runpy.run_path(str(ROOT / "setup.py"))["build_description"]
TAG = f"trl-forking/trl-forking/blob/v{trl_forking.__version__}"
RAW = f"https://raw.githubusercontent.com/{TAG.replace('/blob', '')}"


def find_relative_addresses(description: str) -> list[str]:
    """Find the addresses that do not say where they lead when the page stands on another site. Code has none."""
    text = re.sub(r"^```.*?^```$|`[^`\n]+`", "", description, flags=re.MULTILINE | re.DOTALL)
    found = re.findall(
        r"\]\(\s*<?([^)\s>]*)|(?:src|href|srcset)=[\"']?([^\s\"'>]*)|^\[[^]\n]+\]:\s+<?(\S+)", text, re.M
    )
    return [address for each in found for address in each if address and not re.match("https://|mailto:", address)]


@pytest.mark.slow
def test_description_has_no_relative_address(distributions, tmp_path):
    """In the wheel, in the sdist, and in a wheel that is made from the sdist alone."""
    wheel, sdist = distributions
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    code = "from setuptools import build_meta as b; b.prepare_metadata_for_build_wheel('.')"
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, capture_output=True)
    (made_again,) = folder.glob("*.dist-info/METADATA")
    archive = ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    texts = [archive.read(name).decode(), (folder / "PKG-INFO").read_text("utf-8"), made_again.read_text("utf-8")]
    descriptions = [email.message_from_string(text).get_payload() for text in texts]
    assert len(set(descriptions)) == 1
    readme = (ROOT / "README.md").read_text("utf-8")
    assert find_relative_addresses(readme) and not find_relative_addresses(descriptions[0])
    assert (
        f"({RAW}/docs/results/rewards.png)" in descriptions[0]
        and f"(https://github.com/{TAG}/docs/rules.md)" in descriptions[0]
    )
    assert descriptions[0].count("](") == readme.count("](")


@pytest.mark.parametrize(
    ("relative", "whole"),
    [
        ("[a](docs/vllm.md)", f"[a](https://github.com/{TAG}/docs/vllm.md)"),
        ("[a](./docs/vllm.md#fast)", f"[a](https://github.com/{TAG}/docs/vllm.md#fast)"),
        ('[a](<LICENSE> "its terms")', f'[a](<https://github.com/{TAG}/LICENSE> "its terms")'),
        ("[a](#install)", f"[a](https://github.com/{TAG}/README.md#install)"),
        ("![a](docs/b.png)", f"![a]({RAW}/docs/b.png)"),
        ("[![a](docs/b.png)](docs/b.md)", f"[![a]({RAW}/docs/b.png)](https://github.com/{TAG}/docs/b.md)"),
        ('<source srcset="docs/b.svg">', f'<source srcset="{RAW}/docs/b.svg">'),
        ("<a href='docs/b.html'>", f"<a href='https://github.com/{TAG}/docs/b.html'>"),
        ("[a]: docs/b.md", f"[a]: https://github.com/{TAG}/docs/b.md"),
        ("[a](https://x.org/b.png) [b](mailto:a@b.org)", None),
        ("```python\nnames[0](arguments)\n```", None),
        ("`names[0](arguments)`", None),
    ],
)
def test_address_is_made_whole(relative, whole):
    assert DESCRIBE(relative, trl_forking.__version__) == (whole or relative)
    assert bool(find_relative_addresses(relative)) == bool(whole)
    assert not find_relative_addresses(whole or relative)


# Types


def find_strict_modules() -> list[str]:
    (strict,) = (part for part in PYPROJECT["tool"]["mypy"]["overrides"] if part.get("disallow_untyped_defs"))
    return strict["module"]


def test_public_modules_are_typed_strictly():
    """Those that the pages name in their examples are public, and so are all of a folder with `*`."""
    strict = find_strict_modules()
    for module in strict:
        path = ROOT / module.removesuffix(".*").replace(".", "/")
        assert path.with_suffix(".py").is_file() or path.is_dir(), module
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    shown = {
        name for page in pages for name in re.findall(r"^from (trl_forking[\w.]*) import", page.read_text(), re.M)
    }
    assert len(shown) > 3
    covered = {
        name
        for name in shown
        if any(name == module or f"{name}.".startswith(module.removesuffix("*")) for module in strict)
    }
    assert not shown - covered, "add them to the modules that pyproject.toml has mypy check strictly"


# Workflows


def list_steps():
    return [
        (name, step)
        for name, workflow in WORKFLOWS.items()
        for job in workflow["jobs"].values()
        for step in job["steps"]
    ]


def test_actions_are_pinned_by_digest_everywhere():
    texts = {path.name: path.read_text() for path in (GITHUB / "workflows").glob("*.yml")}
    lines = [line.strip() for text in texts.values() for line in text.splitlines() if re.search(r"\buses:", line)]
    pins: dict[str, set[str]] = {}
    for line in lines:
        found = re.fullmatch(r"(?:- )?uses: ([\w./-]+)@([0-9a-f]{40} # v\d+\.\d+\.\d+)", line)
        assert found, f"{line}: name the 40 digits of a commit, and the version behind them"
        pins.setdefault(found[1], set()).add(found[2])
    assert len(lines) == sum("uses" in step for _, step in list_steps()) > 10
    assert all(len(versions) == 1 for versions in pins.values()), "one action, one digest"


def test_workflows_may_do_no_more_than_they_need():
    for name, workflow in WORKFLOWS.items():
        assert "permissions" in workflow, name
        assert all("timeout-minutes" in job for job in workflow["jobs"].values()), name
        if name != "nightly.yml":
            assert workflow["permissions"] == {"contents": "read"}, name
    assert "pull_request_target" not in "".join(path.read_text() for path in GITHUB.rglob("*.yml"))


def test_publishing_is_trusted_and_attested():
    text = (GITHUB / "workflows" / "publish.yml").read_text()
    assert "secrets." not in text and "password" not in text
    publish = PUBLISH["publish"]
    assert publish["permissions"] == {"id-token": "write"} and publish["environment"]["name"] == "pypi"
    assert publish["if"] == "github.event_name == 'push' && github.ref_type == 'tag'" and publish["needs"] == "try"
    upload = publish["steps"][-1]
    assert upload["uses"].startswith("pypa/gh-action-pypi-publish@") and upload["with"]["attestations"] is True
    assert any(
        step.get("uses", "").startswith("actions/attest-build-provenance@") for step in PUBLISH["build"]["steps"]
    )
    runs = [step.get("run", "") for step in PUBLISH["build"]["steps"]]
    assert runs.index("make dist") > next(number for number, run in enumerate(runs) if "check_tag.py" in run)


def test_what_is_published_was_tried_without_the_repository():
    job = PUBLISH["try"]
    assert not any("checkout" in step.get("uses", "") for step in job["steps"])
    assert job["strategy"]["matrix"]["kind"] == ["whl", "tar.gz"] and job["needs"] == "build"
    commands = "\n".join(step.get("run", "") for step in job["steps"])
    for command in ("trl-forking env", "trl-forking verify ", "trl-forking demo --max_steps 2"):
        assert command in commands


def test_nightly_run_takes_trl_as_it_is():
    runs = [step.get("run", "") for step in WORKFLOWS["nightly.yml"]["jobs"]["trl-main"]["steps"]]
    assert any('"trl @ git+https://github.com/huggingface/trl.git@main"' in run for run in runs)
    assert any(run.startswith("make test ") for run in runs)


def test_updates_are_proposed_for_actions_and_pins():
    updates = yaml.safe_load((GITHUB / "dependabot.yml").read_text())["updates"]
    assert {update["package-ecosystem"] for update in updates} == {"github-actions", "pip"}
    assert all(update["directory"] == "/" and update["schedule"]["interval"] for update in updates)


# Pages for contributors


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "SECURITY.md"])
def test_pages_name_files_that_exist(page):
    text = (ROOT / page).read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if not link.startswith("http")]
    paths = re.findall(r"`((?:trl_forking|tests|examples|docs|\.github)/[\w./-]+)`", text)
    assert page != "CONTRIBUTING.md" or len(links) + len(paths) > 15
    for path in [*links, *paths]:
        assert (ROOT / path).exists(), path


def test_contributing_names_every_part_and_targets_of_make():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"(?:^|`)make ([\w-]+)", text, re.M))
    assert {"test-fast", "test", "quality", "dist"} <= targets
    assert all(re.search(rf"^{target}:", makefile, re.M) for target in targets), targets
    inner = {"settings", "verdict", "writing", "decoding"}  # nobody would look for them in a table of wishes
    parts = {path.parent.name for path in (ROOT / "trl_forking").glob("*/__init__.py")} - inner
    assert {part for part in parts if f"`trl_forking/{part}/" not in text} == set()


def test_rule_of_contributing_is_a_rule_in_ten_lines():
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), flags=re.DOTALL)
    assert len(code.splitlines()) <= 10
    from trl_forking.selection.rules import find_rule

    namespace: dict = {}
    exec(compile(code, "CONTRIBUTING.md", "exec"), namespace)
    assert find_rule(namespace["surprising"]).needs == ("log_prob",)
    own = (ROOT / "examples" / "own_token_rule.py").read_text()
    (rule,) = (node for node in ast.parse(own).body if isinstance(node, ast.FunctionDef))
    assert rule.name == "surprising"


def test_templates_ask_for_what_a_maintainer_needs():
    folder = GITHUB / "ISSUE_TEMPLATE"
    templates = {path.stem: yaml.safe_load(path.read_text()) for path in folder.glob("*.yml")}
    assert {"bug", "feature", "question", "config"} == set(templates)
    config = templates.pop("config")
    assert all({"name", "url", "about"} == set(link) for link in config["contact_links"])
    for name, template in templates.items():
        assert {"name", "description", "body"} <= set(template), name
        identifiers = [part["id"] for part in template["body"] if part["type"] != "markdown"]
        assert len(identifiers) == len(set(identifiers)) > 0, name
        assert any(part.get("validations", {}).get("required") for part in template["body"]), name
    assert "trl-forking env" in (folder / "bug.yml").read_text()
    template = (GITHUB / "pull_request_template.md").read_text()
    assert "make test-fast" in template and "CHANGELOG.md" in template
