# The verbs of this repository; CI uses the same ones. `make help` lists them.

PYTHON ?= python3
BIN := .venv/bin
OPENAI_028 := .venv-openai-0.28
# GPU users get torch's CUDA build; everyone else the CPU build that the constraints file pins.
CONSTRAINTS := $(if $(shell command -v nvidia-smi),,-c constraints/cpu.txt)

.DEFAULT_GOAL := all
.PHONY: all help setup setup-dev demo serve test check check-long fix bench clean

all: check test  ## check and test

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/:\t/' | expand -t 12

setup: .venv/.installed  ## build .venv with the tunesmith command (nothing to do when up to date)

setup-dev: .venv/.installed-dev

.venv/.installed: pyproject.toml constraints/cpu.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q $(CONSTRAINTS) -e .
	@touch $@

.venv/.installed-dev: .venv/.installed
	$(BIN)/pip install -q $(CONSTRAINTS) -e '.[dev]'
	@touch $@

.venv/.installed-bench: .venv/.installed-dev
	$(BIN)/pip install -q $(CONSTRAINTS) -e '.[dev,bench]'
	@touch $@

# The first era's client, for tests alone: it can't share an environment with today's SDK.
$(OPENAI_028)/.installed: constraints/openai-0.28.txt
	$(PYTHON) -m venv $(OPENAI_028)
	$(OPENAI_028)/bin/pip install -q -r $<
	@touch $@

demo: setup  ## tune a model on the example data and talk to it
	$(BIN)/tunesmith demo

serve: setup  ## run the service on port 8000
	$(BIN)/tunesmith serve

test: setup-dev $(OPENAI_028)/.installed  ## all tests (no GPU, no download)
	$(BIN)/pytest -q -n 2 --dist loadfile

check: setup-dev  ## style, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check-long: setup-dev  ## kill trainer and API 200 times, at points drawn anew (minutes)
	CHECK_LONG=1 $(BIN)/pytest -q tests/crash

fix: setup-dev  ## repair what the style check can repair by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/.installed-bench  ## measure; results as JSON in benchmarks/results
	$(BIN)/python -m benchmarks

clean:  ## remove the environments and caches (never your data)
	rm -rf .venv $(OPENAI_028) .pytest_cache .mypy_cache .ruff_cache .hypothesis
