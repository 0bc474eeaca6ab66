# Every target works on a fresh clone and makes its own environment in .venv.
# UV_TORCH_BACKEND=cpu is honoured: torch then comes as its CPU build (smaller) instead of the locked CUDA build.

.DEFAULT_GOAL := help
SHELL := bash
PYTHON ?= python3
UV := $(or $(shell command -v uv 2>/dev/null),.make/uv/bin/uv)
BIN := .venv/bin
export PYTHONUNBUFFERED := 1

.PHONY: help demo test test-full faults lint bundle bench lock font clean

help: ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

.make/uv/bin/uv:
	$(PYTHON) -m venv .make/uv
	.make/uv/bin/python -m pip install --quiet 'uv>=0.9'

.venv/.base: requirements.lock pyproject.toml | $(UV)
	test -x $(BIN)/python || $(UV) venv --quiet --python '>=3.11' .venv
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $@

.venv/.dev: requirements-dev.lock .venv/.base | $(UV)
ifdef UV_TORCH_BACKEND
	$(UV) pip install --quiet --python $(BIN)/python --constraint requirements.lock -e '.[dev]'
else
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements-dev.lock
endif
	@touch $@

demo: .venv/.base ## real videos through Kafka, a decoder, a trained model and Postgres; ends with a summary
	$(BIN)/reelsort demo

test: .venv/.dev ## all tests, on a real Kafka, Postgres and decoder; the long forms are test-full's
	$(BIN)/pytest -m 'not fault' -n 3 --dist worksteal
	$(BIN)/pytest -m fault -n 2 --dist worksteal

test-full: .venv/.dev ## the long forms: thousands of examples a property, and every fault in full
	HYPOTHESIS_PROFILE=long $(BIN)/pytest -m 'not fault' -n 3 --dist worksteal --timeout 3600
	$(MAKE) faults

faults: .venv/.dev ## kills, pauses and starves real processes; prints the ledger (SEED=n, ROUNDS=n, JSON=file)
	$(BIN)/python -m tests.faults $(if $(SEED),--seed $(SEED)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(JSON),--json $(JSON))

lint: .venv/.dev ## style, types, import contracts, generated schemas
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/reelsort schemas generate --check
	$(BIN)/reelsort schemas compat

bundle: .venv/.dev ## make the committed model bundle again: data, training, calibration, export, card
	$(BIN)/python -m models.training.bundle_demo

bench: .venv/.dev ## every benchmark beside its peers; figures as JSON in var/bench
	mkdir -p var/bench
	for name in stream decode infer signals rescore; do \
	  $(BIN)/reelsort bench $$name --format json > var/bench/$$name.json || exit 1; done

lock: | $(UV) ## resolve pyproject.toml's ranges into the lock files
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  pyproject.toml -o requirements.lock
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock

font: .venv/.dev ## cut the generator's font again from Noto Sans SC
	$(BIN)/python -m models.synthetic.font

clean: ## remove environments, caches and what benchmarks wrote
	rm -rf .venv .make var .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
