# make setup | demo | test | test-slow | lint | docs | bench; PYTHON and VENV may be set, SLICE=2/5 takes a part of the slow tests
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: setup demo test test-slow lint format docs bench

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --upgrade pip
	$(BIN)/python -m pip install -c constraints.txt -e ".[test,lint,docs]"
	touch $@

demo: setup
	BIN=$(BIN) sh examples/demo.sh

test: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-slow: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal -m slow $(if $(SLICE),--slow-slice $(SLICE))

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: setup
	$(BIN)/mkdocs build --strict

bench: setup
	$(BIN)/python tests/benchmarks/startup.py
	$(BIN)/python tests/benchmarks/overhead.py
	$(BIN)/python tests/benchmarks/data.py
	$(BIN)/python tests/benchmarks/loader.py
	$(BIN)/python tests/benchmarks/augment.py
	$(BIN)/python tests/benchmarks/memory.py
	$(BIN)/python tests/benchmarks/metrics.py
	$(BIN)/python tests/benchmarks/quantum.py
	$(BIN)/python tests/benchmarks/predict.py
