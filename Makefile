# Tasks for contributors. Needs python3 (3.11 or later), make, and access to pip's package index.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := harness-results/demo
# The package layout as installed: the top-level directories under one package. Type and import checks run on it.
TREE := build/tree
TREE_PARTS := $(wildcard harness/*) conformance locustfiles reports

# The tests start hundreds of Python processes: without bytecode files each would compile what it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help hostile real robustness demo test test-exhaustive fuzz bytecode lint format mutants guard bench soak lock release-check programs clean

help:
	@echo "make demo             test the embedded server and write a report"
	@echo "make test             install everything and run all checks that CI runs"
	@echo "make test-exhaustive  run the property tests with all their examples"
	@echo "make fuzz             try random inputs for ten minutes (SECONDS=600), and keep what fails in .hypothesis/fuzz"
	@echo "make lint             check style, types, import direction, and the files of deployments"
	@echo "make format           fix style and formatting"
	@echo "make mutants          run the suite against every defect of the embedded server (the kill matrix)"
	@echo "make hostile          test suite and load against every hostile server (hours)"
	@echo "make robustness       do the same and write docs/robustness.md (hours)"
	@echo "make real             install servers that others wrote, test them, and write docs/real-servers.md (TARGETS='agno ag-ui')"
	@echo "make guard            fail if the harness became slower; CI runs this part of the benchmarks"
	@echo "make bench            compare speed with other clients and update docs/performance.md (QUICK=1: shorter, print only)"
	@echo "make soak             an hour of load, kills and restarts (SOAK_MINUTES=20: shorter); fails if anything grows or is lost"
	@echo "make lock             update the lock files"
	@echo "make release-check    do all that a release needs short of publishing it (PYTHON_VERSION=3.12: tests with one version)"

SOURCES_OF_INSTALLATION := pyproject.toml harness/transport/batch_reader.c harness/contract/decoding/token_reader.c

define MAKE_VENV
$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is required; this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
endef
INSTALL_PROJECT := $(BIN)/python -m pip install --quiet --quiet --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .

$(VENV)/.runtime: requirements.lock $(SOURCES_OF_INSTALLATION)
	$(MAKE_VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements.lock
	$(INSTALL_PROJECT)
	touch $@

# requirements-dev.lock has all of requirements.lock too.
$(VENV)/.dev: requirements.lock requirements-dev.lock $(SOURCES_OF_INSTALLATION)
	$(MAKE_VENV)
	$(BIN)/python scripts/install.py requirements-dev.lock
	$(INSTALL_PROJECT)
	touch $(VENV)/.runtime $@

demo: $(VENV)/.runtime
	rm -rf $(DEMO)
	$(BIN)/harness check --out $(DEMO)

# Five workers for each core, because many tests mostly wait. tests/conftest.py spreads the tests.
PARALLEL := -n $(shell expr 5 \* `getconf _NPROCESSORS_ONLN`) --dist loadscope --no-loadscope-reorder

# A test that failed next to others must pass alone. To be removed once five runs in a row have shown that none needs it.
ALONE := $(BIN)/python -m pytest -m "not benchmarks and not hostile" --last-failed --last-failed-no-failures none

GUARD := $(BIN)/python -m pytest -m benchmarks tests/benchmarks/test_guard.py

test:
	$(MAKE) --no-print-directory -j 2 $(VENV)/.dev programs
	$(MAKE) --no-print-directory -j 2 --output-sync lint bytecode
	$(BIN)/python -m pytest $(PARALLEL) -m "not benchmarks and not hostile" || $(ALONE)
	$(GUARD)

# Otherwise each worker would compile all tests. If this fails, the workers say why.
bytecode: $(VENV)/.dev
	-$(BIN)/python -m pytest --collect-only --quiet >/dev/null 2>&1

test-exhaustive: $(VENV)/.dev
	$(BIN)/python -m pytest $(PARALLEL) -m hypothesis --hypothesis-profile exhaustive

fuzz: $(VENV)/.dev
	$(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS),600)

# Debian's packages. Another Chromium does as well; without one, the headless shell is the cheapest.
PROGRAMS := chromium-headless-shell redis-server
mutants real: PROGRAMS := redis-server

programs:
	@missing=; for one in $(PROGRAMS); do command -v $$one >/dev/null || \
	{ [ $$one = chromium-headless-shell ] && { command -v chromium || command -v google-chrome; } >/dev/null; } || \
	missing="$$missing $$one"; done; \
	if [ -z "$$missing" ]; then :; \
	elif command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then apt-get update -qq && \
	{ apt-get install -qq -y $$missing >/dev/null || apt-get install -qq -y $(PROGRAMS:%-headless-shell=%) >/dev/null; }; \
	else echo "not installed, and cannot be installed without root: $$missing. Tests that need it will be skipped"; fi

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	rm -rf $(TREE) && mkdir -p $(TREE)/harness
	for part in $(TREE_PARTS); do ln -s $(CURDIR)/$$part $(TREE)/harness/; done
	cd $(TREE) && $(CURDIR)/$(BIN)/mypy --cache-dir $(CURDIR)/.mypy_cache --config-file $(CURDIR)/pyproject.toml -p harness
	cd $(TREE) && PYTHONPATH=. $(CURDIR)/$(BIN)/lint-imports --cache-dir $(CURDIR)/.import_linter_cache \
		--config $(CURDIR)/pyproject.toml
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec compose.yaml
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.gitlab-ci docs/ci/gitlab-ci.yml
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows docs/ci/github-workflow.yml
	$(BIN)/zizmor --offline --quiet --no-progress action.yml docs/ci/github-workflow.yml
	$(BIN)/python -m scripts.chart

format: $(VENV)/.dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

mutants: $(VENV)/.dev programs
	$(BIN)/python -m tests.mutants.kill_matrix
	$(BIN)/python -m tests.mutants.kill_matrix --redis

hostile: $(VENV)/.dev
	$(BIN)/python -m pytest -m hostile tests/hostile

robustness: $(VENV)/.dev
	$(BIN)/python -m scripts.write_robustness --run

real: $(VENV)/.dev programs
	$(BIN)/python -m tests.real $(TARGETS)

guard: $(VENV)/.dev
	$(GUARD)

bench: $(VENV)/.dev
	$(BIN)/python -m pytest -m benchmarks
	$(BIN)/python -m tests.benchmarks.side_by_side $(if $(QUICK),--quick)

SOAK_MINUTES ?= 60

soak: $(VENV)/.dev
	$(BIN)/python -m tests.soak.soak --minutes $(SOAK_MINUTES)

COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --upgrade

lock: $(VENV)/.dev
	$(COMPILE) pyproject.toml --group build -o requirements.lock
	$(COMPILE) pyproject.toml --group build --extra otel --extra parquet --extra redis -c requirements.lock -o requirements-image.lock
	$(COMPILE) pyproject.toml --group build --group dev -c requirements-image.lock -o requirements-dev.lock

release-check: $(VENV)/.dev
	$(MAKE) --no-print-directory lint
	$(BIN)/python -m scripts.release_check $(if $(PYTHON_VERSION),--only $(PYTHON_VERSION))

clean:
	rm -rf $(VENV) build dist *.egg-info harness-results harness/transport/*.so
