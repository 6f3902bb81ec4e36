# `make check` is what .ci/run checks, in the environment you already have:
#   python3 -m venv .venv && .venv/bin/pip install -e ".[test,dev]"
BIN ?= .venv/bin/

.PHONY: check style types contracts test fix ci

check: style types contracts test

style:
	$(BIN)ruff check .
	$(BIN)ruff format --check .

types:
	$(BIN)mypy

contracts:
	$(BIN)lint-imports --no-logo

test:
	$(BIN)python -m pytest

fix:
	$(BIN)ruff check --fix .
	$(BIN)ruff format .

ci:
	.ci/run
