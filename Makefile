# Every target makes what it needs. What is installed is written in requirements.lock, each file with its hash, and
# requirements-run.lock is the part of it that the daemon needs. "make" alone lists the targets.

PYTHON  ?= python3
VENV    := .venv
BIN     := $(VENV)/bin
PIP     := $(BIN)/python -m pip --disable-pip-version-check
TOLD    := sed --unbuffered --quiet "s/^Collecting \\([^ ]*\\).*/  \\1/p; s/^Installing.*/  installing them/p"
RUNTIME := $(VENV)/.runtime
DEV     := $(VENV)/.dev
UV      := .venv-lock/bin/uv
NODE    := tests/page/node_modules/.made
PYTEST   = $(BIN)/python -m pytest --quiet -rs
WORKERS := $(shell expr 2 \* $$(getconf _NPROCESSORS_ONLN))
PARALLEL := --numprocesses $(WORKERS) --dist loadfile
CONFIG  ?= simscope.config.example

.PHONY: help venv run demo test check lint types quick rest format screenshots bench dist lock newest lowest clean
.NOTPARALLEL:
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 14

run: $(RUNTIME) ## run the daemon on simscope.config.example, its spool and database below var/
	$(BIN)/simscoped serve --config $(CONFIG)

demo: $(RUNTIME) ## in a second terminal: run the example regression against the daemon of "make run"
	$(BIN)/python examples/fifo/regress.py --spool var/spool --outdir var/demo --page http://$${SIMSCOPE_LISTEN:-127.0.0.1:8040}/

test: quick rest ## all tests; those that need Chromium, Firefox, Node.js, Icarus Verilog or zsh are left out where it is missing

check: lint types ## all that CI runs: lint, types, and every test, with Chromium, Firefox, Node.js, Icarus Verilog and zsh
	@$(MAKE) --no-print-directory test PYTEST="$(PYTEST) --everything"

lint: $(DEV) ## ruff: mistakes and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV) $(NODE) ## mypy, strict; and tsc, strict, over the modules of the page
	$(BIN)/mypy
	cd tests/page && node_modules/.bin/tsc --project .

$(NODE): tests/page/package.json tests/page/package-lock.json tests/page/.npmrc
	cd tests/page && npm ci --silent --ignore-scripts
	@touch $@

quick: $(DEV) ## the tests that start no process and no browser: about a minute
	$(PYTEST) -m "not process"

rest: $(DEV) ## the tests that do, two at a time on every core, since they wait for much of their time
	$(PYTEST) -m process $(PARALLEL)

format: $(DEV) ## format all Python
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

screenshots: $(DEV) ## run the example regression and photograph the page into docs/
	$(BIN)/python docs/screenshots.py

dist: ## build dist/simscoped.pyz, the daemon as one file
	$(PYTHON) contrib/make_pyz.py dist/simscoped.pyz

bench: $(RUNTIME) ## the measurements behind the figures in docs/design.md (minutes; see bench/README.md)
	$(BIN)/python bench/backlog.py
	$(BIN)/python bench/ndjson.py
	$(BIN)/python bench/post.py
	$(BIN)/python bench/latency.py
	$(BIN)/python bench/queries.py
	$(BIN)/python bench/streams.py
	$(BIN)/python bench/waiters.py
	$(BIN)/python bench/kills.py
	$(BIN)/python bench/fuzz.py
	$(BIN)/python bench/start.py

# ---- what is installed -----------------------------------------------------------------------------------------------

venv: $(DEV) ## make the virtual environment in .venv, for the daemon, tests and tools

$(RUNTIME): requirements-run.lock pyproject.toml
	@echo "$(VENV): installing the $$(grep -c == $<) packages that the daemon needs"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --require-hashes --requirement $< | $(TOLD)
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV): requirements.lock $(RUNTIME)
	@echo "$(VENV): installing the $$(grep -c == $<) packages that tests and tools need"
	@$(PIP) install --require-hashes --requirement $< | $(TOLD)
	@touch $@

# ---- what could be installed: the promises of pyproject.toml ---------------------------------------------------------

COMPILE = $(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command "make lock" pyproject.toml .venv-lock/build-system.txt
REQUIRES = import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")

lock: $(UV) ## renew both lock files: the newest version of everything, for Python 3.11 and later
	$(PYTHON) -c '$(REQUIRES)' > .venv-lock/build-system.txt
	$(COMPILE) --extra dev --output-file requirements.lock
	$(COMPILE) --constraint requirements.lock --output-file requirements-run.lock

newest: $(UV) ## the tests on the newest version of everything, in .venv-newest
	$(UV) venv --quiet --clear --seed --python $(PYTHON) .venv-newest
	$(UV) pip install --quiet --python .venv-newest --editable '.[dev]'
	.venv-newest/bin/python -m pytest --quiet -rs $(PARALLEL)

lowest: $(UV) ## the tests on the lowest versions that pyproject.toml promises, in .venv-lowest
	$(UV) venv --quiet --clear --seed --python $(PYTHON) .venv-lowest
	$(UV) pip install --quiet --python .venv-lowest --resolution lowest-direct --editable '.[dev]'
	.venv-lowest/bin/python -m pytest --quiet -rs $(PARALLEL)

$(UV):
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet --disable-pip-version-check uv

clean: ## remove the virtual environments and what tools left behind
	rm -rf tests/page/node_modules .venv .venv-lock .venv-newest .venv-lowest build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
