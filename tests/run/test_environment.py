"""The report on the machine names what is missing, and nothing can make it fail."""

import os
import subprocess
import sys
from importlib.metadata import version

import pytest

from trl_forking.commands.main import main
from trl_forking.run import environment
from trl_forking.run.environment import FEATURES, PACKAGES, describe_environment, find_version, list_missing


def test_report_has_the_versions_that_a_bug_report_needs():
    text = describe_environment()
    for package in ("trl-forking", "trl", "transformers", "torch", "accelerate"):
        assert f"  {package:16s} {version(package)}\n" in text
    assert [
        part for part in ("Versions", "Devices", "Attention", "Missing", "Environment") if f"{part}\n" not in text
    ] == []
    assert "GPU" in text and "cores" in text


def test_every_feature_names_packages_that_are_shown():
    assert {package for feature in FEATURES for package in feature.packages} <= set(PACKAGES)


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
def test_a_missing_package_is_named_with_the_command_that_installs_it(feature):
    versions = dict.fromkeys(PACKAGES, "1.0")
    assert list_missing(versions) == ["nothing: every feature has its packages"]
    versions[feature.packages[-1]] = None
    line = next(line for line in list_missing(versions) if line.startswith(feature.name))
    assert feature.packages[-1] in line and line.endswith(feature.remedy)


def test_report_survives_damage(monkeypatch):
    def fail(*_):
        raise RuntimeError("the driver\nis too old")

    monkeypatch.setattr(environment, "_list_devices", fail)
    monkeypatch.setattr(environment, "_list_attention", fail)
    monkeypatch.setattr(environment, "version", fail)
    text = describe_environment()
    assert "cannot be told: RuntimeError: the driver is too old" in text
    assert find_version("torch") == "cannot be read (RuntimeError)"


def test_report_without_torch():
    code = "import sys; sys.modules['torch'] = None; from trl_forking.commands.main import main; main(['env'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and "cannot be told: " in done.stdout, done.stderr


def test_report_shows_no_secret(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret_token")
    monkeypatch.setenv("WANDB_API_KEY", "very-secret")
    monkeypatch.setenv("HF_HOME", os.path.expanduser("~/models/cache"))
    text = describe_environment()
    assert "secret" not in text and "HF_HOME=~/models/cache" in text


def test_a_flag_that_does_not_exist_is_named(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["env", "--gpu"])
    assert (
        stopped.value.code == 2
        and capsys.readouterr().err == "error: unknown argument '--gpu': trl-forking env takes no flags.\n"
    )
