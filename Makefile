.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
OUT ?= quickstart
SAMPLE ?= 300
SEED ?= 0

help: ## print this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

$(READY): pyproject.toml constraints.txt
	python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

install: $(READY) ## make .venv with everything that the tests need

demo: $(READY) ## train on synthetic scenes and write a page: about ten minutes, OUT=quickstart
	$(BIN)/bua quickstart out=$(OUT)

# a process a core, one thread each; a file's tests stay together, as they share what is slow to make
TEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

test: $(READY) lint type ## everything: lint, types, all tests
	$(TEST)

test-fast: $(READY) ## the tests that take seconds
	$(TEST) -m "not slow"

# one process; a second call goes on where the first one stopped
mutants: $(READY) ## what do the tests notice? SAMPLE=300 random changes to the code, SEED=0, about an hour
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[mutants]'
	OMP_NUM_THREADS=1 $(BIN)/python -m experiments.mutants.run --sample $(SAMPLE) --seed $(SEED)

lint: $(READY) ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: $(READY) ## mypy --strict
	$(BIN)/mypy

wheel: $(READY) ## build the wheel into dist/
	$(BIN)/python -m build --wheel --no-isolation --outdir dist .

clean: ## remove what was made, the environment too
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis

.PHONY: help install demo test test-fast mutants lint type wheel clean
