# Every target makes what it needs: a virtual environment in .venv, kept fresh by a stamp.
# "make" alone lists the targets.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.made
CONFIG ?= simscope.config.example

.PHONY: help venv run demo test check lint types format screenshots bench clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 14

venv: $(STAMP) ## make the virtual environment

$(STAMP): pyproject.toml Makefile
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

run: $(STAMP) ## run the daemon on simscope.config.example, its spool and database below var/
	$(BIN)/simscoped serve --config $(CONFIG)

demo: $(STAMP) ## in a second terminal: run the example regression against the daemon of "make run"
	$(BIN)/python examples/fifo/regress.py --spool var/spool --outdir var/demo --page http://$${SIMSCOPE_LISTEN:-127.0.0.1:8040}/

test: $(STAMP) ## tests; those that need Chromium, Firefox, Node.js, Icarus Verilog or zsh say so and are left out where it is missing
	$(BIN)/python -m pytest -q -rs

check: lint types ## all that CI runs: lint, types, and every test, with Chromium, Firefox, Node.js, Icarus Verilog and zsh
	$(BIN)/python -m pytest -q --everything

lint: $(STAMP) ## ruff: mistakes and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP) ## mypy, strict
	$(BIN)/mypy

format: $(STAMP) ## format all Python
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

screenshots: $(STAMP) ## run the example regression and photograph the page into docs/
	$(BIN)/python docs/screenshots.py

bench: $(STAMP) ## the measurements behind the figures in the README (minutes; see bench/README.md)
	$(BIN)/python bench/backlog.py
	$(BIN)/python bench/ndjson.py
	$(BIN)/python bench/post.py
	$(BIN)/python bench/latency.py
	$(BIN)/python bench/queries.py
	$(BIN)/python bench/streams.py
	$(BIN)/python bench/waiters.py
	$(BIN)/python bench/kills.py
	$(BIN)/python bench/fuzz.py

clean: ## remove the virtual environment and what tools left behind
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
