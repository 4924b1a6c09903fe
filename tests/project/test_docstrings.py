"""These tests run every example of every public docstring."""

import doctest
import importlib
import pkgutil

import pytest

import trl_forking


MODULES = [module.name for module in pkgutil.walk_packages(trl_forking.__path__, "trl_forking.")]


class FencedParser(doctest.DocTestParser):
    """Reads examples that stand between ``` fences, as TRL writes them."""

    def parse(self, string, name="<string>"):
        return super().parse(string.replace("```python", "").replace("```", ""), name)


@pytest.mark.parametrize("module", MODULES)
def test_examples_run(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    finder = doctest.DocTestFinder(parser=FencedParser())
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for example in finder.find(importlib.import_module(module)):
        if example.examples:
            runner.run(example)
    assert runner.summarize().failed == 0
