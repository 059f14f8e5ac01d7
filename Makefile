# `make quickstart` and `make test` are all that a newcomer needs; both set up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.tuwen-set-up

.DEFAULT_GOAL := help
.PHONY: help setup quickstart test lint format bench docs clean

help:  ## say what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(STAMP)  ## make .venv with exact versions, and find a Chinese font

$(STAMP): requirements/lock.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tuwen needs Python 3.11 or newer, found " + sys.version.split()[0] + "; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/lock.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	sh scripts/ensure_font.sh
	@touch $(STAMP)

quickstart: setup  ## draw, build, train, measure and talk to a small model
	$(BIN)/tuwen quickstart

test: setup  ## all tests
	OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(BIN)/python -m pytest -n 2

lint: setup  ## style, types, import direction, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell src docs benchmarks README_EN.md CONTRIBUTING.md CHANGELOG.md

format: setup  ## let ruff put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup  ## measure against others, side by side
	$(BIN)/python benchmarks/training
	$(BIN)/python benchmarks/synthesis.py
	$(BIN)/python benchmarks/data.py
	$(BIN)/python benchmarks/data_check.py
	$(BIN)/python benchmarks/packing.py
	$(BIN)/python benchmarks/attention.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/serving.py

docs: setup  ## check that links, commands, recipes and code in the documentation hold
	$(BIN)/python -m pytest tests/test_house.py tests/test_docs.py

clean:  ## remove what was made here
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis quickstart runs
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
