# Every target makes .venv and installs what it needs first. torch goes in before the rest: left to
# itself, pip may take a CUDA build of several gigabytes as somebody else's dependency.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST_ARGS ?=

.PHONY: demo test lint types bench docs clean

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,demo]'
	touch $(READY)

demo: $(READY)
	$(BIN)/unetr demo

# Tests run beside each other, a file at a time in each process, which computes on one core.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile $(PYTEST_ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(READY)
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python benchmarks/page.py

docs: $(READY)
	$(BIN)/python docs/make_recipes.py
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV)
