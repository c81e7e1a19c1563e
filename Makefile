# Everything a contributor does. Needs python3 (3.11 or later), make and pip's package index.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := harness-results/demo
# The checkout as it is installed: the folders at the top under one name. Type and import checks read this.
TREE := build/tree
TREE_PARTS := $(wildcard harness/*) conformance locustfiles reports

.PHONY: help demo test lint format mutants guard bench lock browser clean

help:
	@echo "make demo     test the embedded server and make a report"
	@echo "make test     set up and run every check that CI runs"
	@echo "make lint     style, types, import direction"
	@echo "make format   apply the style"
	@echo "make mutants  run the suite on every defect of the embedded server: the kill matrix"
	@echo "make guard    fail where the harness has become slower, by ratios: what CI runs of the benchmarks"
	@echo "make bench    measure speed, as ratios, into docs/performance.md (QUICK=1: shorter, and only printed)"
	@echo "make lock     resolve the dependencies anew"

$(VENV)/.runtime: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --quiet --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	touch $@

demo: $(VENV)/.runtime
	rm -rf $(DEMO)
	$(BIN)/harness check --out $(DEMO)

# Some tests watch servers and load within milliseconds. What fails beside other tests must pass on its own.
ALONE := $(BIN)/python -m pytest -m "not mutants and not benchmarks" --last-failed --last-failed-no-failures none

GUARD := $(BIN)/python -m pytest -m benchmarks tests/benchmarks/test_guard.py

test: $(VENV)/.dev browser lint
	$(BIN)/python -m pytest -n 3 --dist worksteal -m "not mutants and not benchmarks" || $(ALONE)
	$(BIN)/python -m pytest -m mutants
	$(GUARD)

browser:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || \
	if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; \
	then apt-get update -qq && apt-get install -qq -y chromium >/dev/null; \
	else echo "no Chromium and no right to install one: the browser tests will be skipped"; fi

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	rm -rf $(TREE) && mkdir -p $(TREE)/harness
	for part in $(TREE_PARTS); do ln -s $(CURDIR)/$$part $(TREE)/harness/; done
	cd $(TREE) && $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml -p harness
	cd $(TREE) && PYTHONPATH=. $(CURDIR)/$(BIN)/lint-imports --config $(CURDIR)/pyproject.toml

format: $(VENV)/.dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

mutants: $(VENV)/.dev
	$(BIN)/python -m tests.mutants.kill_matrix

guard: $(VENV)/.dev
	$(GUARD)

bench: $(VENV)/.dev
	$(BIN)/python -m pytest -m benchmarks
	$(BIN)/python -m tests.benchmarks.side_by_side $(if $(QUICK),--quick)

COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --upgrade

lock: $(VENV)/.dev
	$(COMPILE) pyproject.toml --group build -o requirements.lock
	$(COMPILE) pyproject.toml --group build --group dev -c requirements.lock -o requirements-dev.lock

clean:
	rm -rf $(VENV) build dist *.egg-info harness-results
